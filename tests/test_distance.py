"""The streamed affinity matrix against a double loop, and the invariants it must keep."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxspace.distance import affinity_matrix
from onnxspace.store import MapWriter, open_maps, unit

Maps = NDArray[np.float32]


def save(folder: Path, all_maps: list[Maps]) -> list[Path]:
    files = []
    for index, maps in enumerate(all_maps):
        path = folder / f"{index}.npy"
        with MapWriter(path, len(maps), maps[0].size) as writer:
            writer.append(unit(maps)[0])
        files.append(path)
    return files


def double_loop(all_maps: list[Maps]) -> NDArray[np.float64]:
    """Mean over images of cosines, one pair and one image at a time, in float64."""
    count = len(all_maps)
    found = np.eye(count)
    for i in range(count):
        for j in range(count):
            if i != j:
                found[i, j] = np.mean([cosine(a, b) for a, b in zip(all_maps[i], all_maps[j], strict=True)])
    return found


def cosine(a: Maps, b: Maps) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length else 0.0


def random_maps(models: int, images: int, side: int, seed: int = 0) -> list[Maps]:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((images, side, side))
    return [(shared * k + rng.standard_normal((images, side, side))).astype(np.float32) for k in range(models)]


@pytest.mark.parametrize("memory", [2**30, 4096, 1])
def test_equals_a_double_loop_whatever_the_block_size(tmp_path: Path, memory: int) -> None:
    all_maps = random_maps(4, 5, 12)
    found = affinity_matrix(save(tmp_path, all_maps), memory)
    np.testing.assert_allclose(found, double_loop(all_maps), atol=2e-4)


def test_float16_rounding_stays_below_a_millionth_at_real_map_sizes(tmp_path: Path) -> None:
    all_maps = random_maps(3, 4, 224)
    np.testing.assert_allclose(affinity_matrix(save(tmp_path, all_maps)), double_loop(all_maps), atol=1e-6)


def test_scale_does_not_matter_down_to_denormal_maps(tmp_path: Path) -> None:
    maps = random_maps(1, 3, 128)[0]
    scaled = [maps * factor for factor in (1.0, 1e-30, 1e30)]
    np.testing.assert_allclose(affinity_matrix(save(tmp_path, scaled)), np.ones((3, 3)), atol=1e-6)


def test_a_zero_map_has_cosine_zero_and_is_counted(tmp_path: Path) -> None:
    maps = random_maps(1, 4, 128)[0]
    holed = maps.copy()
    holed[1] = 0
    assert unit(holed)[1].tolist() == [False, True, False, False]
    found = affinity_matrix(save(tmp_path, [maps, holed]))
    np.testing.assert_allclose(found, [[1, 0.75], [0.75, 1]], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(1, 6), st.randoms(use_true_random=False))
def test_symmetry_range_and_permutation(
    tmp_path_factory: pytest.TempPathFactory, models: int, images: int, side: int, random: object
) -> None:
    files = save(tmp_path_factory.mktemp("maps"), random_maps(models, images, side))
    order = list(range(models))
    random.shuffle(order)  # type: ignore[attr-defined]
    found, permuted = affinity_matrix(files), affinity_matrix([files[i] for i in order])
    assert (found == found.T).all()
    assert np.abs(found).max() <= 1
    assert (np.diag(found) == 1).all()
    np.testing.assert_allclose(permuted, found[np.ix_(order, order)], atol=1e-12)


def test_memory_does_not_grow_with_models_or_images(tmp_path: Path) -> None:
    budget = 2**20

    def peak(models: int, images: int) -> int:
        folder = tmp_path / f"{models}-{images}"
        folder.mkdir()
        files = save(folder, random_maps(models, images, 64))
        tracemalloc.start()
        affinity_matrix(files, budget)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    few, many = peak(4, 8), peak(32, 32)
    assert few < 1.5 * budget
    assert many < 1.5 * budget


def test_maps_of_different_probes_are_refused(tmp_path: Path) -> None:
    files = save(tmp_path, [random_maps(1, 3, 8)[0], random_maps(1, 4, 8)[0]])
    with pytest.raises(ValueError, match="different probe sets"):
        affinity_matrix(files)


def test_a_map_file_is_a_plain_numpy_array_that_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "maps.npy"
    rows = unit(random_maps(1, 3, 8)[0])[0]
    with MapWriter(path, 3, 64) as writer:
        writer.append(rows[:2])
        assert not path.exists()
        writer.append(rows[2:])
    loaded = np.load(path, allow_pickle=False)
    assert loaded.dtype == np.float16
    assert loaded.flags.c_contiguous
    np.testing.assert_array_equal(loaded, rows)
    np.testing.assert_array_equal(open_maps(path), rows)


def test_an_interrupted_map_file_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with MapWriter(tmp_path / "maps.npy", 3, 4) as writer:
            writer.append(np.zeros((1, 4), np.float16))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
