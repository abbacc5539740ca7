"""Flags that are neither 0 nor 1 and words that the standard does not list are refused, also where sizes and axes are inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.defs
import pytest
import torch

from onnxspace.errors import ModelError, UnsupportedOperatorError
from onnxspace.torchgraph.attributes import FLAGS, WORDS, refuse_unlisted
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.encoder_graph import to_torch
from tests.helpers.nets import Net
from tests.helpers.single import single

X = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
EMPTY = np.zeros(0, np.float32)
AXES, NO_AXES, SIZES = np.array([1, 2]), np.zeros(0, np.int64), np.array([2, 3, 7, 5])
REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")


def refused(operator: str, values: dict[str, Any], opset: int, match: str, stored: str = "", **attributes: Any) -> None:
    model = single(operator, values, opset=opset, stored=stored, **attributes)
    with pytest.raises(
        UnsupportedOperatorError, match=rf"net.onnx: operator {operator} .*\({match}.*Name an --encoder below it"
    ):
        build(model, "net.onnx")


@pytest.mark.parametrize("stored", ["", "axes"])
@pytest.mark.parametrize("value", [2, -1, 3])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_with_odd_flags_are_refused(name: str, value: int, stored: str) -> None:
    refused(f"Reduce{name}", {"x": X, "axes": AXES}, 18, f"keepdims {value} is neither", stored, keepdims=value)
    refused(f"Reduce{name}", {"x": X, "axes": NO_AXES}, 18, "noop_with_empty_axes", stored, noop_with_empty_axes=value)


@pytest.mark.parametrize("opset", [11, 13, 18, 19])
@pytest.mark.parametrize("word", ["", "Floor", "simple"])
def test_resize_with_an_unlisted_rounding_is_refused(word: str, opset: int) -> None:
    values = {"x": X, "roi": EMPTY, "scales": EMPTY, "sizes": SIZES}
    for stored in ("", "sizes"):
        refused("Resize", values, opset, f"nearest_mode '{word}'", stored, mode="nearest", nearest_mode=word)
    refused("Resize", values, 18, "keep_aspect_ratio_policy", "", keep_aspect_ratio_policy=word)


def test_a_flag_of_another_type_is_refused() -> None:
    refused("ReduceSum", {"x": X, "axes": AXES}, 13, "keepdims 1.0", keepdims=1.0)
    refused("DepthToSpace", {"x": X}, 13, "mode 'DRC'", blocksize=2, mode="DRC")


def test_the_standard_has_these_flags_and_words() -> None:
    """Every default of the standard passes, and every flag is a whole number there."""
    flags = set[str]()
    for schema in onnx.defs.get_all_schemas_with_history():
        defaults = {name: attribute.default_value for name, attribute in schema.attributes.items()}
        given = {name: onnx.helper.get_attribute_value(value) for name, value in defaults.items() if value.name}
        flags |= FLAGS & defaults.keys()
        words = {name: value.decode() for name, value in given.items() if name in WORDS}
        refuse_unlisted(schema.name, {name: value for name, value in given.items() if name in FLAGS} | words)
    assert flags >= FLAGS - {"transBatchA", "transBatchB", "channels_last", "is_packed_batching", "unidirectional"}


@pytest.mark.parametrize(
    ("operator", "name"), [("Cast", "to"), ("Concat", "axis"), ("LRN", "size"), ("MaxPool", "kernel_shape")]
)
@pytest.mark.parametrize("folded", [False, True], ids=["computed", "stored"])
def test_an_operator_without_an_attribute_that_it_requires_is_named(operator: str, name: str, folded: bool) -> None:
    net = Net()
    x = net.conv("image", 3, 4)
    y = net.add(operator, net.random(1, 4, 3, 3) if folded else x)
    model = net.model([x, y])
    with pytest.raises(ModelError, match=rf"test: operator {operator} \(n1\) lacks its attribute '{name}'\. Export the model"):
        to_torch(model)


def test_a_conversion_to_an_unknown_type_is_named() -> None:
    net = Net()
    with pytest.raises(UnsupportedOperatorError, match=r"Cast \(n1\) .*values of the unknown type 255"):
        to_torch(net.model([net.add("Cast", net.conv("image", 3, 4), to=255)]))


def test_what_the_folding_library_fails_on_is_left_to_the_converters(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Error during constant folding for node 'n3' (::Cast)")

    net = Net()
    x = net.conv("image", 3, 4)
    size = net.add("Concat", net.add("Slice", net.add("Shape", x), *map(net.weight, ([0], [2]))), net.weight([-1]), axis=0)
    model = net.model([net.add("Reshape", x, size)])
    monkeypatch.setattr("onnxscript.optimizer.fold_constants", fail)
    assert to_torch(model)(torch.zeros(2, 3, 16, 16)).shape == (2, 4, 196)


def test_stored_values_that_cannot_be_computed_are_a_sentence() -> None:
    net = Net()
    wrong = net.add("Reshape", net.weight([1.0]), net.weight(np.array([1, 4, 1, 1])))
    with pytest.raises(ModelError, match=r"test can't be run by ONNX Runtime .*Reshape node\."):
        to_torch(net.model([net.add("Mul", net.conv("image", 3, 4), wrong)]))
