"""Fingerprints: the sketch against its slow twin and its own statistics, and untrusted files."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, ModelError, ModelNotFoundError, OnnxspaceError, OutputError, ProbeError
from onnxspace.similarity.fingerprints.count_sketch import affinities, flatten, sketch_matrix
from onnxspace.similarity.fingerprints.file import (
    Fingerprint,
    print_affinity,
    print_matrix,
    project,
    read_fingerprint,
    write_fingerprint,
)
from onnxspace.storage.map_file import to_unit_maps
from tests.oracles import spaces


def rows(images: int, pixels: int, seed: int = 0, shared: float = 0.0) -> NDArray[np.float16]:
    """Unit maps; two calls with different seeds have affinity about `shared`."""
    common, own = (np.random.default_rng(s).standard_normal((images, pixels)) for s in (99, seed))
    return to_unit_maps(np.sqrt(shared) * common + np.sqrt(1 - shared) * own)[0]


def made(draw: int = 0, images: int = 5, shared: float = 0.5, **changes: Any) -> Fingerprint:
    prints = project(rows(images, 300, draw, shared)).astype(np.float16)
    print_ = Fingerprint(f"net-{draw}", "ab" * 32, "conv5", "elrp", "synthetic", 224, "cd" * 32, prints)
    return replace(print_, **changes)


def test_the_sketch_is_its_slow_twin_to_the_bit() -> None:
    maps = rows(3, 150)
    for numbers, first, seed in ((64, 0, 0), (1, 7, 0), (100, 2**40, 12345), (4096, 1, 2**64 - 1)):
        expected = [spaces.sketch(row, numbers, first + i, seed) for i, row in enumerate(maps)]
        np.testing.assert_array_equal(project(maps, numbers, first, seed), np.array(expected, np.float32))


def test_the_bytes_are_those_of_every_platform() -> None:
    """Maps from whole numbers alone, so that no platform can differ before the sketch."""
    grid = (np.arange(3 * 5000, dtype=np.int64) * 7919 % 2003 - 1001).reshape(3, 5000)
    found = project((grid / 65536).astype(np.float16), 64, first=10, seed=3).astype("<f2")
    assert hashlib.sha256(found.tobytes()).hexdigest() == GOLDEN


GOLDEN = "2be24e2a851a55f22eda299d3c28396f57c300ebd4ef1143dde1825166a01843"


def test_batches_and_other_types_give_the_same_numbers() -> None:
    maps = rows(6, 500)
    whole = project(maps, 32, seed=5)
    np.testing.assert_array_equal(whole, np.vstack([project(maps[:2], 32, 0, 5), project(maps[2:], 32, 2, 5)]))
    np.testing.assert_array_equal(whole, project(maps.astype(np.float64), 32, seed=5))
    assert (project(maps[:1], 32, 0, 5) != project(maps[:1], 32, 1, 5)).any()
    assert (project(maps, 32, seed=6) != whole).any()


def test_products_are_unbiased_with_the_stated_error() -> None:
    one, two = rows(4000, 200, 1, 0.6), rows(4000, 200, 2, 0.6)
    cosines = np.einsum("np,np->n", one.astype(float), two.astype(float))
    off = np.einsum("nk,nk->n", project(one, 16).astype(float), project(two, 16).astype(float)) - cosines
    expected = np.sqrt((1 + np.mean(cosines**2)) / 16)
    assert abs(off.mean()) < 3 * expected / np.sqrt(len(off))
    assert 0.9 < off.std() / expected < 1.03


@pytest.mark.parametrize("shared", [0.0, 0.3, 0.8, 0.99])
def test_affinities_of_prints_are_within_their_errors(shared: float) -> None:
    scores = []
    for trial in range(30):
        one, two = rows(40, 400, 2 * trial + 1, shared), rows(40, 400, 2 * trial + 2, shared)
        truth = np.einsum("np,np->n", one.astype(float), two.astype(float)).mean()
        prints = [project(maps, 32, seed=trial).astype(np.float16)[None] for maps in (one, two)]
        found, error = affinities(*prints)
        scores.append((found[0, 0] - truth) / error[0, 0])
    assert np.abs(scores).max() < 3.5
    assert 0.6 < np.std(scores) < 1.4
    assert abs(np.mean(scores)) < 0.6


def test_zero_maps_count_as_cosine_zero() -> None:
    maps = rows(50, 400, 1)
    holed = maps.copy()
    holed[::2] = 0
    one, two = (project(m, 256).astype(np.float16)[None] for m in (maps, holed))
    assert affinities(one, two)[0][0, 0] == pytest.approx(0.5, abs=0.02)
    assert affinities(two, np.zeros_like(two))[0][0, 0] == 0
    np.testing.assert_allclose(flatten(two)[0] @ flatten(two)[0], 0.5, atol=1e-6)


def test_many_prints_are_compared_as_rows_are() -> None:
    prints = np.random.default_rng(0).standard_normal((700, 8, 64)).astype(np.float16)
    found, errors = affinities(prints[:3], prints)
    np.testing.assert_allclose(found, flatten(prints[:3]).astype(float) @ flatten(prints).astype(float).T, atol=1e-6)
    np.testing.assert_allclose(errors, (1 - found**2) / np.sqrt(8 * 64), atol=1e-12)
    with pytest.raises(ConfigError, match="different shapes"):
        affinities(prints[:, :4], prints)


def test_a_matrix_of_fingerprints() -> None:
    prints = [made(i, 30, 0.7) for i in range(4)]
    matrix, errors = print_matrix(prints)
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1).all()
    assert (np.diag(errors) == 0).all()
    assert print_affinity(prints[1], prints[3]) == (
        pytest.approx(matrix[1, 3], abs=1e-6),
        pytest.approx(errors[1, 3], abs=1e-6),
    )
    assert print_affinity(prints[0], prints[0])[0] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"probe_sha256": "ef" * 32}, ProbeError, "different probe images"),
        ({"prints": made(images=4).prints}, ProbeError, "5 of synthetic, 4 of"),
        ({"method": "saliency"}, ConfigError, "by elrp and net-1 by saliency"),
        ({"options": {"steps": 3}}, ConfigError, "steps"),
        ({"seed": 1}, ConfigError, "seed 0 and 1"),
        ({"version": 2}, ConfigError, "version 1 and 2"),
        ({"prints": made().prints[:, :32]}, ConfigError, "numbers 64 and 32"),
    ],
)
def test_what_differs_is_said(change: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        print_affinity(made(), made(1, **change))
    assert "net-0" in str(caught.value)


@pytest.mark.parametrize("numbers", [0, -1, 4097])
def test_numbers_out_of_range_are_refused(numbers: int) -> None:
    with pytest.raises(ConfigError, match="1 to 4096"):
        project(rows(1, 10), numbers)


def test_signs_have_one_entry_per_row() -> None:
    found = sketch_matrix(1000, 64)
    assert (np.abs(found).sum(axis=1) == 1).all()
    assert abs(found.sum()) < 200


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    path, print_ = tmp_path / "a.fp", made(options={"baseline": "black", "steps": 50}, seed=7, name="é")
    write_fingerprint(path, print_)
    back = read_fingerprint(path)
    assert {n: getattr(back, n) for n in ("name", "options", "seed", "version", "probe_size", "encoder")} == {
        n: getattr(print_, n) for n in ("name", "options", "seed", "version", "probe_size", "encoder")
    }
    np.testing.assert_array_equal(back.prints, print_.prints)
    assert back.prints.dtype == np.float16
    first = path.read_bytes()
    write_fingerprint(path, back)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["a.fp"]


def sealed(header: Any, prints: bytes, version: int = 1, length: int | None = None) -> bytes:
    """A file with a right checksum around whatever it holds."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = struct.pack("<8sII", b"\x89oxfp\r\n\x1a", version, len(text) if length is None else length) + text + prints
    return content + hashlib.sha256(content).digest()


