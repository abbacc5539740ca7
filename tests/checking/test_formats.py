"""Verdicts as other programs read them: valid by their schemas, whatever a hostile name holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema

from onnxspace.checking.formats import FORMATS, as_github, as_junit, as_markdown, as_sarif
from onnxspace.checking.verdict import Finding, Verdict
from onnxspace.cli.text import check as checktext

SCHEMAS = Path(__file__).parent / "schemas"
HOSTILE = 'a"]]>\x00\x1b[31m\n::error::x, `b` | <script>alert(1)</script> & @team %0A'


def verdicts(name: str = "net") -> tuple[Verdict, ...]:
    bad = Finding("affinity", 0.5, 0.98, False)
    return (
        Verdict(name, f"models/{name}.onnx", "old.fp", "same", measures={"affinity": 0.99}, warnings=("beware",), seconds=1.5),
        Verdict(
            name, f"models/{name}.onnx", "old.fp", "different", measures={"affinity": 0.5, "top1": 1.0}, findings=(bad,),
            reasons=(f"weights of {name} differ",), changes=("opset 17 became 18",), layer=f"{name}: 12 % off",
            images=((3, "image 3", 0.1),),
        ),
        Verdict(name, f"/abs/{name}.onnx", "old.fp", "trouble", f"{name} can't be read."),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["net", HOSTILE, "naïve ✓ \ud800"])
def test_junit_is_valid_and_holds_every_artifact(name: str) -> None:
    text = as_junit(verdicts(name))
    xmlschema.XMLSchema(SCHEMAS / "junit.xsd").validate(text)
    suite = ElementTree.fromstring(text).find("testsuite")
    assert suite is not None
    assert [suite.get(key) for key in ("tests", "failures", "errors")] == ["3", "1", "1"]
    assert [[child.tag for child in case] for case in suite] == [["system-out"], ["failure"], ["error"]]


@pytest.mark.parametrize("name", ["net", HOSTILE])
def test_sarif_is_valid_and_holds_every_failure(name: str) -> None:
    told = json.loads(as_sarif(verdicts(name)))
    schema = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text("utf-8"))
    jsonschema.validators.validator_for(schema)(schema, format_checker=jsonschema.FormatChecker()).validate(told)
    results = told["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == ["affinity", "trouble"]
    known = {rule["id"] for rule in told["runs"][0]["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in results} <= known
    uris = [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results]
    assert uris[0].startswith("models/")
    assert uris[1].startswith("file:///abs/")
    assert not any(c in uri for uri in uris for c in ' <>"`\n')


def test_no_name_can_give_github_a_command() -> None:
    lines = as_github(verdicts(HOSTILE)).splitlines()
    assert [line.split(" ")[0].split("::")[1] for line in lines[:-1]] == ["error", "error", "warning"]
    assert all(line.count("::") == 2 for line in lines[:-1])
    assert lines[-1] == "1 as expected, 1 not as expected, 1 could not be compared"
    assert "%0A" in lines[0]


def test_no_name_can_give_markdown_markup() -> None:
    text = as_markdown(verdicts(HOSTILE))
    table = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    bars = [line.replace("\\|", "").count("|") for line in table]
    assert len(set(bars)) == 1
    assert "<script>" not in text
    assert "@team" not in text
    assert "**0.5**" in text


def test_json_is_the_schema_of_check() -> None:
    told: dict[str, Any] = json.loads(FORMATS["json"](verdicts()))
    assert told["schema"] == "onnxspace/check/1"
    assert [one["outcome"] for one in told["verdicts"]] == ["same", "different", "trouble"]
    assert told["verdicts"][1]["findings"][0]["words"] == ("mean cosine of attribution maps: 0.5, must be at least 0.98")
    assert told["verdicts"][1]["images"] == [{"index": 3, "name": "image 3", "cosine": 0.1}]


@pytest.mark.parametrize("value", [0.97999999, 0.979, 0.98000001])
def test_a_value_and_its_limit_never_look_alike(value: float) -> None:
    kept = value >= 0.98
    finding = Finding("affinity", value, 0.98, kept, False, 0.97, 0.99)
    found = Verdict(
        "net", "net.onnx", "old.fp", "same" if kept else "different", measures={"affinity": value}, findings=(finding,)
    )
    line = next(line for line in checktext.verdicts([found]) if "affinity" in line)
    assert f" {value:.8g}  (must be at least 0.98 (on other images 0.97 to 0.99))" in line
    assert ("!" in line) == (not kept)
    assert f"{value:.8g}" in as_markdown([found])
