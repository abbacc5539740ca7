"""All of the workflows that runs in worker processes: what opens, measures, converts or runs a model file.

The parent process imports none of it; it sends requests to `tasks` (see `onnxspace.sandbox`).
"""
