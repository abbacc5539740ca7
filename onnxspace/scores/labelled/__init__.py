"""Scores of one model from its features, probabilities or predictions, and labels."""
