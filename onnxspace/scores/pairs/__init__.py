"""Scores of the similarity of two models from their representations of the same images, without labels.

Separate from `labelled`, because these take arrays of two models and no labels; one module per score, as there.
"""
