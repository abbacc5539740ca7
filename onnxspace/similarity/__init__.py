"""Similarity of models: affinities of maps and fingerprints, rankings, and the certainty of both.

Needs NumPy but neither Torch nor ONNX, so that results and fingerprints can be compared where neither is installed.
"""
