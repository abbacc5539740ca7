"""The page and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.minitaskonomy.page import curves, document, figures
from models.minitaskonomy.page.results import Results
from models.minitaskonomy.zoo import MODELS
from tests.helpers.paths import REPOSITORY
from tests.models.minitaskonomy.helpers import (
    Pictures,
)


@pytest.mark.exhaustive
def test_the_page_is_made_of_the_tables_alone_and_the_same_each_time(
    study_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document.write_page(study_folder, tmp_path / "docs")
    first = {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()}
    (tmp_path / "docs/minitaskonomy.md").write_text("torn")
    for name in ("draw_oracle", "draw_curves", "draw_by_images", "draw_trees", "draw_rooms"):  # drawn once is enough here
        monkeypatch.setattr(curves if "curves" in name or "by_images" in name else figures, name, lambda *_: None)
    document.write_page(study_folder, tmp_path / "docs")
    assert {path.name: path.read_bytes() for path in (tmp_path / "docs").iterdir()} == first
    text = first["minitaskonomy.md"].decode()
    assert "Against the former default, predictivity" in text
    assert "Photos were not given" in text
    assert "minitaskonomy-rooms.png" not in text
    for name in (word.split(")")[0] for word in text.split("](") if word.startswith("minitaskonomy-")):
        assert first[name].startswith(b"\x89PNG")
    assert "nan" not in text


def test_rooms_are_drawn_with_all_their_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    class Rooms(Pictures):
        def inputs(self, _: Any) -> NDArray[np.uint8]:
            return self.images().transpose(0, 3, 1, 2)

        def targets(self, task: Any) -> NDArray[Any]:
            shapes = {"image": (4, task.channels, 64, 64), "vector": (4, task.channels)}
            if task.kind in shapes:
                return rng.standard_normal(shapes[task.kind]).astype(np.float32)
            return rng.integers(0, task.channels, (4, 64, 64) if task.kind == "pixel classes" else 4)

    figures.draw_rooms(Rooms(), tmp_path / "rooms.png")
    assert (tmp_path / "rooms.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_is_that_of_the_committed_tables() -> None:
    docs = REPOSITORY / "docs"
    assert document.compose_text(Results(MODELS), docs).encode() == (docs / "minitaskonomy.md").read_bytes()
