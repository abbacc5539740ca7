"""Conversion of ONNX graphs to verified Torch graphs.

The semantics of ONNX operators are confined to this package, so that attribution handles Torch modules only.
"""
