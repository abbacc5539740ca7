"""The space on disk: its catalogue, its files, what is cached, and what checks it. Free of torch and onnx."""
