"""Files to start from: small networks, those of `models/`, networks of kinds that once did harm, and what commands write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.helpers.nets import Net, classifier, save
from tests.model import test_functions, test_sparse

MODELS = Path(__file__).parents[2] / "models"
_LARGEST = 450_000  # bytes; larger ones take too long


def networks() -> dict[str, bytes]:
    """ONNX files by name."""
    found = {name: make().SerializeToString() for name, make in _KINDS.items()}
    found |= {f"function {name}": made.SerializeToString() for name, made in test_functions.MODELS.items()}
    small = [path for path in sorted(MODELS.glob("*.onnx")) if path.stat().st_size < _LARGEST]
    return found | {path.stem: path.read_bytes() for path in small}


def _net(*operators: tuple[str, dict[str, Any]], opset: int = 17) -> onnx.ModelProto:
    """Convolution, some operators of one input, pooling, a dense layer."""
    net = Net((1, 3, 16, 16))
    x = net.conv("image", 3, 4, pads=[1] * 4)
    for operator, attributes in operators:
        x = net.add(operator, x, **attributes)
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model([net.dense(x, 4, 3)], opset)


def _transposed() -> onnx.ModelProto:
    net = Net((1, 3, 16, 16))
    x = net.add("ConvTranspose", net.conv("image", 3, 4), net.random(4, 4, 2, 2), group=1, strides=[2, 2])
    return net.model([net.add("Flatten", net.add("GlobalAveragePool", x))])


def _expanded() -> onnx.ModelProto:
    net = Net((1, 3, 16, 16))
    x = net.conv("image", 3, 4, pads=[1] * 4)
    grown = net.add("Expand", net.weight(np.ones((1, 1, 1, 1))), net.weight(np.array([1, 4, 1, 1])))
    counted = net.add("Cast", net.add("Range", net.weight(np.int64(0)), net.weight(np.int64(4)), net.weight(np.int64(1))), to=1)
    x = net.add("Mul", net.add("Mul", x, grown), net.add("Reshape", counted, net.weight(np.array([1, 4, 1, 1]))))
    x = net.add("Pad", x, net.weight(np.array([0, 0, 1, 1, 0, 0, 1, 1])))
    x = net.add("Resize", x, "", "", net.weight(np.array([1, 4, 9, 9])), mode="nearest")
    x = net.add("ReduceMean", net.add("Tile", x, net.weight(np.array([1, 1, 2, 1]))), axes=[2, 3])
    return net.model([net.add("Flatten", x)])


def _divided() -> onnx.ModelProto:
    net = Net((1, 3, 16, 16))
    whole = net.add("Cast", net.conv("image", 3, 4), to=TensorProto.INT64)
    x = net.add("Cast", net.add("Div", whole, net.weight(np.int64(-1))), to=1)
    return net.model([net.add("Flatten", net.add("GlobalAveragePool", x))])


def _looping() -> onnx.ModelProto:
    net = Net((1, 3, 16, 16))
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Relu", ["held"], ["kept"])], "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("turn", 7, []), ("go", 9, []), ("held", 1, None))],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("on", 9, []), ("kept", 1, None))],
    )  # fmt: skip
    x = net.add("Loop", net.weight(np.int64(3)), net.weight(np.asarray(True)), net.conv("image", 3, 4), body=body)
    return net.model([net.add("Flatten", net.add("GlobalAveragePool", x))])


_KINDS: dict[str, Callable[[], onnx.ModelProto]] = {
    "classifier": classifier, "transposed": _transposed, "expanded": _expanded, "divided": _divided, "looping": _looping,
    "sparse": lambda: test_sparse.model(test_sparse.sparse([0, 2], [3, 1, 1])),
    "normalised": lambda: _net(("Softmax", {"axis": 1}), ("LpNormalization", {"axis": 1, "p": 2})),
    "pooled": lambda: _net(("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 0}), ("Elu", {"alpha": 0.5})),
}  # fmt: skip


def config() -> bytes:
    return b"""[models.a]
name = "first"
size = [16, 16]
layout = "NCHW"
color = "RGB"
scale = "1/255"
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
encoder = "auto"

[rules.elrp]
Conv = "epsilon"
"""


def table() -> bytes:
    names = "abcdefg"
    rows = [f"{n}," + ",".join(f"{(i * 7 + j * 3) % 11 / 10}" for j in range(7)) for i, n in enumerate(names)]
    return "\n".join(["," + ",".join(names), *rows, ""]).encode()


def write_models(folder: Path) -> None:
    """The networks a.onnx, b.onnx and c.onnx, which are never changed."""
    for seed, name in enumerate("abc"):
        save(classifier((1, 3, 16, 16), seed), folder / f"{name}.onnx")
