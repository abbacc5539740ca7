"""Features and outputs in little: scores of them beside those of whole arrays, and what they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxspace.scores.directed import Comparison, knn_agreements, probability_predictivities
from onnxspace.scores.folds import order_by_content
from onnxspace.scores.pairs.dds import dds
from onnxspace.scores.reduce import ReducedArrays, reduce_arrays
from onnxspace.similarity.fingerprints.reduced import COLUMNS, Reduced

IMAGES, CLASSES = 40, 7
ORDER = order_by_content([bytes([7 * i % 41]) for i in range(IMAGES)])
Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]  # outputs and features


def network(seed: int, *, grid: bool, dense: bool = False, channels: int = 24) -> Arrays:
    """Outputs and features that follow the same few causes as those of every other seed, with noise."""
    rng, shared = np.random.default_rng(seed), np.random.default_rng(99)
    causes = shared.standard_normal((IMAGES, 5, 2, 2)).repeat(6, 2).repeat(6, 3)
    mixed = np.einsum("icyx,cd->idyx", causes, rng.standard_normal((5, channels)))
    features = mixed + 0.3 * rng.standard_normal(mixed.shape)
    answers = np.einsum("icyx,cd->idyx", causes, rng.standard_normal((5, CLASSES)))
    outputs = answers if dense else 6 * answers.mean(axis=(2, 3))
    return outputs.astype(np.float32), (features if grid else features.mean(axis=(2, 3))).astype(np.float32)


def reduce(network: Arrays, detail: str = "pictures") -> ReducedArrays:
    return ReducedArrays(reduce_arrays(detail, ORDER, network[1], network[0], {}))  # type: ignore[arg-type]


def compare(sides: list[tuple[object, object]], **others: object) -> list[NDArray[np.float64]]:
    among = Comparison([str(i) for i in range(len(sides))], **others)  # type: ignore[arg-type]
    return [score(sides, among).matrix for score in (knn_agreements, probability_predictivities)]  # type: ignore[arg-type]


def loaded(one: ReducedArrays) -> tuple[object, object]:
    return one.load("outputs"), one.load("features")


@pytest.mark.parametrize("detail", ["images", "pictures"])
@pytest.mark.parametrize("grid", [False, True])
def test_scores_of_answers_per_image_are_those_of_whole_arrays(grid: bool, detail: str) -> None:
    networks = [network(seed, grid=grid) for seed in range(4)]
    whole, little = compare(list(networks)), compare([loaded(reduce(one, detail)) for one in networks])
    np.testing.assert_allclose(little[0], whole[0], atol=1 / IMAGES + 1e-9)  # one image may have another neighbour
    np.testing.assert_allclose(little[1], whole[1], atol=0.004)
    assert np.ptp(whole[1]) > 0.05


def test_scores_of_pictures_are_close_to_those_of_whole_arrays() -> None:
    networks = [network(seed, grid=True, dense=True) for seed in range(3)]
    whole, little = compare(list(networks)), compare([loaded(reduce(one)) for one in networks])
    np.testing.assert_allclose(little[0], whole[0], atol=0.02)
    np.testing.assert_allclose(little[1], whole[1], atol=0.02)


def test_whole_and_little_arrays_are_compared_with_each_other() -> None:
    networks = [network(seed, grid=True) for seed in range(3)]
    whole = compare(list(networks))
    mixed = compare([networks[0], loaded(reduce(networks[1])), networks[2]])
    np.testing.assert_allclose(mixed[1], whole[1], atol=0.004)


def test_similarities_are_those_of_dds() -> None:
    some, other = (network(seed, grid=True) for seed in range(2))
    first, second = (reduce(one).load_similarities() for one in (some, other))
    assert first is not None
    assert second is not None
    assert abs(float(np.vdot(first, second)) - dds(some[1], other[1])) < 1e-3


def test_classes_are_kept() -> None:
    outputs, features = network(0, grid=False)
    kept = reduce((outputs, features)).reduced.classes
    assert kept is not None
    assert kept.tolist() == outputs.argmax(axis=1).tolist()


def test_many_columns_become_few() -> None:
    outputs, features = network(0, grid=True, channels=300)
    little = reduce((np.tile(outputs, 40), features)).reduced
    assert little.levels is not None
    assert little.answers is not None
    assert (little.levels.shape, little.channels) == ((IMAGES, 64, 8, 8), 300)
    assert little.answers.shape[1] <= COLUMNS["images"]
    assert ReducedArrays(little).load("features").reduced.channels == 300


#: Detail, whether features are a grid, and channels: each kind of features in one detail, both in each where all cases are run.
KINDS = [(True, 24), (True, 100), (True, 200), (False, 30), (False, 1500)]
PAIRED = {"images": [(True, 24), (True, 200), (False, 30)], "pictures": [(True, 100), (False, 1500)]}
CASES = [
    pytest.param(detail, *kind, marks=[] if kind in PAIRED[detail] else [pytest.mark.exhaustive])
    for detail in PAIRED
    for kind in KINDS
]


@pytest.mark.parametrize(("detail", "grid", "channels"), CASES)
def test_channels_that_are_left_out_count_as_zeros(detail: str, grid: bool, channels: int) -> None:
    """The scores are those of the features in little with a channel of zeros for each that was left out."""
    networks = [reduce(network(seed, grid=grid, channels=channels), detail) for seed in range(3)]
    padded = [(one.load("outputs"), pad(one.reduced)) for one in networks]
    if detail == "pictures" and grid:
        padded.append(loaded(reduce(network(3, grid=True, dense=True))))
        networks.append(reduce(network(3, grid=True, dense=True)))
    for found, expected in zip(compare([loaded(one) for one in networks]), compare(padded), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert np.isfinite(found).all()


def pad(reduced: Reduced) -> NDArray[np.float32]:
    """Features as numbers, with channels of zeros in place of those that were left out."""
    kept = reduced.features
    if reduced.levels is not None and reduced.scales is not None:
        kept = reduced.levels * reduced.scales[:, None, None]
    assert kept is not None
    values = np.zeros((IMAGES, reduced.channels, *kept.shape[2:]), np.float32)
    values[:, : kept.shape[1]] = kept
    return values


def test_pictures_need_the_detail_of_pictures() -> None:
    dense = network(0, grid=True, dense=True)
    assert "pictures" in reduce(dense, "images").reduced.lost["outputs"]
    target, source = reduce(dense), reduce(network(1, grid=True), "images")
    found = compare([loaded(target), loaded(source)], coarse={1})[1]
    assert np.isnan(found[0, 1])
    assert np.isfinite(found[1, 0])


def test_outputs_that_do_not_vary_are_a_reason() -> None:
    outputs, features = network(0, grid=False)
    little = reduce((np.ones_like(outputs), features))
    assert "the same for every image" in little.lost["outputs"]
    assert little.load("outputs") is None
    assert little.load("features") is not None


def test_without_outputs_nothing_of_them_is_left() -> None:
    little: Reduced = reduce(network(0, grid=True)).reduced.without_outputs()
    assert set(little.arrays()) == {"levels", "scales", "similarities"}
    assert little.remarks == ()
    assert ReducedArrays(little).load("outputs") is None


def test_images_are_selected_with_their_positions() -> None:
    rows = np.array([3, 1, 0])
    whole = reduce(network(0, grid=True, dense=True)).load("outputs")
    some = whole[rows]
    assert len(some) == 3
    grid = whole.rows.reshape(IMAGES, 64, -1)
    np.testing.assert_array_equal(some.rows.reshape(3, 64, -1), grid[rows])
