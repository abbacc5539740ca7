"""Picking, placing, shaping, control flow, sequences, integer arithmetic and transforms, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxspace.model import runtime
from onnxspace.torchgraph.build import build

few = settings(max_examples=12, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)


def node_model(operator: str, inputs: list[Any], opset: int, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
    """A model of one node whose inputs are all fed; None is left out."""
    names = ["" if value is None else f"x{i}" for i, value in enumerate(inputs)]
    node = helper.make_node(operator, names, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)
    return graph_model(
        [node], {n: v for n, v in zip(names, inputs, strict=True) if n}, [f"y{i}" for i in range(outputs)], opset
    )


def graph_model(nodes: list[Any], feeds: dict[str, Any], outputs: list[str], opset: int) -> Any:
    feeds = {name: np.asarray(value) for name, value in feeds.items()}
    given_ = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)
        for name, value in feeds.items()
    ]
    graph = helper.make_graph(nodes, "g", given_, [onnx.ValueInfoProto(name=name) for name in outputs])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), feeds


def compare(made: Any, atol: float = 1e-5) -> list[torch.Tensor]:
    """Our outputs, equal to ONNX Runtime's in shape and value."""
    model, feeds = made
    theirs = runtime.run(model, feeds, optimise=False)
    found = build(model, "net")(*[torch.from_numpy(np.asarray(v)) for v in feeds.values()])
    ours = list(found) if isinstance(found, tuple) else [found]
    for a, b in zip(ours, theirs, strict=True):
        assert tuple(a.shape) == np.shape(b)
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=atol)
    return ours


def check_gradient(made: Any, position: int = 0) -> None:
    """The gradient by one floating-point input equals finite differences."""
    model, feeds = made
    graph = build(model, "net").double()
    values = [torch.from_numpy(np.asarray(v)) for v in feeds.values()]
    values = [v.double() if v.is_floating_point() else v for v in values]

    def run(x: torch.Tensor) -> torch.Tensor:
        found = graph(*values[:position], x, *values[position + 1 :])
        return found[0] if isinstance(found, tuple) else found

    assert torch.autograd.gradcheck(run, values[position].clone().requires_grad_(True))


