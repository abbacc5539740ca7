"""The precision of maps: recorded for each model, in spaces and in fingerprints, and never mixed with another one unseen."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxspace as ox
from onnxspace.attribution import maps
from onnxspace.attribution.cache_key import run_key
from onnxspace.attribution.precision import Trial
from onnxspace.checking.plan import Artifact, CheckPlan
from onnxspace.checking.run import check
from onnxspace.cli.text.score import precision_note
from onnxspace.errors import ConfigError, ModelError, SpaceError
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.precision import ModelPrecision, parse_precision
from onnxspace.inputs.protocol import Setup
from onnxspace.report.read_result import read_result
from onnxspace.similarity.fingerprints.file import Fingerprint, read_fingerprint, write_fingerprint
from onnxspace.spaces.catalogue import CATALOGUE, FORMAT, MAPS_ONLY
from onnxspace.workflows.fingerprint_file import fingerprint_file
from onnxspace.workflows.space import Space
from tests.helpers.nets import classifier, save

HALF, SINGLE, AUTO = (Compute("cpu", precision) for precision in ("bf16", "float32", "auto"))
A, B = Path("a.onnx"), Path("b.onnx")


@pytest.fixture(autouse=True)
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, path in enumerate((A, B)):
        save(classifier(seed=seed, units=16), path)


def images() -> ox.Probes:
    return ox.Probes.generate(4, 16)


def write_print(path: str, device: Compute = HALF, model: Path = A) -> Fingerprint:
    return fingerprint_file(model, path, images(), device=device)[0]


def make_space(name: str = "half.space", precision: Any = "bf16") -> Space:
    return Space.create(name, images(), precision=precision)


def pretend(monkeypatch: pytest.MonkeyPatch, *trials: Trial) -> None:
    """Let the measurements of successive models have these results."""
    found = iter(trials)
    monkeypatch.setattr(maps, "try_half", lambda *_: next(found))


def refuse_trial(*_: Any) -> Trial:
    raise AssertionError("bf16 was tried")


def test_a_result_says_what_each_model_was_computed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, Trial(0.998, 1.8, 4), Trial(0.7, 1.5, 4))
    found = ox.score([A, B], images(), device=AUTO, output="result")
    first, second = (found.precisions[name] for name in "ab")
    assert (first.used, first.asked, first.cosine, first.speed, first.images) == ("bf16", "auto", 0.998, 1.8, 4)
    assert (second.used, second.asked, second.cosine) == ("float32", "auto", 0.7)
    assert "0.995 is required" in second.reason
    assert list(precision_note(found)) == ["", "Maps were computed in bf16: a; in float32: b."]
    assert found.to_dict()["precisions"]["a"]["reason"] == f"{first.reason}"
    assert read_result(Path("result")).affinity.precisions == found.precisions


def test_what_was_stated_is_what_was_used() -> None:
    half, single = ox.score([A, B], images(), device=HALF), ox.score([A, B], images(), device="cpu")
    assert half.to_dict()["precisions"] == {name: {"used": "bf16", "asked": "bf16"} for name in "ab"}
    assert single.to_dict()["precisions"] == {name: {"used": "float32", "asked": None} for name in "ab"}
    assert list(precision_note(half)) == ["", "Maps of all models were computed in bf16."]
    assert list(precision_note(single)) == []
    assert half.options == single.options == {}
    assert "precisions" not in ox.score([A, B], images(), by="cka").to_dict()


def test_the_key_of_maps_depends_on_the_precision() -> None:
    setup = Setup(images())
    keys = [run_key(setup, Execution.on(Compute("cpu", precision))) for precision in (None, "float32", "bf16", "fp16", "auto")]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_a_fingerprint_in_half_precision_is_one_that_older_versions_do_not_compare_with_others() -> None:
    """They compare options, and know none of this name."""
    write_print("half.fp")
    write_print("single.fp", SINGLE)
    half, single = read_fingerprint(Path("half.fp")), read_fingerprint(Path("single.fp"))
    assert (half.options, single.options) == ({"precision": "bf16"}, {})
    assert (half.protocol.precision, single.protocol.precision) == ("bf16", "float32")
    assert (half.prints != single.prints).any()


def test_fingerprints_of_two_precisions_are_not_compared() -> None:
    write_print("half.fp")
    write_print("single.fp", SINGLE, B)
    with pytest.raises(ConfigError, match=r"half\.fp was computed in bf16 and single\.fp in float32"):
        raise_first(ox.score(["half.fp", "single.fp"]))
    write_print("other.fp", HALF, B)
    both = ox.score(["half.fp", "other.fp"])
    assert both.to_dict()["precisions"] == {name: {"used": "bf16", "asked": None} for name in ("half", "other")}
    assert both.options == {}


def raise_first(found: ox.Affinity) -> None:
    """Raise the error of the first model that failed."""
    raise ConfigError(found.failed[0].error)


def test_a_model_beside_a_fingerprint_is_computed_as_that_was() -> None:
    write_print("half.fp")
    other = write_print("other.fp", HALF, B)
    found = ox.score(["half.fp", B])
    assert found.precisions["b"].used == "bf16"
    assert "as those of the fingerprints are" in found.precisions["b"].reason
    assert found.warnings[0].endswith("in bf16 on 4 images (generated-0), as half.fp was.")
    alone = ox.score(["half.fp", "other.fp"])
    assert found.matrix[0, 1] == pytest.approx(alone.matrix[0, 1], abs=1e-6)
    assert other.options == {"precision": "bf16"}


def test_another_precision_beside_a_fingerprint_is_refused() -> None:
    write_print("half.fp")
    write_print("single.fp", SINGLE)
    for name, device, flag in (("half.fp", SINGLE, "bf16"), ("single.fp", HALF, "float32")):
        with pytest.raises(ConfigError, match=rf"{name} was made by elrp.* so it can't be compared; give --precision {flag}"):
            raise_first(ox.score([name, A, B], images(), device=device))


def test_auto_beside_a_fingerprint_is_its_precision_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    write_print("single.fp", SINGLE)
    write_print("half.fp")
    monkeypatch.setattr(maps, "try_half", refuse_trial)
    found = ox.score(["single.fp", B], device=AUTO)
    assert (found.precisions["b"].used, found.precisions["b"].asked) == ("float32", "auto")
    assert "as those of the fingerprints are" in found.precisions["b"].reason
    assert ox.score(["half.fp", B], images(), device=AUTO).precisions["b"].used == "bf16"


def test_a_space_in_half_precision_is_one_that_older_versions_refuse() -> None:
    make_space()
    make_space("single.space", "float32")
    for name, number, options in (("half.space", FORMAT, {"precision": "bf16"}), ("single.space", MAPS_ONLY, {})):
        with sqlite3.connect(Path(name) / CATALOGUE) as book:
            assert book.execute("PRAGMA user_version").fetchone()[0] == number
            (facts,) = book.execute("SELECT facts FROM space").fetchone()
        assert json.loads(facts)["options"] == options
    assert Space.open("half.space").protocol.precision == "bf16"
    assert FORMAT == 5


def test_models_of_a_space_are_computed_in_its_precision() -> None:
    space = make_space()
    assert not space.add([A, B]).failed
    scored = ox.score([A, B], images(), device=HALF)
    np.testing.assert_allclose(space.affinity().matrix, scored.matrix, atol=1e-3)
    assert space.affinity().precisions == dict.fromkeys("ab", ModelPrecision("bf16"))
    assert space.fingerprint(A, "a.fp")[0].options == {"precision": "bf16"}
    assert space.nearest("a.fp")[0].name == "a"
    assert space.nearest(str(A))[0].name == "a"
    assert space.export("prints")[0].read_bytes() == Path("a.fp").read_bytes()
    further = space.add_set("more", ox.Probes.generate(3, 16, seed=3))
    assert further.protocol.precision == "bf16"


@pytest.mark.parametrize(("held", "device"), [("bf16", SINGLE), ("float32", HALF)])
def test_maps_of_two_precisions_are_not_in_one_space(held: Any, device: Compute) -> None:
    space = make_space("zoo.space", held)
    for act in (lambda: space.add([A], device=device), lambda: space.fingerprint(A, "x.fp", device=device)):
        refuse(act, rf"zoo\.space holds maps in {held}, with which maps in {device.precision} can't be compared")
    write_print("print.fp", device)
    assert "was made with another precision of maps than zoo.space" in space.add(["print.fp", "print.fp"]).failed[0].error
    other = make_space("other.space", device.precision)
    with pytest.raises(SpaceError, match=r"other\.space were explained by elrp.* zoo\.space can't take them"):
        space.merge(other)
    assert len(space) == 0


def refuse(act: Callable[[], object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        act()


def test_a_space_is_of_one_precision() -> None:
    refuse(lambda: make_space("zoo.space", "auto"), "The maps of a space have one precision, and 'auto' is none")
    assert not Path("zoo.space").exists()


def test_a_check_against_a_fingerprint_computes_as_that_was() -> None:
    write_print("half.fp")
    limits = {"affinity": 0.9999}
    (verdict,) = check(CheckPlan((Artifact("a", A, "half.fp", limits=limits),)), device="cpu")
    assert verdict.outcome == "same"
    assert verdict.measures["affinity"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("found", ["float32", "int8", 1, None, ["bf16"], {}])
def test_a_precision_that_no_version_writes_is_damaged(found: Any) -> None:
    made = write_print("half.fp")
    with pytest.raises(ModelError, match="the precision of its maps"):
        write_fingerprint(Path("bad.fp"), replace(made, options={"precision": found}))
    space = make_space()
    with sqlite3.connect(space.path / CATALOGUE) as book:
        facts = json.loads(book.execute("SELECT facts FROM space").fetchone()[0])
        text = json.dumps(facts | {"options": {"precision": found}})
        from onnxspace.spaces.catalogue import _checksum

        book.execute("UPDATE space SET facts = ?, sum = ?", (text, _checksum(text)))
    with pytest.raises(SpaceError, match="damaged"):
        Space.open(space.path)


@pytest.mark.parametrize(
    "found", [None, [], {}, {"used": "auto", "asked": "auto"}, {"used": "bf16", "asked": "int8"}, {"used": "bf16", "asked": "auto", "cosine": "1"},
              {"used": "bf16", "asked": "auto", "speed": float("nan")}, {"used": "bf16", "images": 0}, {"used": "bf16", "reason": "x" * 1001}],
)  # fmt: skip
def test_a_record_that_no_worker_writes_is_refused(found: Any) -> None:
    with pytest.raises(ValueError, match="invalid"):
        parse_precision(found)


def test_a_record_is_read_as_it_was_written() -> None:
    for one in (ModelPrecision("float32"), Trial(0.9971, 1.3, 4).record(), ModelPrecision("bf16", "auto", reason="why")):
        assert parse_precision(json.loads(json.dumps(one.to_dict()))) == one
