"""Write and read results: result folders, pictures, HTML pages.

Separate from `workflows`, so that results can be drawn where neither Torch nor ONNX is installed.
"""
