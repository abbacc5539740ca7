"""Which shapes have positions in the image, and where attention is in a graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.attentions import find_attentions
from onnxspace.model.grids import Grid, find_activation_grid, find_grid, find_token_grid
from onnxspace.model.positions import find_positions, find_rollout
from tests.helpers.asknets import export, make_network

SQUARE, WIDE = Preprocess(224, 224), Preprocess(192, 384)


@pytest.mark.parametrize(
    ("shape", "preprocess", "expected"),
    [
        ((1, 512, 7, 7), SQUARE, Grid("channels first", 7, 7)),
        ((1, 7, 7, 512), SQUARE, Grid("channels last", 7, 7)),
        ((1, 16, 16, 16), SQUARE, Grid("channels first", 16, 16)),
        ((1, 32, 6, 12), WIDE, Grid("channels first", 6, 12)),
        ((1, 6, 12, 32), WIDE, Grid("channels last", 6, 12)),
        ((1, 512, 1, 1), SQUARE, None),
        ((1, 12, 197, 64), SQUARE, None),
        ((1, 224, 224), SQUARE, Grid("one channel", 224, 224)),
        ((1, 84, 8400), SQUARE, None),
        ((1, 1000), SQUARE, None),
        ((2, 512, 7, 7), SQUARE, None),
    ],
)
def test_axes_are_told_by_the_images_aspect_ratio(
    shape: tuple[int, ...], preprocess: Preprocess, expected: Grid | None
) -> None:
    assert find_grid(shape, preprocess) == expected


@pytest.mark.parametrize(
    ("count", "preprocess", "expected"),
    [
        (196, SQUARE, (14, 14, 0)),
        (197, SQUARE, (14, 14, 1)),
        (198, SQUARE, (14, 14, 2)),
        (201, SQUARE, (14, 14, 5)),
        (1 + 12 * 24, WIDE, (12, 24, 1)),
        (3, WIDE, None),
        (7, SQUARE, None),
    ],
)
def test_tokens_are_a_grid_behind_a_few_others(
    count: int, preprocess: Preprocess, expected: tuple[int, int, int] | None
) -> None:
    found = find_token_grid(count, preprocess)
    assert (None if found is None else (found.rows, found.columns, found.prefix)) == expected


def test_three_axes_of_activations_are_tokens() -> None:
    assert find_activation_grid((1, 16, 16), SQUARE) == Grid("tokens", 4, 4)
    assert find_grid((1, 16, 16), SQUARE) == Grid("one channel", 16, 16)


def test_attentions_are_found_by_structure_in_both_exporters_graphs(tmp_path: Path) -> None:
    net = make_network("transformer")
    for dynamo in (False, True):
        model = export(net, tmp_path / f"{dynamo}.onnx", dynamo=dynamo)
        found = find_attentions(model, ["logits"])
        assert len(found) == 2
        assert [model.graph.nodes[one.node].op_type for one in found] == ["Softmax", "Softmax"]
        tensor = find_positions(model, ["logits"]).tensor
        assert model.graph.nodes[model.graph.producer[tensor]].op_type == "LayerNormalization"
        names, grid = find_rollout(model, ["logits"])
        assert len(names) == 2
        assert grid == Grid("tokens", 4, 4, 1)


def test_a_softmax_of_classes_or_channels_is_no_attention(tmp_path: Path) -> None:
    import torch

    model = export(torch.nn.Sequential(make_network("residual"), torch.nn.Softmax(dim=-1)), tmp_path / "net.onnx")
    assert find_attentions(model, ["logits"]) == []
