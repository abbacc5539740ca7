"""Models of other frameworks as checked ONNX files. Each `from_*` module wraps one framework and loads it when it is used."""
