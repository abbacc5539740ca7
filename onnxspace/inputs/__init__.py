"""What every model is explained with: probe images, methods and their options, configuration.

Separate from `model`, so that the command line can refuse invalid options before Torch or ONNX is loaded.
"""
