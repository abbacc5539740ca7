"""One ONNX file: opened safely, described, cut at its encoder, run by ONNX Runtime.

Nothing here needs Torch: what only looks at a file starts in the time that ONNX takes.
"""
