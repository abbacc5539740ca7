"""The oracle from files: every transfer, kept and resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.minitaskonomy.oracle import (
    examples,
    measurement,
    noise_ceiling,
    sampling,
    table,
    transfers,
)
from models.minitaskonomy.oracle.readout import Budget
from models.minitaskonomy.oracle.sampling import Settings, Split
from models.minitaskonomy.rooms import dataset
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import Entry
from onnxspace.evaluation.reading import read_table
from tests.helpers.paths import REPOSITORY

DEPTH, NORMALS, SEMANTIC, OBJECT, LAYOUT = (TASKS[name] for name in ("depth", "normals", "semantic", "object", "layout"))


ZOO = REPOSITORY / "models"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Path:
    """A folder of two networks; rooms are 30 and 12 pictures of noise, with the mean brightness as depth."""

    def some(_work: Path, split: str, targets: tuple[str, ...], rows: tuple[int, ...] | None) -> Split:
        rng = np.random.default_rng(len(split))
        count = 12 if rows is None else len(rows)
        images = rng.integers(0, 256, (count, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
        depth = torch.from_numpy(images[:, None, :, :, 0].astype(np.float32) / 255)
        labels = {"depth": depth, "object": (depth.mean((1, 2, 3)) > 0.5).long()}
        return Split({"picture": images}, {name: examples.arrange_answers(TASKS[name], labels[name]) for name in targets})

    monkeypatch.setitem(dataset.SPLITS, "transfer", (3, 30))
    monkeypatch.setattr(transfers, "load_split", some)
    monkeypatch.setattr(measurement, "_digest_rooms", lambda _work, _device: {})
    for name, file in (("depth", "depth-torch"), ("edges3d", "edges-torch")):
        shutil.copy(ZOO / f"{file}.onnx", tmp_path / f"{name}.onnx")
    return tmp_path


FEW = Settings(seeds=2, labelled=15, images=20, budget=Budget(steps=4, batch=8, looks=2))


def measured(folder: Path, settings: Settings = FEW) -> table.Table:
    path = measurement.measure(
        folder / "work", folder, "cpu", settings=settings, tasks=(DEPTH, OBJECT), workers=1, say=lambda _line: None
    )
    return table.Table.read(path)


def test_every_transfer_from_files(small: Path, tmp_path: Path) -> None:
    table = measured(small)
    assert (table.targets, table.sources) == (("depth", "object"), ("edges3d", "depth"))
    assert table.losses.shape == (2, 2, 2)
    assert 0 < table.losses.min() < table.losses.max() < 2
    assert table.candidates().tolist() == [[True, False], [True, True]]
    table.write_matrix(tmp_path / "matrix.csv")
    read = read_table(tmp_path / "matrix.csv")
    np.testing.assert_allclose(read.values, 1 - table.losses.mean(2), atol=1e-5)
    assert set(noise_ceiling.compare_rankings(table, table).values()) == {0.0, 1.0}  # one source alone has no order


def test_what_is_kept_is_not_computed_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = transfers.measure_source

    def counted(entry: Entry, *rest: object) -> np.ndarray:
        made.append(entry.name)
        return real(entry, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(transfers, "measure_source", counted)
    first = measured(small).losses
    assert (measured(small).losses == first).all()
    assert made == ["edges3d", "depth"]
    kept = small / "work" / "oracle" / "depth-trained.npz"
    kept.write_bytes(kept.read_bytes()[:200])  # as if the power had failed
    assert (measured(small).losses == first).all()
    assert made == ["edges3d", "depth", "depth"]
    measured(small, Settings(seeds=2, labelled=14, images=20, budget=FEW.budget))
    assert made[3:] == ["edges3d", "depth"]
    assert not list((small / "work" / "oracle").glob(".*"))


def test_a_smaller_draw_begins_a_larger_one() -> None:
    assert (
        sampling.draw_rooms(3, 20).tolist() == sampling.draw_rooms(3, 50)[:20].tolist() != sampling.draw_rooms(4, 20).tolist()
    )
    assert set(sampling.draw_rooms(0, 20)) | set(sampling.draw_rooms(1, 20)) == set(sampling.list_drawn(2, 20))
