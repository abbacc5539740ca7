"""The streamed affinity matrix against a double loop, and the invariants it must keep."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxspace.attribution.devices import list_devices, resolve_compute
from onnxspace.errors import ConfigError, ProbeError
from onnxspace.similarity.gpu_worker import GpuTileWorker, tile_worker_for
from onnxspace.similarity.gram import affinity_matrix, affinity_rows, append_rows, image_cosines
from onnxspace.similarity.tile_worker import TileWorker
from onnxspace.similarity.tiling import image_batches, plan_for, tiles_of
from onnxspace.storage.float16 import widen
from onnxspace.storage.map_file import MapWriter, open_maps, to_unit_maps
from tests.oracles import spaces

Maps = NDArray[np.float32]


def save(folder: Path, all_maps: list[Maps]) -> list[Path]:
    files = []
    for index, maps in enumerate(all_maps):
        path = folder / f"{index}.npy"
        with MapWriter(path, len(maps), maps[0].size) as writer:
            writer.append(to_unit_maps(maps)[0])
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
    assert to_unit_maps(holed)[1].tolist() == [False, True, False, False]
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


@pytest.mark.parametrize("memory", [2**30, 2**20])
def test_is_the_stored_rows_double_loop_to_a_millionth(tmp_path: Path, memory: int) -> None:
    files = save(tmp_path, random_maps(6, 5, 100))
    stored = [np.array(open_maps(path)) for path in files]
    expected = spaces.cosines(stored, stored)
    np.testing.assert_allclose(affinity_matrix(files, memory), expected.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(image_cosines(files, memory=memory), expected, atol=1e-7)


def test_many_models_are_within_a_millionth_too(tmp_path: Path) -> None:
    files = save(tmp_path, random_maps(90, 3, 64))
    stored = [np.array(open_maps(path)) for path in files]
    assert plan_for(90, None, 3, 4096, 2**30).item == 4
    pick = [1, 40, 89]
    expected = spaces.cosines([stored[i] for i in pick], [stored[i] for i in pick])
    found = affinity_matrix(files)[np.ix_(pick, pick)]
    np.testing.assert_allclose(found, expected.mean(axis=0), atol=1e-6)


def test_many_models_in_little_memory_are_cut_into_tiles(tmp_path: Path) -> None:
    files = save(tmp_path, random_maps(300, 3, 4))
    assert len(list(tiles_of(plan_for(300, None, 3, 16, 2**20)))) > 3
    tiled, whole = affinity_matrix(files, 2**20), affinity_matrix(files)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    np.testing.assert_allclose(image_cosines(files, memory=2**21).mean(axis=0), whole, atol=1e-6)
    rows = affinity_rows(files[:200], files[200:], 2**20)
    np.testing.assert_allclose(rows[:, :100], whole[:200, 200:], atol=1e-6)
    np.testing.assert_allclose(rows[:, 100:], whole[:200, :200], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(0, 400), st.integers(1, 50), st.integers(1, 60_000), st.integers(20, 31))
def test_a_plan_covers_everything_once_within_its_memory(left: int, right: int, images: int, pixels: int, bits: int) -> None:
    plan = plan_for(left, right or None, images, pixels, 2**bits)
    seen = np.zeros((left, right or left), int)
    for tile in tiles_of(plan):
        assert tile.models <= plan.models
        assert tile.shape <= (plan.left, plan.right)
        seen[tile.left, tile.right] += 1
    assert (seen[np.triu_indices(left)] if not right else seen).min() == 1
    assert seen.max() == 1
    assert [i for batch in image_batches(plan) for i in batch] == list(range(images))
    entries, numbers = plan.left * plan.right, plan.models * (2 * plan.read + plan.item * plan.width)
    sums = 16 * (plan.batch // plan.block - 1)
    assert plan.workers * ((40 + sums) * entries + numbers + 8 * plan.chunk) <= 2**bits
    assert plan.batch % plan.block == 0


@pytest.mark.parametrize("memory", [2**30, 2**20])
def test_a_gpus_tile_worker_gives_the_same_matrix_and_rows(tmp_path: Path, memory: int) -> None:
    """On the processor that every machine has: what differs on a GPU is where Torch keeps the numbers."""
    files = save(tmp_path, [*random_maps(70, 3, 48)[:69], np.zeros((3, 48, 48), np.float32)])
    worker = partial(GpuTileWorker, device=torch.device("cpu"))
    plain = affinity_matrix(files, memory)
    np.testing.assert_allclose(affinity_matrix(files, memory, worker=worker), plain, atol=1e-6)
    np.testing.assert_allclose(affinity_rows(files[:2], files[2:], memory, worker=worker)[:, -2:], plain[:2, :2], atol=1e-6)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert tile_worker_for(list_devices(resolve_compute("auto"))[0]) is TileWorker
    with pytest.raises(ConfigError, match="Torch sees no CUDA device"):
        resolve_compute("cuda")


def test_new_rows_are_the_rows_of_the_whole_matrix(tmp_path: Path) -> None:
    files = save(tmp_path, random_maps(7, 4, 12))
    whole = affinity_matrix(files)
    rows = affinity_rows(files[5:], files[:5])
    assert rows.shape == (2, 7)
    np.testing.assert_allclose(append_rows(affinity_matrix(files[:5]), rows), whole, atol=1e-12)
    np.testing.assert_allclose(affinity_rows(files, []), whole, atol=1e-12)


def test_cosines_of_two_sets_and_of_zero_maps(tmp_path: Path) -> None:
    maps = random_maps(5, 4, 20)
    maps[0][2] = 0
    files = save(tmp_path, maps)
    found = image_cosines(files[:2], files[2:])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, image_cosines(files)[:, :2, 2:], atol=1e-7)
    assert (found[2, 0] == 0).all()
    assert image_cosines(files)[2, 0, 0] == 0


def test_cosines_larger_than_the_memory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compare fewer models"):
        image_cosines(save(tmp_path, random_maps(4, 4, 4)), memory=100)


def test_the_same_bytes_every_time_and_progress_to_the_end(tmp_path: Path) -> None:
    files = save(tmp_path, random_maps(5, 40, 64))
    shares: list[float] = []
    first = affinity_matrix(files, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert all((affinity_matrix(files) == first).all() for _ in range(5))


@pytest.mark.parametrize(("models", "memory"), [(5, 2**30), (70, 2**27), (300, 2**26)])
def test_the_same_bytes_whatever_the_number_of_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: int, memory: int
) -> None:
    """Also of rows that are added, where memory allows one tile, several, or several and stretches of images."""
    files = save(tmp_path, random_maps(models, 21, 24))
    found = []
    for cores in (1, 2, 3, 16):
        monkeypatch.setattr("onnxspace.similarity.tiling.count_threads", lambda cores=cores: cores)
        assert plan_for(models, None, 21, 576, memory).workers == min(cores, memory >> 25)
        found.append(
            (affinity_matrix(files, memory), affinity_rows(files[:2], files[2:], memory), image_cosines(files[:9], files))
        )
    for others in found[1:]:
        assert all((one == other).all() for one, other in zip(found[0], others, strict=True))


@pytest.mark.parametrize("budget", [2**20, 2**24])
def test_memory_stays_within_the_budget_whatever_models_and_images(tmp_path: Path, budget: int) -> None:
    few, many = save(made(tmp_path / "few"), random_maps(4, 8, 64)), save(made(tmp_path / "many"), random_maps(48, 40, 64))
    assert peak(few, budget) < 1.1 * budget + RESULT
    assert peak(many, budget) < 1.1 * budget + RESULT


RESULT = 2**17  # matrices that are the result, and what threads are made of


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def peak(files: list[Path], budget: int) -> int:
    tracemalloc.start()
    affinity_matrix(files, budget)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest


def test_widening_is_exact_for_every_float16_and_shape() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for shape, room in (((1, -1), 7), ((64, -1), 5000), ((4096, -1), 100), ((256, -1), 2**16)):
        half = every.reshape(shape)
        out = np.empty(half.shape, np.float32)
        widen(half, out, np.empty(room, np.intp))
        np.testing.assert_array_equal(out, half.astype(np.float32))
    strided = every.reshape(256, 256)[:, 3:200:2]
    out = np.empty(strided.shape, np.float32)
    widen(strided, out)
    np.testing.assert_array_equal(out, strided.astype(np.float32))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + b"0" * 100])
def test_a_file_that_holds_no_maps_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "maps.npy"
    path.write_bytes(content)
    with pytest.raises(ProbeError, match=r"maps\.npy"):
        affinity_matrix([path])


def test_maps_of_another_type_or_cut_off_are_refused(tmp_path: Path) -> None:
    files = save(tmp_path, random_maps(2, 3, 8))
    np.save(files[0], np.zeros((3, 64)))
    with pytest.raises(ProbeError, match="float64"):
        affinity_matrix(files)
    files[1].write_bytes(files[1].read_bytes()[:-1])
    with pytest.raises(ProbeError, match="make it again"):
        affinity_matrix(files[1:])


def test_maps_of_different_probes_are_refused(tmp_path: Path) -> None:
    files = save(tmp_path, [random_maps(1, 3, 8)[0], random_maps(1, 4, 8)[0]])
    with pytest.raises(ValueError, match="different probe images"):
        affinity_matrix(files)


def test_a_map_file_is_a_plain_numpy_array_that_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "maps.npy"
    rows = to_unit_maps(random_maps(1, 3, 8)[0])[0]
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
