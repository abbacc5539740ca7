"""Whether maps are faithful to the network that they are of: pixels are removed, images disturbed, weights randomised.

What is computed with Torch of one model; formulas on the resulting arrays are in `onnxspace.evaluation.faithfulness`.
"""
