"""Notes beside a fingerprint: gone, spoilt, of another model, of the first version; what is not compared does not pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxspace.checking.plan import CheckPlan, artifacts_against
from onnxspace.checking.run import check, update
from onnxspace.checking.verdict import Verdict
from tests.helpers.checks import IMAGES, network
from tests.helpers.nets import save

NOTES = "net.fp.onnxspace.json"
MAPS_ALONE = dict.fromkeys(["encoder_cosine", "output_cosine", "output_r2", "top1"])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its baseline."""
    folder = tmp_path_factory.mktemp("written")
    save(network(), folder / "old.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert update(plan())[0].outcome == "same"
    return folder


@pytest.fixture(autouse=True)
def baseline(place: Path, written: Path) -> None:
    for file in written.iterdir():
        shutil.copy(file, place)


def plan(model: str = "old.onnx", **limits: float | None) -> CheckPlan:
    return CheckPlan(artifacts_against([model], "net.fp", limits, False, None), images=IMAGES)


def judged(model: str = "old.onnx", **limits: float | None) -> Verdict:
    return check(plan(model, **limits))[0]


def test_notes_have_a_name_of_their_own(place: Path) -> None:
    assert {path.name for path in place.iterdir()} == {"old.onnx", "net.fp", NOTES}
    found = judged()
    assert (found.outcome, found.warnings) == ("same", ())
    assert {"outputs", "output_finite", "output_cosine", "output_r2", "top1", "encoder_cosine"} <= set(found.measures)


def test_without_notes_maps_alone_are_compared_on_demand_only(place: Path) -> None:
    (place / NOTES).unlink()
    found = judged()
    assert found.outcome == "trouble"
    assert "net.fp has no notes file beside it, so encoder_cosine, outputs" in str(found.error)
    flags = str(found.error).split("away by ")[1].split(" (false")[0].split()
    assert flags[::2] == ["--limit"] * 4
    assert {flag.removesuffix("=none") for flag in flags[1::2]} == set(MAPS_ALONE)
    allowed = judged(**MAPS_ALONE)
    assert (allowed.outcome, allowed.changes) == ("same", ())
    assert set(allowed.measures) == {"affinity", "affinity_p5", "affinity_worst", "output_finite"}
    save(network(7, 20), place / "new.onnx")
    other = judged("new.onnx", **MAPS_ALONE)
    assert (other.outcome, other.changes, other.reasons) == ("different", (), ())


def test_the_package_of_javascript_beside_a_fingerprint_is_not_its_notes(place: Path) -> None:
    (place / NOTES).unlink()
    (place / "net.json").write_text('{"name": "net", "version": "1.0.0"}')
    assert "net.fp has no notes file beside it" in str(judged().error)


def test_notes_of_another_model_are_trouble(place: Path) -> None:
    notes = json.loads((place / NOTES).read_text())
    notes["facts"]["sha256"] = "0" * 64
    (place / NOTES).write_text(json.dumps(notes))
    assert "describes another model than net.fp, so encoder_cosine" in str(judged().error)


def test_notes_of_the_first_version_are_read(place: Path) -> None:
    notes = json.loads((place / NOTES).read_text())
    notes["schema"] = "onnxspace/baseline/1"
    for name in ("zero", "fed", "biases", "front", "scalars"):
        del notes["facts"][name]
    del notes["unmeasured"]
    (place / NOTES).unlink()
    (place / "net.json").write_text(json.dumps(notes))
    assert (judged().outcome, judged().warnings) == ("same", ())
    notes["outputs"] = {}  # what the first version wrote for a network whose outputs need another input
    (place / "net.json").write_text(json.dumps(notes))
    found = judged()
    assert found.outcome == "different"
    assert [finding.metric for finding in found.failed] == ["outputs"]
    assert "has no values in the baseline; make it again with --update" in found.missing["outputs"]
    update(plan())
    assert not (place / "net.json").exists()
    assert judged().outcome == "same"


def spoil(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def made(text: str) -> str:
        notes = json.loads(text)
        change(notes)
        return json.dumps(notes)

    return made


def first(notes: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(notes["outputs"].values()))
    return found


SPOILT: dict[str, Callable[[str], str]] = {
    "cut": lambda text: text[:200],
    "a list": lambda _text: "[]",
    "another schema": spoil(lambda notes: notes.update(schema="onnxspace/check/1")),
    "no facts": spoil(lambda notes: notes.update(facts={})),
    "no encoder": spoil(lambda notes: notes.pop("encoder")),
    "no outputs": spoil(lambda notes: notes.pop("outputs")),
    "no outputs and none declared": spoil(lambda notes: (notes["facts"].update(outputs={}), notes.update(outputs={}))),
    "huge lengths": spoil(lambda notes: first(notes).update(lengths=[1e308] * IMAGES)),
    "infinite lengths": lambda text: text.replace('"lengths": [', '"lengths": [1e999, ', 1),
    "the word Infinity": spoil(lambda notes: first(notes).update(varying=float("inf"))),
    "the word NaN": spoil(lambda notes: first(notes).update(varying=float("nan"))),
    "a large variation": spoil(lambda notes: first(notes).update(varying=1e30)),
    "no variation": spoil(lambda notes: first(notes).pop("varying")),
    "negative lengths": spoil(lambda notes: first(notes).update(lengths=[-1.0] * IMAGES)),
    "fewer images": spoil(lambda notes: first(notes).update(lengths=[1.0], top=[0])),
    "no sketch": spoil(lambda notes: first(notes).update(sketch="")),
    "marks that are no truth values": spoil(lambda notes: first(notes).update(finite=[2] * IMAGES)),
    "moments of fewer images": spoil(lambda notes: first(notes).update(moments=[[1.0, 2.0]])),
    "a shape of text": spoil(lambda notes: first(notes).update(shape="abc")),
    "no bytes": spoil(lambda notes: notes["facts"].update(bytes=0)),
    "operators without counts": spoil(lambda notes: notes["facts"].update(operators={"Conv": "many"})),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_spoilt_notes_never_pass(place: Path, kind: str) -> None:
    text = (place / NOTES).read_text()
    spoilt = SPOILT[kind](text)
    assert spoilt != text
    (place / NOTES).write_text(spoilt)
    found = judged()
    assert found.outcome == "trouble", found.findings
    assert "net.fp" in str(found.error)
    assert "--update" in str(found.error)


def test_a_limit_that_a_fingerprint_can_not_measure_is_trouble(place: Path) -> None:
    for name in ("output_max", "encoder_max"):
        found = judged(**{name: 1.0})
        assert found.outcome == "trouble"
        assert f"so {name} can't be measured" in str(found.error)
        assert "compare with its model file" in str(found.error)
    assert (
        check(CheckPlan(artifacts_against(["old.onnx"], "old.onnx", {"output_max": 1.0}, False, None), images=IMAGES))[
            0
        ].outcome
        == "same"
    )