def floats(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


@few
@given(seeds, st.integers(1, 6), st.sampled_from([-3, -2, -1, 1, 2, 3]), st.integers(-8, 8), st.integers(-8, 8))
def test_slice_clamps_its_bounds_in_both_directions(seed: int, size: int, step: int, start: int, end: int) -> None:
    x = floats(np.random.default_rng(seed), 2, size)
    compare(node_model("Slice", [x, ints(start), ints(end), ints(-1), ints(step)], 13))


def test_gradient_of_a_slice_that_runs_backwards() -> None:
    x = floats(np.random.default_rng(0), 2, 5)
    check_gradient(node_model("Slice", [x, ints(-1), ints(-99), ints(1), ints(-2)], 13))


@few
@given(seeds, st.sampled_from(["none", "add", "mul", "max", "min"]), st.integers(-2, 1))
def test_scatter_elements_with_reductions(seed: int, reduction: str, axis: int) -> None:
    rng = np.random.default_rng(seed)
    x, updates = floats(rng, 4, 5), floats(rng, 3, 3)
    if reduction == "none":  # positions that occur twice would have no defined value
        rows = np.stack([rng.permutation(4)[:3] for _ in range(3)])
        index = rows if axis % 2 else rows.T
    else:
        index = rng.integers(-4, 4, (3, 3))
    made = node_model("ScatterElements", [x, index.astype(np.int64), updates], 18, axis=axis, reduction=reduction)
    compare(made)
    check_gradient(made)
    check_gradient(made, 2)


@few
@given(seeds, st.sampled_from(["add", "mul", "max", "min"]), st.integers(1, 3))
def test_scatter_nd_and_gather_nd(seed: int, reduction: str, depth: int) -> None:
    rng = np.random.default_rng(seed)
    x, index = floats(rng, 2, 3, 4), rng.integers(-2, 2, (2, 2, depth)).astype(np.int64)
    found = compare(node_model("GatherND", [x, index], 13))
    made = node_model("ScatterND", [x, index, floats(rng, *found[0].shape)], 18, reduction=reduction)
    compare(made)
    check_gradient(made, 2)
    compare(node_model("GatherND", [x, index[:, :, :2]], 13, batch_dims=1))


@few
@given(seeds, st.integers(-3, 2))
def test_gather_takes_indices_of_any_rank_from_the_end_too(seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    made = node_model("Gather", [floats(rng, 2, 3, 4), rng.integers(-2, 2, (2, 2)).astype(np.int64)], 13, axis=axis)
    compare(made)
    check_gradient(made)
    compare(node_model("Gather", [floats(rng, 2, 3, 4), np.array(-1)], 13, axis=axis))
    compare(node_model("GatherElements", [floats(rng, 2, 3, 4), rng.integers(-2, 2, (2, 2, 2))], 13, axis=axis))


@few
@given(seeds, st.booleans(), st.integers(1, 4))
def test_top_k_orders_ties_by_position(seed: int, largest: bool, k: int) -> None:
    x = np.random.default_rng(seed).integers(0, 3, (3, 4)).astype(np.float32)
    compare(node_model("TopK", [x, ints(k)], 11, outputs=2, largest=int(largest), axis=1))


@few
@given(seeds, st.sampled_from([None, 0, 1]), st.booleans())
def test_unique_counts_and_finds_first_occurrences(seed: int, axis: int | None, ordered: bool) -> None:
    x = np.random.default_rng(seed).integers(0, 2, (4, 3)).astype(np.float32)
    compare(node_model("Unique", [x], 11, outputs=4, sorted=int(ordered), **({} if axis is None else {"axis": axis})))


@few
@given(seeds, st.booleans(), st.floats(0, 0.9))
def test_boxes_suppress_each_other_whatever_the_order_of_their_corners(seed: int, centred: bool, limit: float) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = rng.random((2, 6, 4)).astype(np.float32), rng.random((2, 3, 6)).astype(np.float32)
    inputs = [boxes, scores, ints(3), np.array([limit], np.float32), np.array([0.2], np.float32)]
    compare(node_model("NonMaxSuppression", inputs, 11, center_point_box=int(centred)))


def test_sizes_that_are_computed() -> None:
    x = floats(np.random.default_rng(0), 2, 6, 1)
    compare(node_model("Reshape", [x, ints(0, 3, -1)], 13))
    compare(node_model("Reshape", [x[:0], ints(0, 5)], 14, allowzero=1))
    compare(node_model("Expand", [x, ints(3, 1, 1, 4)], 13))
    compare(node_model("Split", [x, ints(1, 2, 3)], 13, outputs=3, axis=1))
    compare(node_model("Split", [x[:, :5]], 18, outputs=3, axis=1, num_outputs=3))
    compare(node_model("Squeeze", [x, ints(-1)], 13))
    compare(node_model("Unsqueeze", [x, ints(-1, 0)], 13))
    compare(node_model("Shape", [x], 15, start=-9, end=-1))
    compare(node_model("OneHot", [ints(-1, 0, 3), ints(3), np.array([2.0, 5.0], np.float32)], 11, axis=0))


def counting_loop() -> Any:
    """x · w as often as `trips` says, while the running total stays below a limit; every total is kept."""
    floating, whole, truth = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["state", "w"], ["next"]),
            helper.make_node("ReduceSum", ["next"], ["total"], keepdims=0),
            helper.make_node("Less", ["total", "limit"], ["go"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", whole, []),
            helper.make_tensor_value_info("c", truth, []),
            helper.make_tensor_value_info("state", floating, [2]),
        ],
        [
            helper.make_tensor_value_info("go", truth, []),
            helper.make_tensor_value_info("next", floating, [2]),
            helper.make_tensor_value_info("total", floating, []),
        ],
    )
    return helper.make_node("Loop", ["trips", "", "x"], ["last", "totals"], body=body)


@pytest.mark.parametrize(("trips", "steps"), [(0, 0), (3, 3), (9, 5)])
def test_a_loop_counts_stops_and_captures(trips: int, steps: int) -> None:
    feeds = {"trips": np.array(trips), "x": np.ones(2, np.float32), "w": np.full(2, 2.0, np.float32), "limit": np.float32(40)}
    made = graph_model([counting_loop()], feeds, ["last", "totals"], 13)
    assert len(compare(made)[1]) == steps
    check_gradient(made, 1)
    check_gradient(made, 2) if steps else None


@pytest.mark.parametrize("backward", [0, 1])
def test_a_scan_carries_and_stacks(backward: int) -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "x"], ["n"]), helper.make_node("Mul", ["n", "w"], ["o"])],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("s", "x")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("n", "o")],
    )
    directions = {"scan_input_directions": [backward], "scan_output_axes": [1], "scan_output_directions": [1 - backward]}
    node = helper.make_node(
        "Scan", ["start", "xs"], ["last", "all"], body=body, num_scan_inputs=1, scan_input_axes=[1], **directions
    )
    rng = np.random.default_rng(0)
    made = graph_model([node], {"start": floats(rng, 2), "xs": floats(rng, 2, 3), "w": floats(rng, 2)}, ["all", "last"], 16)
    compare(made)
    check_gradient(made, 1)


