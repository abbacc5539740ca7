"""The model space on disk: catalogue, files, caches and verification. Needs neither Torch nor ONNX.

A package of its own, because crash safety rests on the order of all its writes (docs/format.md).
"""
