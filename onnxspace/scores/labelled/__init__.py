"""Scores of one model from labels and its features, probabilities or predictions."""
