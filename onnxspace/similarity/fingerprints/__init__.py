"""Small files by which models are compared without having them, and search among many.

The sketch is here and not in `spaces`, since a fingerprint is also compared where there is no space.
"""
