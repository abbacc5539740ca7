"""Boxes at the positions of grids: against loops over cells, Torch's autograd, and from an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import onnxspace as ox
from onnxspace.attribution.boxes import weigh_box
from onnxspace.attribution.grid_boxes import decode_boxes, select_level, split_levels
from onnxspace.errors import AttributionError, ModelError
from onnxspace.inputs.targets import make_targets
from onnxspace.model.class_names import find_class
from onnxspace.model.detections import BoxForm, find_box_form
from onnxspace.model.model import open_model
from tests.helpers.nets import Net, save

SIZE = (32, 48)
DRAW = torch.Generator().manual_seed(2)
Box = tuple[float, float, float, float]


def scrfd(x: float, y: float, s: float, v: list[float]) -> Box:
    return x - v[0] * s, y - v[1] * s, x + v[2] * s, y + v[3] * s


def yunet(x: float, y: float, s: float, v: list[float]) -> Box:
    middle, half = (x + v[0] * s, y + v[1] * s), (exp(v[2]) * s / 2, exp(v[3]) * s / 2)
    return middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]


def mediapipe(x: float, y: float, s: float, v: list[float]) -> Box:
    middle = (x + s / 2 + v[0], y + s / 2 + v[1])
    return middle[0] - v[2] / 2, middle[1] - v[3] / 2, middle[0] + v[2] / 2, middle[1] + v[3] / 2


FORMS: dict[str, tuple[BoxForm, Callable[[float, float, float, list[float]], Box], tuple[int, ...], int]] = {
    "scrfd": (BoxForm((), 1, corners="corners", strides=(8, 16), grids="distances"), scrfd, (2, 2), 4),
    "yunet": (BoxForm((), 1, objectness=True, corners="corners", strides=(8, 16), grids="logarithms"), yunet, (1, 1), 4),
    "mediapipe": (BoxForm((), 1, corners="corners", strides=(8, 16), grids="offsets"), mediapipe, (2, 6), 16),
}


def draw_levels(name: str) -> tuple[BoxForm, list[Tensor], list[Box]]:
    """A form, random outputs, and its boxes by loops."""
    form, decode, anchors, width = FORMS[name]
    values, boxes, parts = [], [], []
    for stride, many in zip(form.strides, anchors, strict=True):
        cells = list(product(range(SIZE[0] // stride), range(SIZE[1] // stride)))
        raw = torch.rand(1, len(cells) * many, width, generator=DRAW)
        boxes += [
            decode(column * stride, row * stride, stride, raw[0, k * many + j].tolist())
            for k, (row, column) in enumerate(cells)
            for j in range(many)
        ]
        parts.append(raw)
        scores = [torch.rand(1, raw.shape[1], 1, generator=DRAW) for _ in range(2 if form.objectness else 1)]
        values += [raw, *scores]
    if name == "mediapipe":
        values = [torch.cat(parts, dim=1), torch.cat(values[1::2], dim=1)]
    return form, values, boxes


@pytest.mark.parametrize("name", FORMS)
def test_boxes_are_those_of_loops_over_cells(name: str) -> None:
    form, values, boxes = draw_levels(name)
    found = decode_boxes(form, split_levels(form, values)[0], values, SIZE)
    np.testing.assert_allclose(found, boxes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_weights_are_the_gradient_of_the_score(name: str) -> None:
    form, values, _ = draw_levels(name)
    leaves = [one.clone().requires_grad_(True) for one in values]
    _, scores, factor = split_levels(form, leaves)
    every = scores[:, 0] if factor is None else (scores[:, 0] * factor).sqrt()
    for place in (0, 7, len(every) - 1):
        expected = torch.autograd.grad(every[place], leaves, retain_graph=True, allow_unused=True)
        for weights, gradient in zip(select_level(form, values, place, 0), expected, strict=True):
            torch.testing.assert_close(weights, torch.zeros_like(weights) if gradient is None else gradient)


def detector(path: Path, names: tuple[str, ...]) -> Path:
    """A convolution with cells of 8 pixels for each output, as one row per cell."""
    net, found = Net((1, 3, 32, 32)), []
    for name in names:
        count = 4 if name.startswith("bbox") else 1
        rows = net.add("Sigmoid", net.add("Conv", "image", net.random(count, 3, 8, 8), strides=[8, 8]))
        flat = net.add("Reshape", rows, net.weight(np.array([1, count, 16])))
        found.append(net.add("Transpose", flat, perm=[0, 2, 1]))
    proto = net.model(found)
    for output, name in zip(found, names, strict=True):
        for node in proto.graph.node:
            node.output[:] = [name if one == output else one for one in node.output]
        for one in proto.graph.output:
            one.name = name if one.name == output else one.name
    return save(proto, path)


@pytest.mark.parametrize(
    ("names", "grids"), [(("score_8", "bbox_8"), "distances"), (("cls_8", "obj_8", "bbox_8"), "logarithms")]
)
def test_a_file_with_named_levels_is_explained(tmp_path: Path, names: tuple[str, ...], grids: str) -> None:
    path = detector(tmp_path / "net.onnx", names)
    model = open_model(path)
    shapes = {name: (1, 16, 4 if name.startswith("bbox") else 1) for name in names}
    assert find_box_form(model, shapes, 0).grids == grids
    target = make_targets(box="70,70,100,100")
    found = ox.attribute(path, ox.Probes.generate(2), "saliency", target=target[0])
    assert found.any(axis=(1, 2)).all()
    with pytest.raises(ModelError, match="in a form that is understood"):
        find_box_form(model, {name: (1, 15, shape[2]) for name, shape in shapes.items()}, 0)


def test_raw_values_are_not_taken_for_corners() -> None:
    form = BoxForm(("boxes", "scores"), 1, corners="corners")
    values = [torch.randn(1, 400, 4, generator=DRAW) * 9, torch.rand(1, 400, 1, generator=DRAW)]
    resizing = (torch.eye(32), torch.eye(32))
    with pytest.raises(AttributionError, match="raw values"):
        weigh_box(form, values, (4, 4, 9, 9), "net.onnx", resizing, lambda _: 0)


def test_an_empty_name_keeps_its_number_and_is_no_class() -> None:
    from onnxspace.model.class_names import _parse_names

    names = _parse_names("cat,,dog")
    assert names == ("cat", "", "dog")
    assert _parse_names("cat\n\ndog\n") == names
    assert _parse_names(",,") == ()
    assert find_class("dog", names, 3, "net.onnx") == 2
    for word in ("", "  "):
        with pytest.raises(ox.OnnxspaceError, match="--class is empty"):
            find_class(word, names, 3, "net.onnx")
    with pytest.raises(ox.OnnxspaceError, match="so give 0"):
        find_class("1", (), 1, "net.onnx")
