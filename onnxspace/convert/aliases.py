"""Operator versions that onnx2torch lacks although it has one of the same meaning.

Between the two versions only the element types grew, or an optional input or attribute was added whose absence means what
the older version did; where a model uses the addition, the comparison with ONNX Runtime refuses the result.
"""

#: operator → {missing version: version whose converter serves}
ALIASES: dict[str, dict[int, int]] = {
    # Same signature.
    "Acos": {22: 7}, "Asin": {22: 7}, "Atan": {22: 7}, "Celu": {28: 12},
    "Constant": {1: 9, 19: 13, 21: 13, 23: 13, 24: 13, 25: 13},
    "ConstantOfShape": {20: 9, 21: 9, 23: 9, 24: 9, 25: 9},
    "Conv": {22: 11}, "ConvTranspose": {22: 11}, "Cos": {22: 7}, "DepthToSpace": {28: 13}, "Dropout": {7: 10, 22: 13},
    "Einsum": {28: 12}, "Elu": {22: 6}, "Equal": {19: 13}, "EyeLike": {22: 9},
    "Flatten": {1: 13, 21: 13, 23: 13, 24: 13, 25: 13}, "Gemm": {7: 9}, "GlobalAveragePool": {22: 1},
    "GreaterOrEqual": {16: 12}, "HardSigmoid": {22: 6}, "HardSwish": {22: 14},
    "Identity": {19: 16, 21: 16, 23: 16, 24: 16, 25: 16}, "InstanceNormalization": {22: 6},
    "IsInf": {20: 10}, "IsNaN": {9: 13, 20: 13}, "LessOrEqual": {16: 12},
    "Max": {6: 13}, "MaxPool": {1: 8, 22: 12}, "Mean": {6: 13}, "Min": {6: 13}, "Mod": {28: 13}, "NonZero": {9: 13},
    "Reshape": {19: 14, 21: 14, 23: 14, 24: 14, 25: 14}, "Round": {22: 11}, "ScatterND": {18: 16}, "Selu": {22: 6},
    "Shape": {19: 15, 21: 15, 23: 15, 24: 15, 25: 15}, "Sin": {22: 7}, "Slice": {1: 9},
    "Softplus": {22: 1}, "Softsign": {22: 1}, "Squeeze": {23: 21, 24: 21, 25: 21}, "Sum": {6: 13}, "Tan": {22: 7},
    "TopK": {24: 11}, "Transpose": {21: 13, 23: 13, 24: 13, 25: 13}, "Unsqueeze": {21: 13, 23: 13, 24: 13, 25: 13},
    # One optional input, output or attribute more.
    "AveragePool": {19: 11, 22: 11}, "BatchNormalization": {7: 9},
    "Cast": {6: 9, 19: 13, 21: 13, 23: 13, 24: 13, 25: 13, 28: 13},
    "Pad": {18: 13, 19: 13, 21: 13, 23: 13, 24: 13, 25: 13}, "Resize": {18: 13, 19: 13},
}  # fmt: skip
