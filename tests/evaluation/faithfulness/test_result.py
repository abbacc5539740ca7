"""What is concluded from numbers per image: means, intervals, chance, the pointing game, the sentence on unchanged maps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from onnxspace.evaluation.bootstrap import intervals
from onnxspace.evaluation.faithfulness.chance import CHANCE
from onnxspace.evaluation.faithfulness.localisation import score_peaks
from onnxspace.evaluation.faithfulness.outcome import Faithfulness
from onnxspace.evaluation.faithfulness.randomisation import Randomisation
from onnxspace.evaluation.faithfulness.result import ModelFaithfulness
from onnxspace.similarity.records import ModelRecord

RECORD = ModelRecord("a", "a.onnx", "0" * 64, "t", "image", 17, "")


def measured(values: dict[Any, Any], cascade: Any = None, layers: tuple[int, ...] = ()) -> ModelFaithfulness:
    random = None if cascade is None else Randomisation(layers, cascade, cascade, cascade, np.ones((1, cascade.shape[2], 2)))
    return ModelFaithfulness(RECORD, ("elrp",), "S", "P", values, {}, random)


def rows(method: Any, random: Any, centre: Any = None) -> np.ndarray:
    return np.array([method, random, random if centre is None else centre], np.float64)


def test_intervals_are_those_of_the_bootstrap_over_images() -> None:
    values = np.random.default_rng(0).random((3, 12))
    figures = measured({"infidelity": values}).figures("infidelity")
    for figure, row in zip(figures, values, strict=True):
        assert figure is not None
        assert figure.mean == pytest.approx(row.mean())
        assert (figure.low, figure.high) == pytest.approx(tuple(intervals(row[:, None])[:, 0]))
        assert figure.images == 12


@pytest.mark.parametrize(
    ("measure", "lead", "better"),
    [("deletion", -0.2, True), ("deletion", 0.2, False), ("insertion", 0.2, True), ("insertion", -0.2, False)],
)
def test_better_than_random_is_a_paired_difference_in_the_measures_direction(measure: Any, lead: float, better: bool) -> None:
    random = np.random.default_rng(0).random(12)  # images differ more than methods do
    figure = measured({measure: rows(random + lead, random)}).figures(measure)[0]
    assert figure is not None
    assert figure.beats_random is better


def test_no_difference_is_not_better_and_few_images_tell_nothing() -> None:
    random = np.random.default_rng(0).random(12)
    noise = np.random.default_rng(1).standard_normal(12)
    same = measured({"deletion": rows(random + 0.05 * (noise - noise.mean()), random)}).figures("deletion")
    few = measured({"deletion": rows([0.1] * 3, [0.9] * 3)}).figures("deletion")
    one = measured({"deletion": rows([0.1], [0.9])}).figures("deletion")
    assert [figure and figure.beats_random for figure in (same[0], same[1], few[0], one[0])] == [False, None, None, None]
    assert one[0] is not None
    assert (one[0].low, one[0].high) == (None, None)


def test_images_without_a_value_do_not_count() -> None:
    values = rows([0.5, np.nan, 0.7], [np.nan] * 3)
    first, random, _ = measured({"pointing": values}).figures("pointing")
    assert first is not None
    assert (first.mean, first.images) == (pytest.approx(0.6), 2)
    assert random is None


def test_pointing_is_a_hit_inside_a_box_and_chance_is_the_share_of_the_image() -> None:
    mask = np.zeros((4, 4), bool)
    mask[:2, 2:] = True
    peaks = np.array([[[0, 3], [0, 0]], [[3, 3], [0, 0]]])
    got = score_peaks(peaks, [mask, None])
    assert got[:, 0].tolist() == [1, 0, 0.25, 0]
    assert np.isnan(got[:, 1]).all()


def test_a_map_that_does_not_change_is_named_in_a_sentence() -> None:
    still = measured({}, np.array([[[0.9, 0.95], [0.8, 0.9]]]), (1, 2))
    (sentence,) = still.unchanged()
    assert sentence.startswith("a: maps by elrp keep a rank correlation of 0.85 when all weights are random, so")
    assert measured({}, np.array([[[0.9, 0.95], [0.3, 0.4]]]), (1, 2)).unchanged() == ()
    assert measured({}).unchanged() == ()


def test_json_has_no_numbers_that_are_not_finite() -> None:
    model = measured({"randomisation": rows([np.nan, np.nan], [np.nan, np.nan])}, np.full((1, 2, 2), np.nan), (1, 2))
    text = json.dumps(Faithfulness((model,), {}, {}, {}).to_dict(), allow_nan=False)
    assert json.loads(text)["models"][0]["rows"][0] == {"name": "elrp", "chance": False, "randomisation": None}
    assert [row["name"] for row in json.loads(text)["models"][0]["rows"]] == ["elrp", *CHANCE]
