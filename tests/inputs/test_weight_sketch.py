"""Sketches of weights: collinear rows agree, others don't, and untrusted sketches are refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxspace.inputs.weight_sketch import (
    MOST_ROWS,
    LayerSketch,
    WeightSketch,
    are_one_network,
    parse_weight_sketch,
    project_rows,
)


def sketch(*layers: NDArray[Any], effect: tuple[tuple[float, float], ...] = ((1.0, 0.0),), front: str = "") -> WeightSketch:
    parts = tuple(LayerSketch(len(one), one.shape[1], project_rows(one[:MOST_ROWS])) for one in layers)
    return WeightSketch("a", front, effect, parts)


def layers(seed: int = 0) -> tuple[NDArray[Any], ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(shape) for shape in ((16, 27), (16, 144), (32, 144), (10, 32)))


def turn(rows: NDArray[Any], cosine: float) -> NDArray[Any]:
    """Rows whose cosine with the given ones is `cosine`."""
    noise = np.random.default_rng(9).standard_normal(rows.shape)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    noise -= (noise * unit).sum(1, keepdims=True) * unit
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return cosine * unit + np.sqrt(1 - cosine**2) * noise


def test_scaled_and_negated_rows_are_the_same_network() -> None:
    scales = np.random.default_rng(5).uniform(-3, 3, (4, 32))
    scaled = [one * scales[k, : len(one), None] for k, one in enumerate(layers())]
    assert are_one_network(sketch(*layers()), sketch(*scaled))


@pytest.mark.parametrize(("cosine", "one"), [(0.9999, True), (0.9995, True), (0.99, False), (0.9, False), (0.0, False)])
def test_the_cosine_of_rows_decides(cosine: float, one: bool) -> None:
    assert are_one_network(sketch(*layers()), sketch(*(turn(rows, cosine) for rows in layers()))) is one


def test_half_of_the_layers_suffices_but_the_first_must_be_equal() -> None:
    a, b = layers(), layers(1)
    assert are_one_network(sketch(*a), sketch(a[0], a[1], b[2], b[3]))
    assert not are_one_network(sketch(*a), sketch(a[0], b[1], b[2], b[3]))
    assert not are_one_network(sketch(*a), sketch(b[0], a[1], a[2], a[3]))


def test_arithmetic_in_front_and_the_effect_of_the_first_layer_must_be_equal() -> None:
    a = sketch(*layers())
    assert not are_one_network(a, replace(a, front="Mul 0.00784"))
    assert not are_one_network(a, replace(a, effect=((2.0, 0.0),)))
    assert not are_one_network(a, replace(a, effect=((1.0, 0.5),)))
    assert are_one_network(a, replace(a, effect=((1.01, 0.01),)))


def test_channels_without_weights_tell_nothing() -> None:
    dead = layers()[0].copy()
    dead[::2] = 0
    assert project_rows(dead)[0] == ()
    assert are_one_network(sketch(dead, *layers()[1:]), sketch(*layers()))
    assert not are_one_network(sketch(0 * dead), sketch(0 * dead))


def test_numbers_are_those_of_every_version() -> None:
    """Notes of baselines hold them: a change of the projection would make equal networks differ."""
    assert project_rows(np.eye(3)) == ((1.7321, 1.4886), (0.8006, 1.1724), (1.5941, 0.3452))


def test_sketches_survive_json_and_others_are_refused() -> None:
    a = sketch(*layers())
    text = json.loads(json.dumps(asdict(a)))
    assert parse_weight_sketch(text) == a
    spoilt: list[Any] = [
        None,
        {**text, "architecture": "a" * 17},
        {**text, "front": 3},
        {**text, "effect": [[1.0]]},
        {**text, "effect": [[1.0, float("nan")]]},
        {**text, "layers": text["layers"] * 12},
        {**text, "layers": [{"channels": -1, "length": 3, "numbers": []}]},
        {**text, "layers": [{"channels": 1, "length": 3, "numbers": [[1.0]]}]},
    ]
    for one in spoilt:
        with pytest.raises(ValueError, match="invalid"):
            parse_weight_sketch(one)
