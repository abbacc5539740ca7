"""Whether attribution maps are faithful: formulas on arrays, and what is concluded from them. Free of Torch and ONNX."""
