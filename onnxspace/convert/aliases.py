"""Operator versions that onnx2torch lacks although it has one of the same signature: only the element types grew."""

#: operator → {missing version: version whose converter serves}
ALIASES: dict[str, dict[int, int]] = {
    "Acos": {22: 7},
    "Asin": {22: 7},
    "Atan": {22: 7},
    "Cos": {22: 7},
    "Einsum": {28: 12},
    "HardSwish": {22: 14},
    "Mean": {6: 13},
    "Round": {22: 11},
    "Sin": {22: 7},
    "Softplus": {22: 1},
    "Softsign": {22: 1},
    "Sum": {6: 13},
    "Tan": {22: 7},
}
