"""Probabilities too small for ONNX Runtime's Sigmoid are compared by their logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxspace.model import runtime
from onnxspace.model.network import Network
from onnxspace_converters.compare import largest_difference
from onnxspace_converters.tails import agrees_before, find_source
from tests.helpers.nets import Net

TOLERANCE = 1e-5


def network(weights: NDArray[Any], bias: NDArray[Any]) -> onnx.ModelProto:
    net = Net(("N", weights.shape[1]))
    scores = net.add("Gemm", "image", net.weight(weights), net.weight(bias), transB=1)
    return net.model([net.add("Reshape", net.add("Sigmoid", scores), net.weight(np.array([-1, len(bias)])))])


def given() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    weights, x = rng.standard_normal((4, 32)).astype(np.float32), rng.standard_normal((3, 32)).astype(np.float32)
    return weights * np.float32(0.2), np.full(4, -17, np.float32), x


def exact(weights: NDArray[Any], bias: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float32]:
    scores = x.astype(np.float64) @ weights.astype(np.float64).T + bias
    return (1 / (1 + np.exp(-scores))).astype(np.float32)


def test_a_right_file_agrees_and_a_fault_of_one_per_cent_does_not() -> None:
    weights, bias, x = given()
    proto, expected = network(weights, bias), exact(weights, bias, x)
    assert agrees_before(proto, x, runtime.run(proto, {"image": x}), [expected], TOLERANCE)
    for faulty in (network(weights * np.float32(1.01), bias), network(weights, bias * np.float32(1.01))):
        assert not agrees_before(faulty, x, runtime.run(faulty, {"image": x}), [expected], TOLERANCE)


def test_a_tail_that_the_runtime_loses_agrees_only_so() -> None:
    """ONNX Runtime's Sigmoid is 0, or another multiple of 3e-8, where the probability is some 1e-8."""
    weights, bias, x = given()
    weights = weights * np.float32(0.05)
    proto, expected = network(weights, bias), exact(weights, bias, x)
    found = runtime.run(proto, {"image": x})
    assert largest_difference(found, [expected]) > 100 * TOLERANCE
    assert agrees_before(proto, x, found, [expected], TOLERANCE)


@pytest.mark.parametrize(("score", "agrees"), [(-200, True), (-40, False)])
def test_a_probability_that_vanishes_needs_a_score_that_is_as_small(score: float, agrees: bool) -> None:
    weights, x = np.zeros((2, 32), np.float32), np.zeros((1, 32), np.float32)
    proto = network(weights, np.array([score, -17], np.float32))
    expected = exact(weights, np.array([-200, -17], np.float32), x)
    assert agrees_before(proto, x, runtime.run(proto, {"image": x}), [expected], TOLERANCE) is agrees


def test_a_larger_difference_is_never_a_tail() -> None:
    weights, bias, x = given()
    proto = network(weights, bias * 0)
    found = runtime.run(proto, {"image": x})
    assert not agrees_before(proto, x, found, [found[0] + np.float32(1e-4)], TOLERANCE)


def test_what_is_not_in_the_order_of_the_function_has_no_source() -> None:
    net = Net((1, 4))
    first = net.add("Sigmoid", "image")
    ordered, turned = net.add("Flatten", first), net.add("Concat", first, first, axis=1)
    graph = Network(net.model([ordered, turned])).graph
    source = find_source(graph, ordered)
    assert source is not None
    assert source.op_type == "Sigmoid"
    assert find_source(graph, turned) is None
    assert find_source(graph, "image") is None
