"""Converters of spatial operators against ONNX Runtime, and their gradients against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.encoder_graph import to_torch
from tests.helpers.spatial import Arrays, check, few, ints, normal, one_node


@st.composite
def windows(draw: Any) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Sizes of an input, and the attributes of windows that fit in it."""
    rank = draw(st.integers(1, 3))
    each = lambda low, high: draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))  # noqa: E731
    attributes: dict[str, Any] = {"kernel_shape": each(1, 3), "strides": each(1, 3)}
    kind = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if kind in ("NOTSET", "VALID"):  # elsewhere the runtime pads as if there were no dilation
        attributes["dilations"] = each(1, 2)
    if kind == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, k - 1)) for k in attributes["kernel_shape"] * 2]
    else:
        attributes["auto_pad"] = kind
    return tuple(each(5, 8)), attributes


@few
@given(windows(), st.booleans(), st.booleans())
def test_average_pool(case: tuple[tuple[int, ...], dict[str, Any]], include: bool, ceil: bool) -> None:
    sizes, attributes = case
    assume(not (ceil and "auto_pad" in attributes))
    x = {"a": normal(0, 2, 2, *sizes)}
    check("AveragePool", x, count_include_pad=int(include), ceil_mode=int(ceil), **attributes)


@few
@given(windows(), st.booleans(), st.integers(0, 1))
def test_max_pool(case: tuple[tuple[int, ...], dict[str, Any]], ceil: bool, order: int) -> None:
    sizes, attributes = case
    assume(not (ceil and "auto_pad" in attributes))
    x = {"a": normal(1, 2, 2, *sizes)}
    check("MaxPool", x, outputs=2, storage_order=order, ceil_mode=int(ceil), **attributes)
    if all(k >= s for k, s in zip(attributes["kernel_shape"], attributes["strides"], strict=True)):  # or it may refuse
        check("MaxPool", x, ceil_mode=int(ceil), **attributes)


@few
@given(windows(), st.sampled_from([1, 2, 3]))
def test_lp_pool(case: tuple[tuple[int, ...], dict[str, Any]], p: int) -> None:
    sizes, attributes = case
    check("LpPool", {"a": normal(2, 2, 2, *sizes)}, p=p, **attributes)