def test_a_condition_is_read_at_run_time() -> None:
    outputs = [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    bodies = [helper.make_graph([helper.make_node(op, ["x"], ["o"])], op, [], outputs) for op in ("Relu", "Neg")]
    node = helper.make_node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1])
    for flag in (True, False):
        compare(graph_model([node], {"c": np.array(flag), "x": floats(np.random.default_rng(0), 4)}, ["y"], 13))


def test_sequences_are_split_changed_and_joined() -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["x", "sizes"], ["s"], axis=0),
        helper.make_node("SequenceErase", ["s", "first"], ["e"]),
        helper.make_node("SequenceInsert", ["e", "x", "first"], ["i"]),
        helper.make_node("SequenceAt", ["i", "last"], ["at"]),
        helper.make_node("SequenceLength", ["i"], ["n"]),
        helper.make_node("ConcatFromSequence", ["i"], ["y"], axis=0),
    ]
    feeds = {"x": floats(np.random.default_rng(0), 6, 2), "sizes": ints(1, 2, 3), "first": np.array(0), "last": np.array(-1)}
    made = graph_model(nodes, feeds, ["y", "at", "n"], 13)
    compare(made)
    check_gradient(made)


def quantised_feeds(seed: int) -> list[Any]:
    """Two int8 or uint8 operands with their scales and zero points."""
    rng = np.random.default_rng(seed)
    s = np.float32(0.05)
    a = [rng.integers(0, 256, (1, 4, 5, 5)).astype(np.uint8), s, np.array(120, np.uint8)]
    return [*a, rng.integers(0, 256, (1, 4, 5, 5)).astype(np.uint8), np.float32(0.03), np.array(7, np.uint8)]


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
def test_sums_and_products_of_quantised_tensors(operator: str) -> None:
    out = [np.float32(0.11), np.array(128, np.uint8)]
    compare(node_model(operator, [*quantised_feeds(0), *out], 13, domain="com.microsoft"), atol=1)


