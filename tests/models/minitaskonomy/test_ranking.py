"""Rankings through the public interface: what is asked, of which pictures, and what is written."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import onnxspace as ox
from models.minitaskonomy import ranking
from models.minitaskonomy.oracle.finetuned import TARGETS
from models.minitaskonomy.oracle.sampling import draw_rooms
from models.minitaskonomy.ranking import IMAGES, NAMES, Material
from models.minitaskonomy.rooms import dataset
from models.minitaskonomy.tasks import TASKS, Task
from models.minitaskonomy.zoo import MODELS
from models.realzoo.rank import GENERATED, LABELS, PICTURES
from onnxspace.inputs.probes import Probes

COUNT = 12


class Rooms:
    """As much of a rendered split as is asked for: pictures of noise, darker ones for `denoising`."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (20, 3, 64, 64), np.uint8)

    def inputs(self, task: Task) -> NDArray[np.uint8]:
        return self.images // 2 if task.name == "denoising" else self.images

    def targets(self, _task: Task) -> NDArray[np.int64]:
        return np.arange(20) % 3


@pytest.fixture
def material(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Material:
    monkeypatch.setattr(ranking, "IMAGES", COUNT)
    monkeypatch.setitem(dataset.SPLITS, "transfer", (3, 20))
    names = ("denoising", "depth", "object", "scene")
    return Material([MODELS / f"{name}.onnx" for name in names], Rooms(), tmp_path)  # type: ignore[arg-type]


def test_scores_of_pictures_are_those_of_the_public_call(material: Material) -> None:
    found = ranking.rank_by_pictures(material)
    assert list(found) == [f"pictures {score}" for score in PICTURES]
    shown = Probes("mine", material.pictures(TASKS["depth"]))
    scores = ox.score([MODELS / "depth.onnx", MODELS / "object.onnx"], shown, by=["predictivity", "cka"]).scores
    for score in ("predictivity", "cka"):
        ours = found[f"pictures {score}"]
        assert ours["depth"]["object"] == pytest.approx(scores[score][0][1], rel=1e-5)
        assert {target: sorted(values) for target, values in ours.items()} == {
            target: sorted({"denoising", "depth", "object", "scene"} - {target})
            for target in ("denoising", "depth", "object", "scene")
        }


def test_a_target_is_given_its_own_kind_of_pictures(material: Material) -> None:
    plain, noisy = (material.pictures(TASKS[name]) for name in ("depth", "denoising"))
    assert plain.shape == (COUNT, 64, 64, 3)
    np.testing.assert_array_equal(plain // 2, noisy)
    np.testing.assert_array_equal(plain[0, :, :, 1], material.rooms.inputs(TASKS["depth"])[draw_rooms(0, 1)[0], 1])


def test_labelled_pictures_lie_in_folders_by_class(material: Material) -> None:
    folder, rows = material.labelled("scene"), draw_rooms(0, COUNT)
    files = sorted(folder.rglob("*.png"), key=lambda file: file.name)
    assert [file.parent.name for file in files] == [NAMES["scene"][row % 3] for row in rows]
    np.testing.assert_array_equal(np.asarray(Image.open(files[3])), material.pictures(TASKS["scene"])[3])


def test_labels_rank_by_place_and_each_score_by_its_value(material: Material) -> None:
    found = ranking.rank_by_labels(material)
    assert list(found) == ["labels", *(f"labels {score}" for score in LABELS)]
    assert {target: sorted(values) for target, values in found["labels"].items()} == {
        "object": ["denoising", "depth", "scene"], "scene": ["denoising", "depth", "object"],
    }  # fmt: skip
    own = ox.rate(material.others("object"), material.labelled("object"))
    assert found["labels"]["object"][own.ranked[0].source] == max(found["labels"]["object"].values())
    assert found["labels knn"]["object"] == dict(zip(own.names, own.values["knn"], strict=True))


def test_rankings_are_written_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rank(material: Material) -> ranking.Rankings:
        assert material.targets == list(TASKS)
        return {"mine": {"depth": {"edges2d": 0.25, "normals": 1.0}}}

    monkeypatch.setitem(ranking.RANK, "labels", rank)  # type: ignore[arg-type]
    monkeypatch.setattr(ranking.Rooms, "load", lambda *_: Rooms())
    models = tmp_path / "models"
    models.mkdir()
    for name in TASKS:
        (models / f"{name}.onnx").symlink_to(MODELS / f"{name}.onnx")
    (file,) = ranking.rank_all(tmp_path, models, ["labels"])
    assert file == models / "rankings" / "mine.csv"
    assert file.read_text() == "target,source,value\ndepth,edges2d,0.25\ndepth,normals,1\n"


def read(name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with (MODELS / "rankings" / f"{name}.csv").open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        found.setdefault(row["target"], set()).add(row["source"])
        assert np.isfinite(float(row["value"]))
    return found


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        ([*(f"pictures {one}" for one in PICTURES), *(f"generated {one}" for one in GENERATED)], tuple(TASKS)),
        (["labels", "finetune", *(f"labels {one}" for one in LABELS)], tuple(NAMES)),
        (["finetune answers"], TARGETS),
    ],
)
def test_committed_rankings_have_every_source_of_their_targets(names: list[str], targets: tuple[str, ...]) -> None:
    assert IMAGES == 300
    for name in names:
        assert read(name) == {target: set(TASKS) - {target} for target in targets}
