"""One ONNX file: read safely, described, cut at its encoder and run by ONNX Runtime.

Nothing here imports Torch, so that commands which only inspect a file start as fast as ONNX itself loads.
"""
