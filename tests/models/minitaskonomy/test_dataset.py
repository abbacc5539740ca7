"""Rooms on disk: when a split is rendered anew, and what the networks of each task are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.minitaskonomy.rooms import dataset, labels
from models.minitaskonomy.rooms.digest import digest
from models.minitaskonomy.tasks import SIZE, TASKS
from tests.models.minitaskonomy.helpers import EARLIER


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    sizes = {"train": (31, 40), "probes": (32, 8)}
    monkeypatch.setattr(dataset, "SPLITS", sizes)
    return tmp_path


@pytest.mark.exhaustive
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


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A work folder whose splits have one image of zeros each, under the earlier digests."""
    for split, recipe in EARLIER.items():
        folder = tmp_path / "rooms" / split
        folder.mkdir(parents=True)
        for name in ("image", *dataset.FIELDS):
            np.save(folder / f"{name}.npy", np.zeros(1))
        (folder / "moments.json").write_text("{}")
        (folder / "recipe").write_text(recipe)
    return tmp_path


def test_splits_of_the_earlier_digest_are_taken_as_they_are(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "write_split", lambda *_: pytest.fail("rendered anew"))
    for split, recipe in EARLIER.items():
        assert dataset.digest_split(split) == recipe
        assert len(dataset.Rooms.load(earlier, split)) == 1


def test_splits_of_other_code_or_size_are_not(earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    monkeypatch.setattr(dataset, "write_split", lambda _folder, split, *_: rendered.append(split))
    changed = tmp_path / "labels.py"
    code = Path(labels.__file__).read_text("utf-8")
    changed.write_text(code.replace("SAME_COLOUR = 0.06", "SAME_COLOUR = 0.07"), "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(labels, "__file__", str(changed))
        dataset.Rooms.load(earlier, "test")
    assert rendered == ["train", "test"]
    monkeypatch.setitem(dataset.SPLITS, "probes", (5, 513))
    dataset.Rooms.load(earlier, "probes")
    assert rendered == ["train", "test", "probes"]


CODE = '''"""A module."""

from math import pi

RADIUS = 2


def area(radius: float = RADIUS) -> float:
    """Of a disc."""
    return pi * radius**2


class Disc:
    """A disc."""

    def area(self) -> float:
        from math import tau

        return tau / 2
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("from math import pi", "import sys\nfrom numpy import pi", True),
        ("from math import tau", "from numpy import tau", True),
        ('"""Of a disc."""', '"""Of a circle."""  # as ever', True),
        ("RADIUS = 2\n", "RADIUS = 3\n", False),
        ("radius**2", "radius**3", False),
        ("tau / 2", "tau / 3", False),
        ("radius: float = RADIUS", "radius: float", False),
    ],
)
def test_imports_and_docstrings_do_not_count_and_code_does(tmp_path: Path, old: str, new: str, same: bool) -> None:
    first, second = tmp_path / "first.py", tmp_path / "second.py"
    first.write_text(CODE)
    second.write_text(CODE.replace(old, new))
    assert first.read_text() != second.read_text()
    assert (digest([1], [first]) == digest([1], [second])) is same
    assert digest([1], [first]) != digest([2], [first])


def test_the_module_of_a_definition_does_not_count(tmp_path: Path) -> None:
    parts = CODE.partition("class Disc")
    for name, text in (("whole", CODE), ("first", parts[0]), ("second", parts[1] + parts[2])):
        (tmp_path / f"{name}.py").write_text(text)
    whole, *pieces = (tmp_path / f"{name}.py" for name in ("whole", "second", "first"))
    assert digest([1], [whole]) == digest([1], pieces)
