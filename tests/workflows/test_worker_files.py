"""Files of a worker that a model has taken over: an array of another form costs that model alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.sandbox.worker import close_idle_workers
from onnxspace.storage.regular_files import load_array
from onnxspace.workflows.array_forms import ArrayForm
from onnxspace.workflows.child import reading_tasks
from onnxspace.workflows.child.tasks import TASKS
from tests.helpers.nets import classifier, save

Array = NDArray[Any]
WRONG: dict[str, Callable[[Array], Array]] = {
    "fewer images": lambda a: a[:-1],
    "more images": lambda a: np.concatenate([a, a]),
    "one axis": lambda a: a.reshape(-1),
    "another type": lambda a: a.astype(np.float64),
    "text": lambda a: np.full(a.shape, "x"),
    "columns first": lambda a: np.asfortranarray(a),
    "nothing": lambda a: a[:, :0],
    "no number": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 3, np.nan, a).astype(a.dtype),
}
IMAGES = 4


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [save(classifier((1, 3, 16, 16), seed), tmp_path / f"{name}.onnx") for seed, name in enumerate("abc")]


def take_over(monkeypatch: pytest.MonkeyPatch, task: str, name: str, change: Callable[[Array], Array], kind: str = "") -> None:
    """Have the worker replace the file that it has written of the model `name`."""
    tasks = TASKS if kind else reading_tasks.TASKS
    honest = tasks[task]

    def write(request: Mapping[str, Any], advance: Callable[[int], None]) -> Mapping[str, Any]:
        answer = honest(request, advance)
        if request["model"]["name"] == name and request.get("kind", "") == kind:
            file = Path(request["folder"], answer["file"])
            values = change(load_array(file))
            with file.open("wb") as place:
                np.save(place, values)
        return answer

    monkeypatch.setitem(tasks, task, write)  # type: ignore[arg-type]


@cache
def score_alone(score: str, contents: tuple[bytes, ...]) -> Array:
    """The matrix of models with these contents, which are the same in all tests."""
    with TemporaryDirectory() as folder:
        files = [Path(folder, f"{number}.onnx") for number in range(len(contents))]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        return ox.score(files, ox.Probes.generate(IMAGES, size=16), by=[score]).matrix


def pair(*kinds: str) -> list[Any]:
    """Each form that is wrong with one kind of file in turn, and with each where all cases are run."""
    return [
        pytest.param(wrong, kind, marks=[] if kind == kinds[place % len(kinds)] else [pytest.mark.exhaustive])
        for place, wrong in enumerate(WRONG)
        for kind in kinds
    ]


SCORES = {"maps": "attribution", "features": "cka", "fields": "modelgif"}


@pytest.mark.parametrize(("wrong", "kind"), pair(*SCORES))
def test_a_wrong_file_is_that_models_failure(
    kind: str, wrong: str, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    score = SCORES[kind]
    expected = score_alone(score, tuple(models[place].read_bytes() for place in (0, 2)))
    take_over(monkeypatch, "write", "b", WRONG[wrong], kind)
    found = ox.score(models, ox.Probes.generate(IMAGES, size=16), by=[score])
    assert found.names == ("a", "c")
    np.testing.assert_array_equal(found.matrix, expected)
    (failure,) = found.failed
    assert failure.path == str(models[1])
    assert "b.onnx ended the process that read it (its answer has another form). Leave it out." in failure.error


@pytest.mark.parametrize(("wrong", "kind"), pair("features", "outputs"))
def test_wrong_features_and_outputs_are_left_out_of_a_ranking(
    wrong: str, kind: str, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over(monkeypatch, "write", "b", WRONG[wrong], kind)
    found = ox.score(models, ox.Probes("pictures", ox.Probes.generate(12, size=16).images))
    assert found.names == ("a", "b", "c")
    assert any("b" in warning and "its answer has another form" in warning for warning in found.warnings)


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_features_are_left_out_of_a_rating(
    wrong: str, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for group in "xy":
        (tmp_path / "photos" / group).mkdir(parents=True)
        for number in range(4):
            picture = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / f"photos/{group}/{number}.png")
    take_over(monkeypatch, "features", "b", WRONG[wrong])
    found = ox.rate(models, tmp_path / "photos", by=["h_score"])
    assert [Path(failure.path).name for failure in found.failed] == ["b.onnx"]
    assert "its answer has another form" in found.failed[0].error


def test_right_files_pass(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.float32))
    ArrayForm("float32", 3).check(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((3, 4), np.float16))
    ArrayForm("float16", 3, 4).check(tmp_path / "b.npy")
    with pytest.raises(ValueError, match="another shape"):
        ArrayForm("float16", 3, 5).check(tmp_path / "b.npy")
    (tmp_path / "link.npy").symlink_to(tmp_path / "b.npy")
    with pytest.raises(OSError, match="link"):
        ArrayForm("float16", 3, 4).check(tmp_path / "link.npy")


LONE = """
import torch
from onnxspace.attribution.lrp import RULES

def doubled(site):
    return site.module
"""


@pytest.mark.usefixtures("sandboxed", "warm_children")
@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('RULES["doubled"] = doubled', None),
        ("", r"The rule 'doubled' is not added to RULES when adding is imported, .* Add it there, outside of functions\."),
        (
            'RULES["doubled"] = doubled\nimport sys\nsys.given',
            r"The module adding, .* can't be imported .*'given'\)\. Let it need",
        ),
    ],
    ids=["added", "added elsewhere", "fails"],
)
def test_rules_of_a_module_reach_the_worker_or_a_sentence_says_why_not(
    lines: str, words: str | None, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    from importlib import import_module

    from onnxspace.attribution.lrp import RULES

    (tmp_path / "adding.py").write_text(LONE + lines + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "given", 1, raising=False)
    monkeypatch.delitem(sys.modules, "adding", raising=False)
    close_idle_workers()  # one of them may have imported another module of this name
    before = dict(RULES)
    try:
        RULES["doubled"] = import_module("adding").doubled
        if words is None:
            assert ox.score(models, ox.Probes.generate(2)).names == ("a", "b", "c")
        else:
            with pytest.raises(ox.OnnxspaceError, match=words):
                ox.score(models, ox.Probes.generate(2))
    finally:
        RULES.clear()
        RULES.update(before)
        sys.modules.pop("adding", None)


def test_a_rule_of_the_main_program_is_refused(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.attribution.lrp import RULES

    def doubled(site: Any) -> Any:
        return site.module

    monkeypatch.setattr(doubled, "__module__", "__main__")
    monkeypatch.setitem(RULES, "doubled", doubled)
    with pytest.raises(ox.OnnxspaceError, match=r"'doubled' is of the module '__main__', .* Write it into a file of its own"):
        ox.score(models, ox.Probes.generate(2))
