"""ONNX graphs as verified Torch graphs.

All that knows what an operator means is here, so that attribution sees modules of Torch only.
"""
