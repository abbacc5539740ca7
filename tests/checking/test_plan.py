"""What is to be checked: the configuration, pyproject.toml, and plans that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxspace.checking.plan import CheckPlan, find_plan, parse_plan
from onnxspace.checking.run import check, update
from onnxspace.errors import ConfigError
from tests.helpers.checks import network
from tests.helpers.nets import save

PLAN = """
[check]
images = 6
limits = {affinity = 0.97}
[check.artifacts.net]
model = "old.onnx"
[check.artifacts.other]
model = "new.onnx"
against = "old.onnx"
distinct = true
[check.artifacts.loose]
model = "old.onnx"
against = "old.onnx"
limits = {affinity = 0.5, top1 = false}
"""


def test_the_configuration_says_what_to_check(place: Path) -> None:
    save(network(3), place / "new.onnx")
    (place / "onnxspace.toml").write_text(PLAN)
    plan, file = find_plan(None)
    assert file == Path("onnxspace.toml")
    first, other, second = plan.artifacts
    assert (first.path, first.against) == (Path("old.onnx"), "baselines/net.fp")
    assert first.limits["affinity"] == 0.97
    assert (second.limits["affinity"], second.distinct, other.distinct) == (0.5, None, 0.9)
    assert "top1" not in second.limits
    (place / "baselines").mkdir()
    assert [one.outcome for one in update(CheckPlan(plan.artifacts[:1], images=6), config=file)] == ["same"]
    assert [one.outcome for one in check(plan, config=file)] == ["same", "same", "same"]


def test_pyproject_says_it_too(place: Path) -> None:
    text = PLAN.replace("[check", "[tool.onnxspace.check")
    (place / "pyproject.toml").write_text('[project]\nname = "x"\n' + text)
    plan, file = find_plan(None)
    assert [one.name for one in plan.artifacts] == ["net", "other", "loose"]
    assert file is None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "has no artifacts"),
        ({"artefacts": {}}, "there is no key 'artefacts'; did you mean artifacts?"),
        ({"artifacts": {"a": {}}}, "must be a table with model"),
        ({"artifacts": {"a": {"model": 3}}}, "model must be text"),
        ({"artifacts": {"a": {"model": "a", "distinct": 2}}}, "distinct must be true"),
        (
            {"artifacts": {"a": {"model": "a", "distinct": True, "limits": {"affinity": 0.5}}}},
            r"artifacts.a\]: distinct and limits exclude each other",
        ),
        ({"artifacts": {"a": {"model": "a"}}, "limits": {"speed": 1}}, "there is no metric 'speed'"),
        ({"artifacts": {"a": {"model": "a"}}, "images": 0}, "images must be a whole number"),
        ({"artifacts": {"a": {"model": "a"}}, "method": "x"}, "there is no method 'x'"),
        ({"artifacts": {"a": {"model": "a"}}, "baseline": 3}, "baseline must be text"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_plan(table, Path("onnxspace.toml"))


def test_what_maps_count_from_is_a_word_or_an_image_beside_the_file() -> None:
    for value, path in (("mean", "mean"), ("grey.png", "folder/grey.png")):
        table = {"artifacts": {"a": {"model": "a"}}, "baseline": value}
        assert parse_plan(table, Path("folder/onnxspace.toml")).pixels == path


def test_without_a_plan_the_way_out_is_told(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[tool.onnxspace.check\]"):
        find_plan(None)
