"""What became of weights, by construction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxspace.differences.child.layer_weights import LayerWeights, read_layers
from onnxspace.differences.child.similar_weights import find_similar
from onnxspace.differences.child.weight_changes import compare_weights
from onnxspace.model.graph import Graph
from tests.helpers.diff_edits import cut_bits, replace_one

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((24, 30)).astype(np.float32)


def layer(rows: NDArray[Any], stored: str = "float32", step: float = 0.0, bias: NDArray[Any] | None = None) -> LayerWeights:
    return LayerWeights(rows, np.zeros(0) if bias is None else bias, stored, step, ("w",))


def test_equal_weights() -> None:
    assert compare_weights(layer(ROWS), layer(ROWS.copy())).kind == "equal"


@pytest.mark.parametrize("axis", ["output", "input", "both"])
def test_permuted_weights(axis: str) -> None:
    rows, columns = np.random.default_rng(1).permutation(24), np.random.default_rng(2).permutation(30)
    new = ROWS[rows] if axis != "input" else ROWS
    found = compare_weights(layer(ROWS), layer(new[:, columns] if axis != "output" else new))
    assert (found.kind, found.axis) == ("permuted", axis)


def test_scaled_weights_have_their_factors() -> None:
    factors = np.linspace(0.5, 1.5, 24)[:, None]
    found = compare_weights(layer(ROWS), layer(ROWS * factors))
    assert found.kind == "scaled"
    assert found.factor == pytest.approx((0.5, 1.5), rel=1e-5)


def test_rounding_to_half_precision_is_told_from_training() -> None:
    half = ROWS.astype(np.float16)
    assert compare_weights(layer(ROWS), layer(half, "float16")).kind == "requantised"
    moved = (half + np.float16(0.01) * RNG.standard_normal(ROWS.shape)).astype(np.float16)
    assert compare_weights(layer(ROWS), layer(moved, "float16")).kind == "trained"


@pytest.mark.parametrize("bits", ["half", "brain"])
def test_rounding_before_a_normalisation_was_folded_is_told_from_training(bits: str) -> None:
    rounded = ROWS.astype(np.float16).astype(np.float32) if bits == "half" else cut_bits(ROWS)
    factors = np.linspace(0.3, 1.7, 24, dtype=np.float32)[:, None]
    assert compare_weights(layer(ROWS * factors), layer(rounded * factors)).kind == "requantised"
    for size in (1e-5, 1e-4, 1e-3):
        moved = ROWS + np.float32(size) * RNG.standard_normal(ROWS.shape).astype(np.float32)
        assert compare_weights(layer(ROWS * factors), layer(moved * factors)).kind == "trained"
    assert compare_weights(layer(ROWS), layer(ROWS * (1 + factors / 1000))).kind == "scaled"


def test_rounding_that_is_stored_in_single_precision_is_told_from_training() -> None:
    half, brain = ROWS.astype(np.float16).astype(np.float32), cut_bits(ROWS)
    assert [compare_weights(layer(ROWS), layer(one)).kind for one in (half, brain)] == ["requantised"] * 2
    assert compare_weights(layer(half), layer(ROWS)).kind == "trained"
    assert (
        compare_weights(layer(half), layer((half * np.float16(1.01)).astype(np.float16).astype(np.float32))).kind
        != "requantised"
    )


def test_few_weights_that_are_others_are_counted() -> None:
    found = compare_weights(layer(ROWS), layer(replace_one(ROWS, 1e4)))
    assert (found.kind, found.edited) == ("edited", 1)


def test_equal_weights_that_are_not_finite_are_equal() -> None:
    broken = replace_one(ROWS, np.nan)
    assert compare_weights(layer(broken), layer(broken.copy())).kind == "equal"
    assert compare_weights(layer(ROWS), layer(broken)).kind == "unread"


def test_rounding_to_integers_states_the_error_that_it_explains() -> None:
    step = float(np.abs(ROWS).max() / 127)
    found = compare_weights(layer(ROWS), layer(np.round(ROWS / step) * np.float32(step), "int8", step))
    assert found.kind == "requantised"
    assert found.rounding is not None
    assert found.difference == pytest.approx(found.rounding, rel=0.1)


def test_more_than_half_a_step_is_no_rounding() -> None:
    step = float(np.abs(ROWS).max() / 127)
    other = np.round(ROWS / step) * np.float32(step) + 3 * step * RNG.standard_normal(ROWS.shape)
    assert compare_weights(layer(ROWS), layer(other, "int8", step)).kind == "trained"


@pytest.mark.parametrize("stored", ["int8", "float32"])
def test_integers_whose_scale_is_elsewhere_and_numbers_on_their_grid_are_rounded_weights(stored: str) -> None:
    """As of ConvInteger, and of a network that was quantised and written in single precision again."""
    steps = np.abs(ROWS).max(1, keepdims=True) / 127
    counts = np.round(ROWS / steps)
    found = compare_weights(layer(ROWS), layer(counts if stored == "int8" else counts * steps, stored))
    assert found.kind == "requantised"


def test_pruned_weights_state_their_share() -> None:
    new = np.where(np.abs(ROWS) < 0.5, 0, ROWS)
    found = compare_weights(layer(ROWS), layer(new))
    assert (found.kind, found.pruned) == ("pruned", pytest.approx((np.abs(ROWS) < 0.5).mean()))


@pytest.mark.parametrize(("size", "kind"), [(1e-5, "trained"), (0.1, "trained"), (3.0, "replaced")])
def test_trained_weights_and_others(size: float, kind: str) -> None:
    noise = size * RNG.standard_normal(ROWS.shape)
    found = compare_weights(layer(ROWS), layer(ROWS + noise if size < 1 else noise))
    assert found.kind == kind
    if size < 1:
        assert found.difference == pytest.approx(np.linalg.norm(noise) / np.linalg.norm(ROWS), rel=0.01)


def test_a_bias_alone() -> None:
    bias = RNG.standard_normal(24)
    assert compare_weights(layer(ROWS, bias=bias), layer(ROWS, bias=bias + 1)).kind == "bias"


def test_other_sizes() -> None:
    assert compare_weights(layer(ROWS), layer(ROWS[:, :20])).kind == "resized"
    found = compare_weights(layer(ROWS), layer(np.concatenate([ROWS, 2 * ROWS[:3]])))
    assert (found.outputs, found.inputs, found.kept) == ((24, 27), (30, 30), 24)


@pytest.mark.parametrize("axis", ["output", "input", "both"])
def test_permuted_and_trained_weights_state_both(axis: str) -> None:
    rows, columns = np.random.default_rng(1).permutation(24), np.random.default_rng(2).permutation(30)
    new = ROWS[rows] if axis != "input" else ROWS
    new = new[:, columns] if axis != "output" else new
    found = compare_weights(layer(ROWS), layer(new + 0.1 * np.random.default_rng(3).standard_normal(ROWS.shape)))
    assert (found.kind, found.axis) == ("permuted_trained", axis)
    assert found.remaining == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("seed", range(8))
def test_unrelated_weights_are_no_permutation(seed: int) -> None:
    for shape in ((24, 30), (8, 108), (64, 9), (20, 3)):
        one, other = np.random.default_rng(seed).standard_normal((2, *shape))
        assert compare_weights(layer(one), layer(other)).kind == "replaced"


def test_shifted_weights_state_the_shift() -> None:
    found = compare_weights(layer(ROWS), layer(ROWS + 1.5))
    assert found.kind == "shifted"
    assert found.shift == pytest.approx((1.5, 1.5), abs=1e-3)
    noisy = compare_weights(layer(ROWS), layer(ROWS + 3 + 0.2 * RNG.standard_normal(ROWS.shape)))
    assert noisy.kind == "trained"


@pytest.mark.parametrize("rank", [1, 3])
def test_additions_of_low_rank_state_it(rank: int) -> None:
    added = 0.1 * RNG.standard_normal((24, rank)) @ RNG.standard_normal((rank, 30))
    found = compare_weights(layer(ROWS), layer((ROWS + added).astype(np.float32)))
    assert (found.kind, found.rank) == ("adapted", rank)


def test_a_few_values_in_the_place_of_many_are_counted() -> None:
    palette = np.quantile(ROWS, np.linspace(0.05, 0.95, 8))
    found = compare_weights(layer(ROWS), layer(palette[np.abs(ROWS[..., None] - palette).argmin(-1)]))
    assert (found.kind, found.levels) == ("clustered", 8)


def test_one_layer_has_the_same_rows_whatever_operator_stores_it() -> None:
    """Gemm with and without transposition, MatMul, MatMul of int8 weights, and a Constant node."""
    weight = ROWS.T.astype(np.float32)
    scale = np.float32(np.abs(weight).max() / 127)
    held = {"t": ROWS, "w": weight, "q": np.round(weight / scale).astype(np.int8), "s": scale, "z": np.int8(0)}
    nodes = [
        helper.make_node("Gemm", ["x", "t"], ["a"], transB=1),
        helper.make_node("Gemm", ["x", "w"], ["b"]),
        helper.make_node("MatMul", ["x", "w"], ["c"]),
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(weight)),
        helper.make_node("MatMul", ["x", "k"], ["d"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"]),
        helper.make_node("MatMul", ["x", "dq"], ["e"]),
    ]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 30])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 24]) for name in "abcde"],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )  # fmt: skip
    graph = Graph(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)]))
    found = read_layers(graph, range(len(graph.nodes)))
    assert sorted(found) == [0, 1, 2, 4, 6]
    assert len({found[i].digest for i in (0, 1, 2, 4)}) == 1
    assert np.abs(found[6].rows - ROWS).max() <= 0.51 * scale
    assert (found[6].stored, found[6].step) == ("int8", pytest.approx(float(scale)))


@pytest.mark.parametrize("groups", [1, 2])
def test_rows_of_a_transposed_convolution_are_its_output_channels(groups: int) -> None:
    weights, bias = RNG.standard_normal((6, 4, 3, 3)).astype(np.float32), RNG.standard_normal(4 * groups).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], group=groups)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")]
    found = read_layers(Graph(helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], tensors))), range(1))[0]
    size = 6 // groups
    expected = [weights[size * g : size * (g + 1), o].ravel() for g in range(groups) for o in range(4)]
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.bias, bias)
    moved = replace(found, bias=found.bias + np.float32(0.5))
    assert compare_weights(found, moved).kind == "bias"


def test_layers_are_found_again_after_training_in_any_order() -> None:
    old = {i: layer(np.random.default_rng(i).standard_normal((8, 9))) for i in range(6)}
    order = [3, 5, 0, 1, 4, 2]
    new = {k: layer(old[i].rows + 0.1 * RNG.standard_normal((8, 9))) for k, i in enumerate(order)}
    assert find_similar(old, new) == dict(enumerate(order))


def test_transposed_weights_and_those_on_one_grid_are_told_from_others() -> None:
    square, step = ROWS[:, :24], np.abs(ROWS).max() / 127
    assert compare_weights(layer(square), layer(square.T.copy())).kind == "transposed"
    assert compare_weights(layer(ROWS), layer((np.round(ROWS / step) * step).astype(np.float32))).kind == "requantised"


@pytest.mark.parametrize("zeros", [False, True], ids=["symmetric", "with zero points"])
@pytest.mark.parametrize("inputs", [64, 56])
def test_weights_of_four_bits_in_blocks_are_read_as_numbers(inputs: int, zeros: bool) -> None:
    """Two are in a byte, the lower bits first; the last block may be longer than what is left of the inputs."""
    counts = RNG.integers(0, 16, (6, 2, 32), dtype=np.uint8)
    scales, middle = RNG.uniform(0.01, 0.1, (6, 2)).astype(np.float32), np.full((6, 2), 8, np.uint8)
    if zeros:
        middle = RNG.integers(0, 16, (6, 2), dtype=np.uint8)
    packed = counts[..., ::2] | (counts[..., 1::2] << 4)
    stored = {"w": packed, "s": scales.reshape(-1)} | ({"z": middle[:, 0] | (middle[:, 1] << 4)} if zeros else {})
    node = helper.make_node("MatMulNBits", ["x", *stored], ["y"], domain="com.microsoft", K=inputs, N=6, bits=4, block_size=32)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    weights = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = Graph(helper.make_model(helper.make_graph([node], "packed", values[:1], values[1:], weights)))
    found = read_layers(graph, [0])[0]
    expected = ((counts - middle[..., None].astype(np.float32)) * scales[..., None]).reshape(6, -1)[:, :inputs]
    np.testing.assert_allclose(found.rows, expected, rtol=1e-6)
    assert (found.stored, found.step) == ("uint4", pytest.approx(scales.max()))
    single = expected + RNG.uniform(-0.4, 0.4, expected.shape).astype(np.float32) * np.repeat(scales, 32, 1)[:, :inputs]
    change = compare_weights(layer(single), found)
    assert (change.kind, change.types) == ("requantised", ("float32", "uint4"))