HEADER = {
    "name": "a", "sha256": "", "encoder": "", "method": "elrp", "options": {}, "probe_name": "p", "probe_size": 8,
    "probe_sha256": "", "seed": 0, "version": 1, "images": 2, "numbers": 3,
}  # fmt: skip
PRINTS = np.ones(6, "<f2").tobytes()
INFINITE = np.array([1, 1, np.inf, 1, 1, 1], "<f2").tobytes()


def test_unknown_facts_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.fp"
    path.write_bytes(sealed(HEADER | {"later": [1]}, PRINTS))
    assert read_fingerprint(path).prints.shape == (2, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x89oxfp\r\n\x1a", b"\x80\x04pickle" * 9, sealed(HEADER, PRINTS)[:-1], sealed(HEADER, PRINTS) + b"0",
        sealed(HEADER, PRINTS, version=2), sealed(HEADER, PRINTS, version=0), sealed(HEADER, PRINTS, length=2**32 - 1),
        sealed(HEADER, PRINTS, length=0), sealed(b"[" * 60_000, PRINTS), sealed([], PRINTS), sealed(b"\xff\xfe", PRINTS),
        sealed(HEADER, PRINTS[:-2]), sealed(HEADER, PRINTS + b"00"), sealed(HEADER, INFINITE), sealed(b"1" * 5000, PRINTS),
        *(sealed(HEADER | change, PRINTS) for change in (
            {"images": -2}, {"images": 2.0}, {"images": True, "numbers": 6}, {"images": "2"}, {"images": 10**30}, {"numbers": 0},
            {"version": 2}, {"seed": -1}, {"options": []}, {"name": 5}, {"name": "a" * 5000}, {"method": None},
            {"options": {"target": None}}, {"options": {"target": "class 2"}}, {"options": {"target": {"word": 5}}},
        )),
        *(sealed({k: v for k, v in HEADER.items() if k != name}, PRINTS) for name in HEADER),
    ],
)  # fmt: skip
def test_damaged_and_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.fp"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.fp") as caught:
        read_fingerprint(path)
    assert len(str(caught.value)) < 300


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_flipped_bit_and_every_cut_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("fp") / "a.fp"
    write_fingerprint(path, made())
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, 8 * len(content) - 1))
        content[place // 8] ^= 1 << place % 8
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    with pytest.raises(OnnxspaceError):
        read_fingerprint(path)


def test_missing_files_and_folders_are_said(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no file"):
        read_fingerprint(tmp_path / "none.fp")
    with pytest.raises(ModelError, match="can't be read"):
        read_fingerprint(tmp_path)
    with pytest.raises(OutputError, match="can't be written"):
        write_fingerprint(tmp_path / "none" / "a.fp", made())
    with pytest.raises(ModelError, match="not finite"):
        write_fingerprint(tmp_path / "a.fp", made(prints=np.full((2, 64), np.nan, np.float16)))
    assert list(tmp_path.iterdir()) == []