@pytest.mark.parametrize(
    ("operator", "said"),
    [
        ("QLinearSigmoid", {}),
        ("QLinearLeakyRelu", {"alpha": 0.2}),
        ("QLinearGlobalAveragePool", {"channels_last": 0}),
        ("QLinearAveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 0, 0], "strides": [2, 2]}),
        ("QLinearAveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 0, 0], "count_include_pad": 1}),
    ],
)
def test_functions_of_one_quantised_tensor(operator: str, said: dict[str, Any]) -> None:
    inputs = [*quantised_feeds(0)[:3], np.float32(0.02), np.array(20, np.uint8)]
    compare(node_model(operator, inputs, 13, domain="com.microsoft", **said), atol=1)


def test_quantised_matrices_and_concatenation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (3, 4)).astype(np.uint8), rng.integers(-128, 128, (4, 5)).astype(np.int8)
    az, bz, s, z = np.array(120, np.uint8), np.array(3, np.int8), np.float32(0.05), np.array(128, np.uint8)
    compare(node_model("MatMulInteger", [a, b, az, bz], 10))
    compare(node_model("QLinearMatMul", [a, s, az, b, s, bz, np.float32(0.3), z], 10), atol=1)
    columns = [np.linspace(0.01, 0.09, 5).astype(np.float32), np.arange(5).astype(np.int8)]
    bias = rng.integers(-99, 99, 5).astype(np.int32)
    compare(node_model("QGemm", [a, s, az, b, *columns, bias, np.float32(0.3), z], 13, domain="com.microsoft"), atol=1)
    compare(node_model("QGemm", [a, s, az, b, *columns, bias], 13, domain="com.microsoft"), atol=1e-3)
    compare(node_model("QLinearConcat", [s, z, a, s, az, a, s, z], 13, domain="com.microsoft", axis=1), atol=1)
    compare(node_model("DynamicQuantizeLinear", [floats(rng, 3, 4)], 11, outputs=3), atol=1)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
def test_quantised_convolutions_pad_with_the_zero_point(auto_pad: str) -> None:
    rng = np.random.default_rng(1)
    x, w = quantised_feeds(1)[:3], rng.integers(-128, 128, (6, 2, 3, 2)).astype(np.int8)
    scales, zeros = np.linspace(0.01, 0.05, 6).astype(np.float32), np.zeros(6, np.int8)
    said: dict[str, Any] = {"auto_pad": auto_pad, "strides": [2, 1], "group": 2}
    said |= {"pads": [1, 0, 0, 1]} if auto_pad == "NOTSET" else {}
    out, bias = [np.float32(0.5), np.array(128, np.uint8)], rng.integers(-500, 500, 6).astype(np.int32)
    compare(node_model("QLinearConv", [*x, w, scales, zeros, *out, bias], 10, **said), atol=1)
    compare(node_model("ConvInteger", [x[0], w, x[2]], 10, **said))


def test_gradients_pass_straight_through_quantised_arithmetic() -> None:
    """Quantise, convolve, dequantise: backward, the convolution with the restored weights where nothing saturates."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "ws", "wz", "s", "z"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    x, w = floats(rng, 1, 1, 4, 4), rng.integers(-20, 20, (1, 1, 2, 2)).astype(np.int8)
    feeds = {
        "x": x,
        "s": np.float32(0.05),
        "z": np.array(128, np.uint8),
        "w": w,
        "ws": np.float32(0.01),
        "wz": np.array(0, np.int8),
    }
    model, _ = graph_model(nodes, feeds, ["y"], 13)
    image = torch.from_numpy(x).requires_grad_(True)
    made = build(model, "net")(image, *[torch.from_numpy(np.asarray(v)) for v in list(feeds.values())[1:]])
    (found,) = torch.autograd.grad(made.sum(), image)
    (exact,) = torch.autograd.grad(torch.conv2d(image, torch.from_numpy(w) * 0.01).sum(), image)
    torch.testing.assert_close(found, exact)


@few
@given(seeds, st.integers(1, 4), st.integers(0, 1))
def test_blocks_along_an_axis(seed: int, block: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    x = floats(rng, 4, 6)
    shape = [-(-n // block) if i == axis else n for i, n in enumerate(x.shape)]
    scale, zero = rng.uniform(0.01, 0.1, shape).astype(np.float32), rng.integers(-9, 9, shape).astype(np.int8)
    said = {"axis": axis, "block_size": block}
    compare(node_model("QuantizeLinear", [x, scale, zero], 21, **said), atol=1e-5)
    compare(node_model("DequantizeLinear", [rng.integers(-128, 128, x.shape).astype(np.int8), scale, zero], 21, **said))


@few
@given(seeds, st.integers(3, 9), st.booleans(), st.booleans())
def test_fourier_transforms(seed: int, length: int, inverse: bool, onesided: bool) -> None:
    parts = 2 if inverse else 1
    x = floats(np.random.default_rng(seed), 2, 6, parts)
    said = {"inverse": int(inverse), "onesided": int(onesided and not inverse)}
    made = node_model("DFT", [x, np.array(length)], 17, axis=1, **said)
    compare(made, atol=1e-4)
    check_gradient(made)


def test_short_time_transform_and_windows() -> None:
    x, window = floats(np.random.default_rng(0), 1, 20, 1), np.hanning(8).astype(np.float32)
    made = node_model("STFT", [x, np.array(3), window, np.array(8)], 17)
    compare(made, atol=1e-4)
    check_gradient(made)
    for operator in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        compare(node_model(operator, [np.array(9)], 17, periodic=0), atol=1e-5)
    compare(node_model("MelWeightMatrix", [np.array(8), np.array(64), np.array(8192), np.float32(0), np.float32(4000)], 17))
