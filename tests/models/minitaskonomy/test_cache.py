"""Pieces of the study that are kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.minitaskonomy.cache import Cache, digest_recipe


def test_a_piece_is_made_once_and_again_where_it_is_damaged_or_another(tmp_path: Path) -> None:
    kept, made = Cache(tmp_path), []

    def make() -> dict[str, NDArray[Any]]:
        made.append(1)
        return {"rsa of means@64": np.arange(3.0)}

    for _ in range(2):
        np.testing.assert_array_equal(kept.get("a", "first", make)["rsa of means@64"], [0, 1, 2])
    assert len(made) == 1
    file = tmp_path / "a.npz"
    whole = file.read_bytes()
    for damaged in (b"", b"no archive", whole[: len(whole) // 2], whole.replace(b"\x00\x00\x80?", b"\xff\xff\xff\xff")[:-30]):
        file.write_bytes(damaged)
        kept.get("a", "first", make)
        assert file.read_bytes() == whole
    assert len(made) == 5
    kept.get("a", "second", make)
    assert len(made) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Unwritable:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        Cache(tmp_path).write("a", "r", {"values": Unwritable()})  # type: ignore[dict-item]
    assert not list(tmp_path.iterdir())


def test_recipes_tell_facts_apart() -> None:
    facts = {"zoo": "abc", "told": {"images": 4}}
    assert digest_recipe(facts) == digest_recipe(dict(reversed(list(facts.items()))))
    assert digest_recipe(facts) != digest_recipe({**facts, "told": {"images": 5}})
