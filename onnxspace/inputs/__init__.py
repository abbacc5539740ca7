"""What every model is explained with: probe images, methods and their options, configuration.

Apart from models, so that a command line can refuse what makes no sense before Torch or ONNX is loaded.
"""
