"""Steps, ranges and parameters that weights have in common, and what no rule may find by accident."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxspace.differences.answer import _parse_weights
from onnxspace.differences.child.layer_weights import LayerWeights
from onnxspace.differences.child.norm_changes import explain_norm
from onnxspace.differences.child.recurrent_weights import read_recurrent
from onnxspace.differences.child.weight_values import find_clipping, find_grid, find_step
from onnxspace.model.graph import Graph

RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((6, 40))


@pytest.mark.parametrize("step", [0.05, 1 / 64, 0.3])
def test_the_step_of_multiples_is_found(step: float) -> None:
    assert find_step(np.round(WEIGHTS / step) * step) == pytest.approx(step, rel=1e-9)


def test_drawn_weights_have_no_step() -> None:
    assert find_step(WEIGHTS.astype(np.float32).astype(np.float64)) == 0
    assert find_grid(WEIGHTS, WEIGHTS + 0.01 * RNG.standard_normal(WEIGHTS.shape)) is None


def test_multiples_that_are_not_the_nearest_ones_are_no_rounding() -> None:
    assert find_grid(WEIGHTS, np.round(WEIGHTS * 20) / 20 + 0.2) is None


def test_weights_beyond_a_range_are_its_ends() -> None:
    found = find_clipping(WEIGHTS, np.clip(WEIGHTS, -0.8, 1.1))
    assert found is not None
    assert found.limits == (-0.8, 1.1)
    assert found.edited == int(((WEIGHTS < -0.8) | (WEIGHTS > 1.1)).sum())


def test_one_smaller_weight_is_no_range() -> None:
    second = np.where(WEIGHTS.max() == WEIGHTS, np.sort(WEIGHTS, axis=None)[-2], WEIGHTS)
    assert find_clipping(WEIGHTS, second) is None


def make_norm(scale: np.ndarray, mean: np.ndarray, variance: np.ndarray, shift: np.ndarray) -> LayerWeights:
    rows = np.stack([scale, mean, variance])
    return LayerWeights(rows, shift, "float32", 0.0, ("scale",), across=True, parts=("scale", "mean", "variance"))


def test_parameters_of_a_normalisation_are_named() -> None:
    scale, mean, variance, shift = RNG.uniform(0.5, 2, (4, 12))
    old = make_norm(scale, mean, variance, shift)
    swapped = explain_norm(old, make_norm(scale, shift, variance, mean))
    other = explain_norm(old, make_norm(scale, mean * 2, variance + 1, shift))
    reset = explain_norm(old, make_norm(scale, mean * 0, variance * 0 + 1, shift))
    assert swapped is not None
    assert swapped.exchanged == ("mean", "shift")
    assert other is not None
    assert (other.kind, other.reset) == ("statistics", None)
    assert reset is not None
    assert reset.reset
    assert explain_norm(old, make_norm(scale * 1.1, mean + 1, variance, shift)) is None


def test_weights_of_a_recurrent_node_are_joined() -> None:
    parts = {"w": RNG.standard_normal((2, 12, 5)), "r": RNG.standard_normal((2, 12, 3)), "b": RNG.standard_normal((2, 24))}
    stored = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in parts.items()]
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=3, direction="bidirectional")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = Graph(helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], stored)))
    found = read_recurrent(graph, node)
    assert found is not None
    assert found[0].shape == (24, 8)
    np.testing.assert_allclose(found[0][13], np.concatenate([parts["w"][1, 1], parts["r"][1, 1]]), rtol=1e-6)
    np.testing.assert_allclose(found[1][13], parts["b"][1, 1] + parts["b"][1, 13], rtol=1e-5)


@pytest.mark.parametrize(
    "given", [{"kind": "statistics", "reset": 1}, {"kind": "equal", "moved": True}, {"kind": "clipped", "limits": "wide"}]
)
def test_other_types_in_an_answer_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="weights"):
        _parse_weights(given)
