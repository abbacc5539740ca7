"""Rooms on disk: when a split is rendered anew, and what the networks of each task are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.minitaskonomy.rooms import dataset
from models.minitaskonomy.tasks import SIZE, TASKS


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    sizes = {"train": (31, 40), "probes": (32, 8)}
    monkeypatch.setattr(dataset, "SPLITS", sizes)
    return tmp_path


def test_splits_are_kept_standardised_and_drawn_again_when_unfinished_or_of_other_code(small: Path) -> None:
    calls: list[str] = []
    split = dataset.Rooms.load(small, "train", progress=lambda what, *_: calls.append(what))
    for task in TASKS.values():
        target, given = split.targets(task), split.inputs(task)
        assert given.shape == (40, 3, SIZE, SIZE)
        assert given.dtype == np.uint8
        assert target.shape[:2] == (40, task.channels) if task.kind in ("image", "vector") else target.max() < task.channels
        if task.kind in ("image", "vector"):
            axes = (0, *range(2, target.ndim))
            assert np.allclose(target.mean(axes, dtype=np.float64), 0, atol=1e-3), task.name
            assert np.allclose(target.std(axes, dtype=np.float64), 1, atol=1e-3), task.name
    drawn = len(calls)
    dataset.Rooms.load(small, "train", progress=lambda what, *_: calls.append(what))
    assert len(calls) == drawn
    (small / "rooms" / "train" / "recipe").write_text("of another version")
    probes = dataset.Rooms.load(small, "probes", progress=lambda what, *_: calls.append(what))
    assert len(probes) == 8
    assert calls[drawn:] == ["rooms of train"] * 2 + ["rooms of probes"]
    assert sorted(path.name for path in (small / "rooms").iterdir()) == ["probes", "train"]


def test_an_interrupted_split_is_not_there(small: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dataset.Rooms.load(small, "train", progress=stop)
    assert not list((small / "rooms").iterdir())
    assert len(dataset.Rooms.load(small, "train")) == 40


def test_inputs_are_grey_noisy_and_holed_as_their_tasks_say(small: Path) -> None:
    split = dataset.Rooms.load(small, "train")
    plain = split.inputs(TASKS["depth"])
    grey = split.inputs(TASKS["colorization"])
    assert (grey[:, 0] == grey[:, 1]).all()
    assert (grey[:, 1] == grey[:, 2]).all()
    noise = split.inputs(TASKS["denoising"]).astype(float) - plain
    middle = (plain > 110) & (plain < 145)
    assert noise[middle].std() == pytest.approx(255 * dataset.NOISE, rel=0.08)
    assert abs(noise[middle].mean()) < 4
    holes = (split.inputs(TASKS["inpainting"]) != plain).any(1)
    assert 0.1 < holes.mean() < 0.5
    assert np.array_equal(split.inputs(TASKS["inpainting"]), split.inputs(TASKS["inpainting"]))
    back = split.raw(TASKS["colorization"])
    red, green, blue = plain.transpose(1, 0, 2, 3) / 255
    assert np.allclose(back[:, 0], red - green, atol=1e-6)
    assert np.allclose(back[:, 1], (red + green) / 2 - blue, atol=1e-6)
