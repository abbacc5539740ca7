"""Fingerprint files with features and outputs in little: written, read back, damaged, and files of the former format."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxspace.errors import ModelError, OnnxspaceError, ProbeError
from onnxspace.similarity.fingerprints.file import Fingerprint, print_affinity, read_fingerprint, write_fingerprint
from onnxspace.similarity.fingerprints.reduced import Reduced, pack, unpack
from tests.helpers.examples import examples

IMAGES = 4
_HEADER = struct.Struct("<8sII")


def reduced(seed: int = 0) -> Reduced:
    rng = np.random.default_rng(seed)
    return Reduced(
        "pictures", np.array([2, 0, 3, 1]), None, rng.integers(-127, 128, (IMAGES, 3, 8, 8)).astype(np.int8),
        rng.random(3).astype(np.float32), 5, rng.random(IMAGES * (IMAGES + 1) // 2).astype(np.float16),
        rng.standard_normal((IMAGES * 64, 2)).astype(np.float16), None, ("its answers are close to chance",),
        {"features": "a reason"},
    )  # fmt: skip


def fingerprint(seed: int = 0, held: Reduced | None = None) -> Fingerprint:
    prints = np.random.default_rng(seed).standard_normal((IMAGES, 8)).astype(np.float16)
    return Fingerprint(f"net-{seed}", "ab" * 32, "conv5", "elrp", "photos", 224, "cd" * 32, prints, reduced=held)


def same(a: Reduced, b: Reduced) -> bool:
    arrays = a.arrays()
    return (
        (a.detail, a.channels, a.remarks, dict(a.lost)) == (b.detail, b.channels, b.remarks, dict(b.lost))
        and np.array_equal(a.order, b.order)
        and list(arrays) == list(b.arrays())
        and all(np.array_equal(values, getattr(b, name)) for name, values in arrays.items())
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_fingerprint(tmp_path / "a.fp", fingerprint(held=reduced()))
    found = read_fingerprint(tmp_path / "a.fp")
    assert found.reduced is not None
    assert same(found.reduced, reduced())
    write_fingerprint(tmp_path / "b.fp", found)
    assert (tmp_path / "a.fp").read_bytes() == (tmp_path / "b.fp").read_bytes()
    assert same(unpack(pack(reduced()), IMAGES), reduced())


def test_without_features_a_file_is_of_format_1(tmp_path: Path) -> None:
    write_fingerprint(tmp_path / "a.fp", fingerprint())
    assert _HEADER.unpack_from((tmp_path / "a.fp").read_bytes())[1] == 1
    write_fingerprint(tmp_path / "a.fp", fingerprint(held=reduced()))
    assert _HEADER.unpack_from((tmp_path / "a.fp").read_bytes())[1] == 2


def test_a_file_of_format_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "old.fp").write_bytes(base64.b64decode(OLD))
    found = read_fingerprint(tmp_path / "old.fp")
    assert (found.name, found.images, found.reduced) == ("old", 2, None)
    assert found.prints.tolist() == [[1.0, -0.5], [0.25, 2.0]]


def test_orders_that_differ_are_refused() -> None:
    other = replace(reduced(), order=np.array([0, 1, 2, 3]))
    with pytest.raises(ProbeError, match="different orders"):
        print_affinity(fingerprint(0, reduced()), fingerprint(1, other))


@settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_changed_bytes_are_an_error_or_another_sketch(data: st.DataObject) -> None:
    content = bytearray(pack(reduced()))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = unpack(bytes(content), IMAGES)
    except ValueError:
        return
    assert all(np.isfinite(values).all() for values in found.arrays().values())
    assert len(found.order) == IMAGES


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000))
def test_truncated_bytes_are_an_error(left: int) -> None:
    content = pack(reduced())
    with pytest.raises(ValueError):  # noqa: PT011
        unpack(content[: min(left, len(content) - 1)], IMAGES)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("detail", "maps"), ("detail", []), ("detail", {}), ("order", [1, 2, 3, 3]), ("order", [0, 1, 2]), ("order", [0, 1, 2, 4]), ("order", [0.0, 1, 2, 3]), ("channels", 2),
        ("channels", 2**40), ("arrays", {"levels": [4, 3, 2, 32]}), ("arrays", {"pickle": [1]}), ("remarks", ["x" * 500]),
        ("lost", {"maps": "x"}), ("arrays", {"answers": [2**31, 2**31]}),
    ],
)  # fmt: skip
def test_facts_that_contradict_the_arrays_are_refused(what: str, value: object, tmp_path: Path) -> None:
    import json

    write_fingerprint(tmp_path / "a.fp", fingerprint(held=reduced()))
    content = (tmp_path / "a.fp").read_bytes()
    magic, number, length = _HEADER.unpack_from(content)
    facts = json.loads(content[_HEADER.size : _HEADER.size + length])
    facts["reduced"][what] = value
    header = json.dumps(facts).encode()
    changed = _HEADER.pack(magic, number, len(header)) + header + content[_HEADER.size + length : -32]
    (tmp_path / "b.fp").write_bytes(changed + hashlib.sha256(changed).digest())
    with pytest.raises(ModelError, match=r"b\.fp is a damaged fingerprint"):
        read_fingerprint(tmp_path / "b.fp")


def test_errors_are_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "c.fp").write_bytes(b"")
    with pytest.raises(OnnxspaceError):
        read_fingerprint(tmp_path / "c.fp")


#: A file that version 0.1 wrote before format 2.
OLD = (
    "iW94ZnANChoBAAAARQEAAHsiZW5jb2RlciI6ICJjb252NSIsICJpbWFnZXMiOiAyLCAibWV0aG9kIjogImVscnAiLCAibmFtZSI6ICJvbGQiLC"
    "AibnVtYmVycyI6IDIsICJvcHRpb25zIjoge30sICJwcm9iZV9uYW1lIjogInBob3RvcyIsICJwcm9iZV9zaGEyNTYiOiAiY2RjZGNkY2RjZGNk"
    "Y2RjZGNkY2RjZGNkY2RjZGNkY2RjZGNkY2RjZGNkY2RjZGNkY2RjZGNkY2RjZGNkY2RjZCIsICJwcm9iZV9zaXplIjogMjI0LCAic2VlZCI6ID"
    "AsICJzaGEyNTYiOiAiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYiIsICJ2"
    "ZXJzaW9uIjogMX0APAC4ADQAQISjUg1140k2eRshEI91AAmPYSyHWXQkB7VQ0XqmExD2"
)


def test_class_numbers_may_be_large() -> None:
    from onnxspace.scores.pairs.knn_agreement import Answers

    classes = np.array([0, 2**31 - 1, 2**31 - 1, 5])
    assert Answers.of_parts(classes, None).chance == 0.5


@pytest.mark.parametrize("answers", [(IMAGES, 65), (IMAGES * 64, 17), (IMAGES + 1, 2)])
def test_more_columns_than_are_kept_are_refused(answers: tuple[int, int]) -> None:
    wide = replace(reduced(), answers=np.zeros(answers, np.float16))
    with pytest.raises(ValueError, match="invalid answers"):
        unpack(pack(wide), IMAGES)
