"""One module for each public verb, and the run that they share.

Packages that compute (Torch, ONNX) and packages that compare (NumPy) meet here, so that neither kind imports the other; the
command line and Python call the same functions.
"""
