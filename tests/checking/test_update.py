"""`--update` writes baselines and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxspace.checking.plan import CheckPlan, artifacts_against, parse_plan
from onnxspace.checking.run import check, update
from onnxspace.errors import ConfigError
from tests.helpers.checks import IMAGES, network
from tests.helpers.commands import Run
from tests.helpers.nets import classifier, save
from tests.helpers.paths import REPOSITORY

COMMAND = "check"
PAGE = (REPOSITORY / "docs/check.md").read_text("utf-8").split("```toml\n")[1].split("```")[0]


def plan(*models: str, against: str = "package.fp") -> CheckPlan:
    return CheckPlan(artifacts_against(models or ["old.onnx"], against, {}, False, None), images=IMAGES)


def test_other_programs_files_beside_a_fingerprint_stay(place: Path) -> None:
    other = '{"name": "package", "scripts": {}}\n'
    (place / "package.json").write_text(other)
    assert update(plan())[0].outcome == "same"
    assert update(plan())[0].outcome == "same"
    assert (place / "package.json").read_text() == other
    assert check(plan())[0].outcome == "same"


@pytest.mark.parametrize("name", ["package.fp", "package.fp.onnxspace.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"mine", b'{"schema": "mine"}', b"\x89oxfp\r\n\x1a"])
def test_what_is_no_baseline_is_not_overwritten(place: Path, name: str, content: bytes) -> None:
    (place / name).write_bytes(content)
    found = update(plan())[0]
    assert found.outcome == "trouble"
    assert f"{name} exists and is not" in str(found.error)
    assert (place / name).read_bytes() == content
    assert {path.name for path in place.iterdir()} == {"old.onnx", name}


def test_a_link_in_the_place_of_a_baseline_is_not_followed_to_another_file(place: Path) -> None:
    (place / "mine").write_text("mine")
    (place / "package.fp").symlink_to(place / "mine")
    assert update(plan())[0].outcome == "trouble"
    assert (place / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    ["../out", "a/b", "a\\\\b", "..", ".", ".hidden", "/etc/x", "C:x", "a\\u0000b", "a\\nb", "", "end.", "end ", "x" * 200],
)
def test_an_artifact_has_the_name_of_a_file(place: Path, name: str) -> None:
    text = f'[check]\nimages = {IMAGES}\n[check.artifacts."{name}"]\nmodel = "old.onnx"\n'
    with pytest.raises(ConfigError, match="can't be the name of a baseline"):
        parse_plan(tomllib.loads(text)["check"], Path("onnxspace.toml"))


@pytest.mark.parametrize("name", ["resnet50", "resnet50-int8", "model v1.2", "größe_2+"])
def test_plain_names_are_names_of_artifacts(name: str) -> None:
    table = {"artifacts": {name: {"model": "a.onnx"}}}
    assert parse_plan(table, Path("onnxspace.toml")).artifacts[0].against == f"baselines/{name}.fp"


def test_the_configuration_of_the_page_is_updated_and_passes(run: Run, place: Path) -> None:
    """Artifacts that are compared with a model, or must differ from it, have no baseline to write."""
    (place / "export").mkdir()
    (place / "digits").mkdir()
    for name, model in (
        ("resnet50", network()),
        ("resnet50-int8", network()),
        ("digits", network(2)),
        ("student", classifier()),
    ):
        save(model, place / f"export/{name}.onnx")
    draw(place / "digits")
    (place / "onnxspace.toml").write_text(PAGE.replace("images = 64 ", "images = 4 "))
    code, out, err = run("--update", "--quiet")
    assert (code, out, err) == (0, "wrote baselines/resnet50.fp\nwrote baselines/digits.fp\n", "")
    assert {path.name for path in (place / "baselines").iterdir()} == {
        f"{name}.fp{suffix}" for name in ("resnet50", "digits") for suffix in ("", ".onnxspace.json")
    }
    code, out, err = run("--quiet")
    assert (code, out.splitlines()[-1], err) == (0, "4 as expected", "")


def draw(folder: Path) -> None:
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")


def test_where_there_is_nothing_to_write_the_reason_is_told(run: Run, place: Path) -> None:
    save(network(), place / "new.onnx")
    code, out, err = run("new.onnx", "--against", "old.onnx", "--update")
    assert (code, out) == (2, "")
    assert 'new is compared with old.onnx, but --update writes fingerprints of artifacts only; set against = "NAME.fp".' in err


def test_two_artifacts_never_share_a_baseline(run: Run, place: Path) -> None:
    save(network(3), place / "new.onnx")
    code, out, err = run("old.onnx", "new.onnx", "--against", "base.fp", "--update")
    assert (code, out) == (2, "")
    assert "old and new have one baseline, base.fp" in err


def test_a_baseline_of_someone_else_is_not_replaced_by_what_must_differ_from_it(place: Path) -> None:
    update(plan(against="theirs.fp"))
    before = (place / "theirs.fp").read_bytes()
    save(network(3), place / "ours.onnx")
    distinct = CheckPlan(artifacts_against(["ours.onnx"], "theirs.fp", {}, True, None), images=IMAGES)
    with pytest.raises(ConfigError):
        update(distinct)
    assert (place / "theirs.fp").read_bytes() == before
    assert check(distinct)[0].outcome == "same"
