"""Measuring in a worker: its answers are checked, settings are too, progress reaches its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxspace as ox
from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.areas import cover_boxes
from onnxspace.inputs.boxes import Box
from onnxspace.inputs.faithfulness import MEASURES, FaithfulnessSettings
from onnxspace.storage.regular_files import load_array
from onnxspace.workflows.child.tasks import TASKS
from tests.helpers.nets import classifier, save

PROBES = ox.Probes.generate(3, 16)
SETTINGS = FaithfulnessSettings(steps=3, perturbations=4, draws=1, stages=2)
Answer = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(classifier(), tmp_path / "a.onnx")


@pytest.mark.process
def test_a_worker_process_measures_what_this_process_does(path: Path, sandboxed: None) -> None:
    masks = [np.eye(16) > 0, None, np.ones((16, 16), bool)]
    given: Any = {"settings": SETTINGS, "masks": masks, "device": "cpu"}
    found = ox.measure_faithfulness(path, PROBES, ["elrp", "layer-cam"], targets=["1"], **given).models[0]
    from onnxspace.sandbox.worker import close_idle_workers

    close_idle_workers()
    assert set(found.values) == set(MEASURES)
    assert np.isnan(found.values["ranks"][:, 1]).all()
    assert found.values["ranks"][:, 2].tolist() == [1.0] * 4
    assert np.isfinite(found.curves["deletion"]).all()


def replace_array(change: Callable[[np.ndarray], np.ndarray], name: str) -> Callable[[Answer, Path], None]:
    def change_file(answer: Answer, folder: Path) -> None:
        np.save(folder / answer["files"][name], change(load_array(folder / answer["files"][name])))

    return change_file


def set_key(key: str, value: Any) -> Callable[[Answer, Path], None]:
    return lambda answer, folder: answer.__setitem__(key, value)


@pytest.mark.parametrize(
    "change",
    [
        replace_array(lambda a: a[:-1], "deletion"),
        replace_array(lambda a: a.astype(np.float32), "infidelity"),
        replace_array(lambda a: a[:, :, None], "sensitivity"),
        replace_array(lambda a: a[:, :1], "magnitude"),
        replace_array(lambda a: a[:, :1], "signed"),
        replace_array(lambda a: a[..., :1], "entropies"),
        replace_array(lambda a: a[:, :1], "mass"),
        set_key("notes", ["x" * 2**17]),
        replace_array(lambda a: a + 100, "peaks"),
        replace_array(lambda a: a - 100, "peaks"),
        set_key("layers", ["x"]),
        set_key("layers", [1] * 9),
        set_key("followed", "x" * 5000),
        set_key("warnings", "text"),
        set_key("files", {"deletion": "../../other.npy"}),
        set_key("files", None),
    ],
)
def test_an_answer_of_another_form_costs_the_model(
    path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Answer, Path], None]
) -> None:
    own = TASKS["faithfulness"]

    def answer_otherwise(request: Mapping[str, Any], advance: Callable[[int], None]) -> Answer:
        answer = dict(own(request, advance))
        change(answer, Path(request["folder"]))
        return answer

    monkeypatch.setitem(TASKS, "faithfulness", answer_otherwise)  # type: ignore[arg-type]
    boxes = [[Box(0, 0, 4, 4)]] * 3
    with pytest.raises(ModelError, match=r"a\.onnx ended the process that read it \(its answer has another form\)"):
        ox.measure_faithfulness(path, PROBES, ["elrp"], settings=SETTINGS, boxes=boxes, device="cpu")


def test_progress_ends_at_its_total_for_each_model(path: Path, tmp_path: Path) -> None:
    other = save(classifier(seed=1), tmp_path / "b.onnx")
    seen: list[tuple[str, int, int]] = []
    many = FaithfulnessSettings(("randomisation",), stages=20)  # more than there are layers
    ox.measure_faithfulness(
        [path, other], PROBES, ["elrp"], settings=many, device="cpu", progress=lambda *step: seen.append(step)
    )
    totals = {total for name, _, total in seen if name in "ab"}
    assert totals == {2 * 3 * 22}
    done = [now for _, now, total in seen if total in totals]
    assert done == sorted(done)
    assert done[-1] == 2 * 3 * 22


def test_only_the_measures_that_are_named_are_computed(path: Path) -> None:
    found = ox.measure_faithfulness(
        path, PROBES, ["elrp"], settings=FaithfulnessSettings(("insertion",), steps=2), device="cpu"
    ).models[0]
    assert found.measures == ("insertion",)
    assert set(found.curves) == {"insertion"}
    assert found.randomisation is None
    boxed = ox.measure_faithfulness(
        path,
        PROBES,
        ["elrp"],
        settings=FaithfulnessSettings(("pointing",)),
        boxes=[[Box(0, 0, 16, 8)], [], [Box(0, 0, 16, 16)]],
        device="cpu",
    ).models[0]
    assert boxed.measures == ("pointing",)
    assert boxed.values["pointing"][1].tolist()[::2] == [0.5, 1.0]
    assert np.isnan(boxed.values["pointing"][:, 1]).all()


def test_tolerance_widens_boxes_by_a_distance() -> None:
    (mask,) = cover_boxes([[Box(4, 4, 2, 2)]], ox.Probes("one", PROBES.images[:1]), 2)
    assert mask is not None
    inside = {(int(r), int(c)) for r, c in np.argwhere(mask)}
    centres = {
        (r, c)
        for r in range(16)
        for c in range(16)
        if np.hypot(max(4 - (r + 0.5), r + 0.5 - 6, 0), max(4 - (c + 0.5), c + 0.5 - 6, 0)) <= 2
    }
    assert inside == centres
    assert (2, 2) not in inside
    assert (2, 4) in inside


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"steps": 0}, "steps is 0 but must be a whole number from 1 to 1000."),
        ({"draws": True}, "draws is True but must be"),
        ({"radius": 0.001}, "radius is 0.001 but must be from 1/255 to 1"),
        ({"radius": float("nan")}, "radius is nan"),
        ({"measures": ("delete",)}, "measure 'delete' is unknown. Use one of: deletion, insertion,"),
        ({"deletion_baseline": "zero"}, "deletion_baseline 'zero' is unknown. Use one of: mean, black, blur."),
        ({"followed": "class"}, "followed 'class' is unknown."),
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        FaithfulnessSettings(**given)
    assert words in str(refused.value)


def test_boxes_that_do_not_fit_the_images_and_nothing_to_measure_are_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="There are boxes for 1 images, but 3 images"):
        ox.measure_faithfulness(path, PROBES, ["elrp"], boxes=[[Box(0, 0, 1, 1)]])
    with pytest.raises(ConfigError, match="No image has a box inside it"):
        ox.measure_faithfulness(path, PROBES, ["elrp"], boxes=[[], [], [Box(20, 20, 1, 1)]])
    with pytest.raises(ConfigError, match="There is nothing to measure"):
        ox.measure_faithfulness([], PROBES, ["elrp"])
