"""Exact search against sorting, the index against exact search, and duplicates against all pairs."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, OutputError, SpaceError
from onnxspace.similarity.fingerprints import search
from onnxspace.similarity.fingerprints.hnsw import Index
from onnxspace.similarity.fingerprints.search import find_duplicate_rows, find_nearest

Rows = NDArray[np.float16]


def clustered(clusters: int, each: int, size: int = 256, near: float = 0.8, seed: int = 0) -> Rows:
    """Unit rows in clusters whose members have affinity about `near`."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, 1, size))
    rows = (np.sqrt(near) * centres + np.sqrt(1 - near) * rng.standard_normal((clusters, each, size))).reshape(-1, size)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(0, 70), st.integers(0, 1000))
def test_exact_search_is_sorting(models: int, size: int, n: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).integers(-3, 4, (models, size)).astype(np.float16) / 64  # exact, with ties
    query = matrix[seed % models].astype(np.float64)
    products = matrix.astype(np.float64) @ query
    expected = sorted(range(models), key=lambda i: (-products[i], i))[:n]
    found, affinity = find_nearest(query, matrix, n)
    assert found.tolist() == expected
    np.testing.assert_allclose(affinity, np.clip(products[expected], -1, 1), atol=1e-6)


def test_exact_search_in_stretches_of_a_mapped_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = clustered(20, 10)
    np.save(tmp_path / "rows.npy", matrix)
    whole = find_nearest(matrix[7], matrix, 12)
    monkeypatch.setattr(search, "_BLOCK", 1000)
    found = find_nearest(matrix[7], np.load(tmp_path / "rows.npy", mmap_mode="r"), 12)
    np.testing.assert_array_equal(found[0], whole[0])
    np.testing.assert_allclose(found[1], whole[1], atol=1e-6)
    assert set(found[0][:10].tolist()) == set(range(10))


def test_subnormal_numbers_count_in_full() -> None:
    matrix = (clustered(4, 4).astype(np.float64) * 1e-5).astype(np.float16)
    query = clustered(4, 4)[3].astype(np.float32)
    found, affinity = find_nearest(query, matrix, 16)
    expected = matrix.astype(np.float64) @ query
    np.testing.assert_allclose(affinity, expected[found], rtol=1e-5, atol=1e-12)
    half = np.arange(2**16, dtype=np.uint16).view(np.float16)[None]
    half, out = half[np.isfinite(half)][None], np.empty((1, 63488), np.float32)
    search._widen_scaled(half, out)
    np.testing.assert_array_equal(out * np.float32(2.0**112), half.astype(np.float32))


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ConfigError, match="can't be compared"):
        find_nearest(np.zeros(3), np.zeros((2, 4), np.float16))


@pytest.mark.parametrize("block", [7, 1024])
def test_duplicates_are_the_pairs_above_the_threshold(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(search, "_SIDE", block)
    matrix = np.vstack([clustered(3, 4, near=0.97), clustered(20, 1, seed=5)])[::-1].copy()
    groups = find_duplicate_rows(matrix, 0.9)
    assert [len(group.members) for group in groups] == [4, 4, 4]
    products = matrix.astype(float) @ matrix.astype(float).T
    for group in groups:
        assert group.weakest.affinity == min(p.affinity for p in group.pairs) >= 0.9
        for pair in group.pairs:
            assert pair.first < pair.second
            assert pair.affinity == pytest.approx(products[pair.first, pair.second], abs=1e-6)
            assert pair.standard_error == pytest.approx((1 - pair.affinity**2) / 16)


def test_equal_rows_are_duplicates_at_threshold_one_and_chains_are_one_group() -> None:
    matrix = clustered(5, 1)
    found = find_duplicate_rows(np.vstack([matrix, matrix[1:3]]), 1.0)
    assert [group.members for group in found] == [(1, 5), (2, 6)]
    angles = np.deg2rad([0, 20, 40, 90])
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    assert [group.members for group in find_duplicate_rows(chain, 0.9)] == [(0, 1, 2)]
    assert find_duplicate_rows(chain, 0.99) == []


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_senseless_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        find_duplicate_rows(clustered(2, 2), threshold)


def test_the_index_finds_what_exact_search_finds(tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    matrix, shares = clustered(60, 30), []
    Index.build(tmp_path / "a.idx", matrix, progress=shares.append)
    assert shares[-1] == 1
    index = Index.open(tmp_path / "a.idx", matrix)
    hits = [len(set(index.nearest(q, 10)[0]) & set(find_nearest(q, matrix, 10)[0])) for q in clustered(60, 31)[30::31]]
    assert np.mean(hits) >= 9.5
    found, affinity = index.nearest(matrix[5], 3)
    assert found[0] == 5
    np.testing.assert_allclose(affinity, find_nearest(matrix[5], matrix, 3)[1], atol=1e-6)
    every = index.nearest(matrix[5], 5000)[0]
    assert 0.95 * len(matrix) < len(set(every.tolist())) == len(every) <= len(matrix)


def test_the_index_proposes_duplicates(tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    matrix = np.vstack([clustered(40, 3, near=0.97), clustered(200, 1, seed=5)])
    index = Index.build(tmp_path / "a.idx", matrix)
    assert [g.members for g in find_duplicate_rows(matrix, 0.9, index.propose)] == [
        g.members for g in find_duplicate_rows(matrix, 0.9)
    ]


def changed(path: Path, **facts: Any) -> bytes:
    """The file with other facts in its header."""
    content = path.read_bytes()
    magic, version, length = struct.unpack_from("<8sII", content)
    header = json.dumps(json.loads(content[16 : 16 + length]) | facts).encode()
    return struct.pack("<8sII", magic, version, len(header)) + header + content[16 + length :]


def test_no_damaged_or_foreign_index_is_used(tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    matrix, path = clustered(5, 5), tmp_path / "a.idx"
    Index.build(path, matrix)
    good = path.read_bytes()
    for place in (0, 9, 12, 30, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(SpaceError, match=r"a\.idx"):
            Index.open(path, matrix)
    path.write_bytes(good)
    forged = [
        changed(path, **f) for f in ({"numbers": 64}, {"numbers": 0}, {"seed": "1"}, {"bytes": 5}, {"rows": 1}, {"models": 9})
    ]
    for content in (b"", good[:10], good[:-1], good + b"0", *forged):
        path.write_bytes(content)
        with pytest.raises(SpaceError, match=r"a\.idx"):
            Index.open(path, matrix)
    path.write_bytes(good)
    with pytest.raises(SpaceError, match="other fingerprints"):
        Index.open(path, matrix[::-1])
    with pytest.raises(SpaceError, match="can't be read"):
        Index.open(tmp_path / "none.idx", matrix)
    with pytest.raises(OutputError, match="can't be written"):
        Index.build(tmp_path / "none" / "a.idx", matrix)


def test_without_usearch_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(ConfigError, match=r"onnxspace\[search\]"):
        Index.build(tmp_path / "a.idx", clustered(2, 2))
