"""Exports of one network get the same pixels in a run, in checks and in spaces; where they can't, a warning names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import onnxspace as ox
from onnxspace.checking.measure import METRICS
from onnxspace.checking.plan import Artifact, CheckPlan
from onnxspace.checking.run import check, update
from onnxspace.errors import ModelError
from onnxspace.inputs.probes import Probes
from onnxspace.model.model import open_model
from onnxspace.model.weight_layers import sketch_weights
from onnxspace.similarity.fingerprints.file import read_fingerprint, write_fingerprint
from onnxspace.similarity.one_network import Subject, find_donors
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.workflows.fingerprint_file import fingerprint_file
from tests.helpers.twins import Trained, export, train


@pytest.fixture(scope="module")
def given() -> Trained:
    return train()


@pytest.fixture
def folder(tmp_path: Path, given: Trained, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`kept.onnx` tells its range, `merged.onnx` is guessed otherwise."""
    export(tmp_path / "kept.onnx", given)
    export(tmp_path / "merged.onnx", given, merged=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compare(*models: str, **options: Any) -> Any:
    return ox.score(models, Probes.generate(4, 32), **options)


def pixels(found: Any) -> list[tuple[str | None, str]]:
    return [(one.pixels.preset, one.pixels.origin) for one in found.models]


def test_what_one_export_tells_holds_for_the_other(folder: Path) -> None:
    ((guess, origin),) = pixels(compare("merged.onnx"))
    assert guess != "imagenet"
    assert origin == "guessed"
    found = compare("merged.onnx", "kept.onnx")
    assert pixels(found) == [("imagenet", "inferred")] * 2
    assert found.models[0].pixels.reason.startswith("as kept, whose first layers have the same weights")
    assert found.matrix[0, 1] > 0.999
    assert not any("pixels differ" in warning for warning in found.warnings)


def test_what_the_user_states_of_one_counts_most(folder: Path) -> None:
    found = compare("merged.onnx", "kept.onnx", pixels={"merged": "byte"})
    assert pixels(found) == [("byte", "stated"), ("byte", "inferred")]
    found = compare("merged.onnx", "kept.onnx", pixels={"merged": "byte", "kept": "unit"})
    assert pixels(found) == [("byte", "stated"), ("unit", "stated")]
    assert not any("pixels differ" in warning for warning in found.warnings)


def test_colours_in_another_order_are_kept(folder: Path) -> None:
    Path("merged.onnxspace.toml").write_text('color = "BGR"\n')
    first, second = compare("merged.onnx", "kept.onnx").models
    assert (first.pixels.color, second.pixels.color) == ("BGR", "RGB")
    assert first.pixels.mean == second.pixels.mean[::-1]


def test_exports_that_are_all_guessed_get_one_guess(folder: Path) -> None:
    """Whatever their order: the one that is not the usual range."""
    model = open_model("merged.onnx")
    weights = sketch_weights(model.graph, model.image.name)
    kept = compare("kept.onnx").models[0].pixels
    usual = Subject("a", replace(kept, origin="guessed", preset="symmetric", scale=1 / 127.5, mean=(1.0,), std=(1.0,)), weights)
    other = Subject("b", replace(kept, origin="guessed", preset="unit", scale=1 / 255, mean=(0.0,), std=(1.0,)), weights)
    assert find_donors([usual, other]) == {0: other}
    assert find_donors([other, usual, usual]) == {1: other, 2: other}
    assert find_donors([usual, usual]) == {}


def test_other_weights_in_the_same_layers_are_a_warning(folder: Path) -> None:
    export(folder / "other.onnx", train("unit", seed=1), merged=True)
    found = compare("kept.onnx", "other.onnx")
    (first, (guess, origin)) = pixels(found)
    assert (first, origin) == (("imagenet", "inferred"), "guessed")
    (warning,) = [one for one in found.warnings if "pixels differ" in one]
    assert warning.startswith(f"other ({guess}, guessed) and kept (imagenet, inferred) have layers of the same shapes")
    assert "--pixels [MODEL=]PRESET" in warning


def test_another_range_in_the_weights_is_not_taken_over(folder: Path, given: Trained) -> None:
    export(folder / "scaled.onnx", given, merged=True, gain=1 / 255)
    found = compare("kept.onnx", "scaled.onnx")
    assert pixels(found)[1][1] == "guessed"


def test_inferred_ranges_of_two_trainings_are_no_contradiction(folder: Path) -> None:
    export(folder / "other.onnx", train("unit", seed=1))
    found = compare("kept.onnx", "other.onnx")
    assert pixels(found) == [("imagenet", "inferred"), ("unit", "inferred")]
    assert not any("pixels differ" in warning for warning in found.warnings)


@pytest.mark.parametrize("against", ["kept.onnx", "kept.fp"])
def test_a_check_compares_exports_with_the_same_pixels(folder: Path, against: str) -> None:
    limits = {name: one.limit for name, one in METRICS.items() if one.limit is not None}
    plan = CheckPlan((Artifact("merged", Path("merged.onnx"), against, limits),), images=4)
    if against == "kept.fp":
        update(CheckPlan((Artifact("kept", Path("kept.onnx"), against, limits),), images=4))
    (verdict,) = check(plan)
    assert verdict.outcome == "same", verdict
    assert verdict.measures["affinity"] > 0.999
    assert not any("pixels differ" in warning for warning in verdict.warnings)


def test_of_two_guesses_that_of_a_baseline_file_counts(folder: Path) -> None:
    """A baseline can't be observed again, so the artifact takes over its guess, also where that is the usual range."""
    limits = {name: one.limit for name, one in METRICS.items() if one.limit is not None}
    plan = CheckPlan((Artifact("merged", Path("merged.onnx"), "merged.fp", limits),), images=4)
    Path("merged.onnxspace.toml").write_text('pixels = "symmetric"\n')
    update(plan)
    Path("merged.onnxspace.toml").unlink()
    notes = Path("merged.fp.onnxspace.json")
    assert notes.read_text().count('"stated"') == 1
    notes.write_text(notes.read_text().replace('"stated"', '"guessed"'))
    (verdict,) = check(plan)
    assert verdict.outcome == "same", verdict
    assert verdict.measures["affinity"] > 0.999


def test_a_space_lists_the_models_of_an_architecture(folder: Path) -> None:
    space = ox.Space.create("zoo.space", Probes.generate(4, 32))
    space.add(["kept.onnx", "merged.onnx"])
    kept, merged = (entry.pixels.architecture for entry in space.entries() if entry.pixels is not None)
    assert kept == merged
    with open_catalogue(space.path) as book:
        assert [entry.name for entry in book.list_with_architectures({kept, "0" * 16})] == ["kept", "merged"]
        assert book.list_with_architectures({kept[:-1]}) == []


def test_fingerprints_hold_their_pixels(folder: Path) -> None:
    probes = Probes.generate(4, 32)
    for name in ("kept", "merged"):
        fingerprint_file(f"{name}.onnx", f"{name}.fp", probes)
    kept = read_fingerprint(Path("kept.fp"))
    assert kept.pixels is not None
    assert (kept.pixels.preset, kept.pixels.origin) == ("imagenet", "inferred")
    both = ox.score(["kept.fp", "merged.fp"])
    assert [origin for _, origin in pixels(both)] == ["inferred", "guessed"]
    mixed = ox.score(["merged.onnx", "kept.fp"], probes)
    for found in (both, mixed):
        (warning,) = [one for one in found.warnings if "pixels differ" in one]
        assert ", guessed) and kept" in warning
    write_fingerprint(Path("old.fp"), replace(kept, pixels=None))
    assert read_fingerprint(Path("old.fp")).pixels is None


def test_odd_pixels_in_a_fingerprint_are_refused(folder: Path) -> None:
    fingerprint_file("kept.onnx", "kept.fp", Probes.generate(4, 32))
    kept = read_fingerprint(Path("kept.fp"))
    assert kept.pixels is not None
    write_fingerprint(Path("odd.fp"), replace(kept, pixels=replace(kept.pixels, origin="certain")))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"odd\.fp is a damaged fingerprint: invalid pixels' origin"):
        read_fingerprint(Path("odd.fp"))


def test_a_space_warns_of_an_older_model(folder: Path) -> None:
    space = ox.Space.create("zoo.space", Probes.generate(4, 32))
    assert not any("pixels differ" in warning for warning in space.add(["kept.onnx"]).warnings)
    found = space.add(["merged.onnx"])
    (warning,) = [one for one in found.warnings if "pixels differ" in one]
    assert warning.startswith("merged (")
    assert ", guessed) and kept (imagenet, inferred) have layers of the same shapes" in warning


def test_the_search_in_a_space_warns_too(folder: Path) -> None:
    space, found = ox.Space.create("zoo.space", Probes.generate(4, 32)), list[str]()
    space.add(["kept.onnx"])
    assert space.nearest("merged.onnx", warn=found.append)
    assert any("pixels differ" in warning for warning in found)
