"""How alike models are: affinities of maps and fingerprints, rankings, and how certain both are. NumPy only.

Free of Torch and ONNX, so that results and fingerprints are compared where neither is installed.
"""
