"""Fingerprints: small files that stand for a model in comparisons, and search among many of them.

They are separate from `spaces` because fingerprints are also compared without a space.
"""