@few
@given(windows(), st.sampled_from([(1, 2, 3), (2, 4, 2)]), st.booleans(), st.booleans())
def test_conv(case: tuple[tuple[int, ...], dict[str, Any]], shape: tuple[int, int, int], bias: bool, computed: bool) -> None:
    sizes, attributes = case
    groups, inputs, outputs = shape
    weights = {"b": normal(1, outputs, inputs // groups, *attributes["kernel_shape"])}
    weights |= {"c": normal(2, outputs)} if bias else {}
    x = {"a": normal(3, 2, inputs, *sizes)}
    check("Conv", x | weights if computed else x, {} if computed else weights, group=groups, **attributes)


@st.composite
def transposed(draw: Any) -> tuple[tuple[int, ...], dict[str, Any]]:
    sizes, attributes = draw(windows())
    if "auto_pad" in attributes:  # shorter windows than strides: the runtime makes less than the standard says
        assume(all(k >= s for k, s in zip(attributes["kernel_shape"], attributes["strides"], strict=True)))
    attributes["output_padding"] = [draw(st.integers(0, s - 1)) for s in attributes["strides"]]
    if attributes.get("auto_pad", "VALID") == "VALID" and draw(st.booleans()):
        attributes = {k: v for k, v in attributes.items() if k not in ("pads", "dilations")}
        ends = zip(*(attributes[k] for k in ("strides", "kernel_shape", "output_padding")), sizes, strict=True)
        attributes["output_shape"] = [s * (n - 1) + k + e - draw(st.integers(0, 2)) for s, k, e, n in ends]
    return sizes, attributes


@few
@given(transposed(), st.sampled_from([(1, 2, 3), (2, 4, 2)]), st.booleans())
def test_conv_transpose(case: tuple[tuple[int, ...], dict[str, Any]], shape: tuple[int, int, int], bias: bool) -> None:
    sizes, attributes = case
    groups, inputs, outputs = shape
    weights = {"b": normal(1, inputs, outputs // groups, *attributes["kernel_shape"])}
    weights |= {"c": normal(2, outputs)} if bias else {}
    check("ConvTranspose", {"a": normal(3, 2, inputs, *sizes)}, weights, group=groups, **attributes)


@few
@given(st.lists(st.integers(1, 9), min_size=2, max_size=2), st.sampled_from([[2, 3], [-1, 1], [3, 0]]))
def test_center_crop_pad(shape: list[int], axes: list[int]) -> None:
    check("CenterCropPad", {"a": normal(0, 3, 4, 5, 6)}, {"b": ints(*shape)}, opset=18, axes=axes)


@pytest.mark.parametrize("opset", [1, 11, 13])
@pytest.mark.parametrize("operator", ["DepthToSpace", "SpaceToDepth"])
def test_blocks(operator: str, opset: int) -> None:
    check(operator, {"a": normal(0, 2, 8, 4, 6)}, opset=opset, blocksize=2)


def test_blocks_depth_first() -> None:
    check("DepthToSpace", {"a": normal(0, 2, 8, 4, 6)}, opset=13, blocksize=2, mode="CRD")


@few
@given(windows(), st.booleans())
def test_col2im(case: tuple[tuple[int, ...], dict[str, Any]], computed: bool) -> None:
    sizes, attributes = case
    attributes.pop("auto_pad", None)
    attributes.setdefault("dilations", [1] * len(sizes))
    kernel = attributes.pop("kernel_shape")
    pads = attributes.setdefault("pads", [0] * 2 * len(sizes))
    rank = len(sizes)
    ends = zip(sizes, pads[:rank], pads[rank:], attributes["dilations"], kernel, attributes["strides"], strict=True)
    blocks = np.prod([(n + b + e - d * (k - 1) - 1) // s + 1 for n, b, e, d, k, s in ends])
    x, rest = {"a": normal(0, 2, 2 * int(np.prod(kernel)), int(blocks))}, {"b": ints(*sizes), "c": ints(*kernel)}
    check("Col2Im", x | rest if computed else x, {} if computed else rest, opset=18, by_standard=True, **attributes)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("masked", [True, False])
def test_deform_conv(groups: int, masked: bool) -> None:
    feeds = {"a": normal(0, 2, 4, 5, 6), "b": normal(1, 2, 4 // groups, 3, 2), "c": normal(2, 2, 24, 3, 4)}
    feeds |= {"d": normal(4, 2), "e": normal(3, 2, 12, 3, 4)} if masked else {}
    shape = {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "strides": [2, 2], "dilations": [1, 1]}
    shape |= {"pads": [1, 1, 1, 1]}
    check("DeformConv", feeds, opset=19, group=groups, offset_group=2, grad=True, **shape)


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("aligned", [0, 1])
def test_affine_grid(size: tuple[int, ...], aligned: int) -> None:
    rank = len(size) - 2
    check("AffineGrid", {"a": normal(0, 2, rank, rank + 1)}, {"b": ints(*size)}, 20, grad=True, align_corners=aligned)


@pytest.mark.parametrize("past", [True, False])
@pytest.mark.parametrize("activation", ["none", "silu"])
def test_causal_conv(past: bool, activation: str) -> None:
    feeds = {"a": normal(0, 2, 3, 5), "b": normal(1, 3, 1, 4)} | ({"d": normal(2, 2, 3, 3)} if past else {})
    check("CausalConvWithState", feeds, opset=27, outputs=2, grad=True, activation=activation)


def test_max_unpool_undoes_max_pool() -> None:
    x = np.zeros((2, 1, 4, 4), np.float32)
    x[0, 0, 1, 1], x[1, 0, 2, 3] = 3, 5
    places = np.array([5, 2, 8, 10, 16, 18, 24, 27], np.int64).reshape(2, 1, 2, 2)
    pooled = x.reshape(-1)[places.reshape(-1)].reshape(2, 1, 2, 2)
    check("MaxUnpool", {"a": pooled, "b": places}, opset=11, grad=True, kernel_shape=[2, 2], strides=[2, 2])
    model = one_node("MaxUnpool", {"a": pooled, "b": places}, {}, 11, 1, kernel_shape=[2, 2], strides=[2, 2])
    np.testing.assert_array_equal(build(model, "test")(torch.from_numpy(pooled), torch.from_numpy(places)).numpy(), x)


@pytest.mark.parametrize(
    ("operator", "attributes", "stored"),
    [
        ("AveragePool", {"kernel_shape": [3, 3], "dilations": [2, 1], "pads": [1, 0, 2, 1]}, {}),
        ("AveragePool", {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}, {}),
        ("MaxPool", {"kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, {}),
        ("LpPool", {"kernel_shape": [2, 2], "p": 3}, {}),
        ("GlobalLpPool", {"p": 2}, {}),
        ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 1]}, {"b": normal(1, 3, 2, 2, 3)}),
        ("ConvTranspose", {"pads": [0, 1, 1, 0], "strides": [2, 2]}, {"b": normal(1, 2, 3, 3, 3), "c": normal(2, 3)}),
        ("Resize", {"mode": "linear"}, {"d": ints(2, 2, 9, 3)}),
        ("Resize", {"mode": "cubic", "antialias": 1}, {"d": ints(2, 2, 3, 11)}),
        ("Resize", {"mode": "nearest"}, {"d": ints(2, 2, 9, 3)}),
        ("Pad", {"mode": "reflect"}, {"b": ints(0, 0, 1, 2, 0, 0, 2, 1)}),
        ("Pad", {"mode": "constant"}, {"b": ints(0, 0, -1, 2, 0, 0, 2, -1)}),
        ("CenterCropPad", {"axes": [2, 3]}, {"b": ints(3, 9)}),
        ("SpaceToDepth", {"blocksize": 3}, {}),
        ("Col2Im", {}, {}),
    ],
)
def test_gradients(operator: str, attributes: dict[str, Any], stored: Arrays) -> None:
    x = normal(0, 2, 4, 6) if operator == "Col2Im" else normal(0, 2, 2, 6, 6)
    more = {"b": ints(3, 4), "c": ints(2, 2)} if operator == "Col2Im" else {}
    check(operator, {"a": x}, stored | more, opset=19, grad=True, **attributes)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample_gradients(mode: str) -> None:
    x = {"a": normal(0, 1, 2, 4, 5)}
    check("GridSample", x, {"b": normal(1, 1, 3, 4, 2)}, 20, grad=True, mode=mode, tolerance=1e-3)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_gradients(mode: str) -> None:
    rois = {"b": np.array([[0, 1, 5, 4], [2, 0, 3, 5]], np.float32), "c": ints(0, 0)}
    check("RoiAlign", {"a": normal(0, 1, 2, 6, 6)}, rois, grad=True, mode=mode, output_height=2, output_width=2)
    numbered = {"b": np.array([[0, 0, 1, 5, 4]], np.float32)}
    check("MaxRoiPool", {"a": normal(0, 1, 2, 6, 6)}, numbered, 21, grad=True, pooled_shape=[2, 2])


def test_norm_of_nothing_has_no_gradient() -> None:
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    graph = build(one_node("LpPool", {"a": x.detach().numpy()}, {}, 18, 1, kernel_shape=[2, 2]), "test")
    assert torch.autograd.grad(graph(x).sum(), x)[0].eq(0).all()


def test_sizes_written_for_one_image_hold_for_a_batch() -> None:
    x = normal(0, 3, 2, 4, 4)
    graph = build(one_node("Resize", {"a": x}, {"d": ints(1, 2, 8, 6)}, 13, 1, mode="linear"), "test")
    assert graph(torch.from_numpy(x)).shape == (3, 2, 8, 6)
    rows = torch.cat([graph(row[None]) for row in torch.from_numpy(x)])
    assert torch.equal(graph(torch.from_numpy(x)), rows)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
@pytest.mark.parametrize("axes", [[2, 3], [3, 2]])
def test_aspect_ratio(policy: str, axes: list[int]) -> None:
    x = {"a": normal(0, 1, 2, 5, 4)}
    check("Resize", x, {"d": ints(9, 6)}, 19, mode="nearest", axes=axes, keep_aspect_ratio_policy=policy)


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "half_pixel_symmetric", "asymmetric", "align_corners"])
def test_ties_fall_as_in_the_runtime(coordinates: str, nearest: str) -> None:
    for n, wanted in ((3, 1), (7, 2), (14, 19), (14, 1), (13, 7), (22, 13), (36, 21), (6, 2)):
        x, modes = {"a": normal(0, 1, 1, 1, n)}, {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
        check("Resize", x, {"d": ints(1, 1, 1, wanted)}, 19, mode="nearest", **modes)


def test_coordinates_of_the_oldest_tensorflow() -> None:
    x, mode = {"a": normal(0, 1, 1, 5, 4)}, {"coordinate_transformation_mode": "tf_half_pixel_for_nn"}
    nothing = np.zeros(0, np.float32)
    check("Resize", x, {"b": nothing, "c": nothing, "d": ints(1, 1, 8, 3)}, 11, mode="nearest", **mode)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_integers_stay_integers(kind: type[np.generic]) -> None:
    x = {"a": (normal(0, 2, 2, 4, 5) * 30 + 60).astype(kind)}
    check("MaxPool", x, opset=12, kernel_shape=[2, 2], pads=[1, 0, 0, 1])
    check("Pad", x, {"b": ints(0, 0, 1, 2, 0, 0, 2, 1)}, opset=13)
    check("Resize", x, {"d": ints(2, 2, 7, 3)}, 13, mode="nearest")


def test_modes_that_nobody_defined_are_refused() -> None:
    x = {"a": normal(0, 1, 1, 4, 4)}
    for operator, attributes in (
        ("Pad", {"mode": "mirror"}),
        ("Resize", {"coordinate_transformation_mode": "area"}),
    ):
        position = {"b": ints(*[1] * 8)} if operator == "Pad" else {"d": ints(1, 1, 2, 2)}
        with pytest.raises(NotImplementedError):
            build(one_node(operator, x, position, 11, 1, **attributes), "test")


def test_whole_model_with_computed_weights() -> None:
    model = one_node("Conv", {"a": normal(0, 1, 2, 5, 5), "b": normal(1, 3, 2, 3, 3)}, {}, 22, 1)
    model.graph.input[0].type.tensor_type.shape.CopyFrom(_fixed(1, 2, 5, 5))
    model.graph.input[1].type.tensor_type.shape.CopyFrom(_fixed(3, 2, 3, 3))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y0", TensorProto.FLOAT, [1, 3, 3, 3]))
    assert to_torch(model)(torch.zeros(4, 2, 5, 5), torch.zeros(3, 2, 3, 3)).shape == (4, 3, 3, 3)


def _fixed(*sizes: int) -> onnx.TensorShapeProto:
    return helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes).type.tensor_type.shape
