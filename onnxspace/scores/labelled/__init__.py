"""Scores of one model from labels and its features, probabilities or predictions.

One module per score, so that formula, source and checks are in one place, and only the score that is used is imported.
"""
