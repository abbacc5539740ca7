"""What `--json` prints has the schema that docs/json.md and docs/evaluation.md describe, and no key that they do not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from docs.hooks.schemas import PAGES, close, file_name, parse_type, read_schemas
from onnxspace.finetuning.race import Rung
from tests.helpers.commands import Run
from tests.helpers.paths import REPOSITORY

CLASSIFIERS = "abc"
SCHEMAS = read_schemas(REPOSITORY / "docs")
CLOSED = {name: close(schema) for name, schema in SCHEMAS.items()}
FEW = ("--images", "3", "--quiet", "--json")
PHOTOS = ("--probe", "labelled", "--quiet", "--json")
KNOWN = ("--known", "known.csv")


def list_faults(printed: str) -> list[str]:
    """Where an object has not the types of its schema, or keys that the schema does not list, at any depth."""
    found: dict[str, Any] = json.loads(printed)
    return [
        f"{found['schema']} {error.json_path}: {error.message[:200]}"
        for schemas in (SCHEMAS, CLOSED)
        for error in jsonschema.Draft202012Validator(schemas[found["schema"]]).iter_errors(found)
    ]


@pytest.fixture
def labelled(place: Path) -> Path:
    """Photos in two folders, and results on other datasets."""
    for number in range(12):
        (place / "labelled" / "xy"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(place / "labelled" / "xy"[number % 2] / f"{number}.png")
    (place / "known.csv").write_text("target,a,b,c\nd,.1,.2,.3\ne,.1,.3,.2\nf,.3,.2,.1\n")
    (place / "scores.csv").write_text("target,a,b,c\nd,.5,.2,.3\ne,.1,.3,.5\nf,.3,.2,.4\n")
    (place / "square.csv").write_text(",a,b,c\na,1,.2,.3\nb,.2,1,.3\nc,.3,.3,1\n")
    return place / "labelled"


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short fine-tuning."""
    monkeypatch.setattr("onnxspace.workflows.finetune.RUNGS", (Rung(1, 1.0), Rung(2, 0.5)))


def print_all(run: Run, lines: list[tuple[str, ...]]) -> set[str]:
    """Run the command lines; returns the schemas of what is printed."""
    found, faults = set(), []
    for line in lines:
        code, out, err = run(*line)
        if code not in (0, 1, 2) or ("--json" in line and not out.startswith("{")):
            faults.append(f"{line}: {code} {err}")
        elif "--json" in line:
            found.add(json.loads(out)["schema"])
            faults += [f"{line}: {fault}" for fault in list_faults(out)]
    assert faults == []
    return found


COMPARING: list[tuple[str, ...]] = [
    ("score", "a.onnx", "b.onnx", *FEW),
    ("score", "a.onnx", "b.onnx", "missing.onnx", "--method", "smoothgrad", "--samples", "2", *FEW),
    ("score", "a.onnx", "b.onnx", "missing.onnx", "--dry-run", *FEW),
    ("score", "a.onnx", "b.onnx", "--dry-run", "--output", "kept", *PHOTOS),
    ("score", "a.onnx", "b.onnx", "c.onnx", "--certainty", *KNOWN, *PHOTOS),
    ("score", "a.onnx", "b.onnx", "--certainty", "--by", "attribution", "--by", "cka", "--by", "depara", *PHOTOS),
    ("score", "a.onnx", "b.onnx", "--target", "a", "--by", "finetune", *PHOTOS),
    ("transfer", "a.onnx", "b.onnx", "c.onnx", "--data", "labelled", "--ensemble", "2", *KNOWN, "--quiet", "--json"),
    ("transfer", "a.onnx", "b.onnx", "missing.onnx", "--data", "labelled", "--by", "lfc", "--by", "leep", "--quiet", "--json"),
    ("transfer", "a.onnx", "b.onnx", "--data", "labelled", "--by", "finetune", *KNOWN, "--quiet", "--json"),
    ("layers", "a.onnx", "b.onnx", *FEW),
    ("layers", "a.onnx", "b.onnx", "--method", "gradient-x-input", "--baseline", "black", *FEW),
    ("layers", "a.onnx", "b.onnx", "--by", "cka", "--by", "predictivity", "--images", "4", "--quiet", "--json"),
    ("diff", "a.onnx", "b.onnx", *FEW),
    ("diff", "a.onnx", "a.onnx", *FEW),
    ("diff", "a.onnx", "--precision", "int8", "--images", "3", "--quiet", "--json"),
    ("inspect", "a.onnx", "--json"),
    ("inspect", "a.onnx", "--support", "--json"),
    ("explain", "a.onnx", "labelled/x/0.png", "labelled/y/1.png", "--faithfulness", "--quiet", "--json"),
    ("check", "a.onnx", "--against", "a.onnx", *FEW),
    ("check", "b.onnx", "missing.onnx", "--against", "a.onnx", *FEW),
    ("check", "b.onnx", "--against", "a.onnx", "--distinct", "--pictures", "drawn", *FEW),
    ("check", "a.onnx", "--against", "a.onnx", "--calibrate", *FEW),
    ("evaluate", "--predicted", "scores.csv", "--oracle", "known.csv", "--relevant", "1", "--json"),
    ("evaluate", "--predicted", "scores.csv", "--oracle", "known.csv", "--known", "known.csv", "--relevant", "1", "--json"),
    ("evaluate", "--predicted", "square.csv", "--oracle", "square.csv", "--relevant", "1", "--json"),
]  # fmt: skip
SPACES: list[tuple[str, ...]] = [
    ("space", "create", "s.space", "--images", "3"),
    ("space", "add", "s.space", "a.onnx", "b.onnx", "missing.onnx", "--license", "mit", "--tag", "x", "--quiet", "--json"),
    ("space", "add", "s.space", "a.onnx", "--quiet", "--json"),
    ("space", "create", "t.space", "--images", "3"),
    ("space", "add", "t.space", "a.onnx", "c.onnx", "--quiet"),
    ("space", "merge", "s.space", "t.space", "--json"),
    *(("space", name, "s.space", "--json") for name in ("list", "affinity", "rank", "tree", "duplicates", "verify")),
    ("space", "duplicates", "s.space", "--least", "-1", "--json"),
    ("space", "rank", "s.space", "--certainty", *KNOWN, "--json"),
    ("space", "nearest", "s.space", "a", "--json"),
    ("space", "index", "s.space", "--json"),
    ("space", "create", "p.space", "--probe", "labelled"),
    ("space", "add", "p.space", "a.onnx", "b.onnx", "c.onnx", "--quiet"),
    ("space", "rank", "p.space", "--certainty", *KNOWN, "--json"),
    ("space", "nearest", "p.space", "a", "--by", "use", "--json"),
    ("space", "probes", "p.space", "--add", "other", "--images", "3", "--json"),
    ("space", "add", "p.space", "a.onnx", "--quiet", "--json"),
    ("space", "rank", "p.space", "a", "--pictures", "labelled", "--quiet", "--json"),
    ("space", "verify", "p.space", "--json"),
]  # fmt: skip


@pytest.mark.usefixtures("_short", "labelled", "warm_children")
def test_objects_of_comparisons_are_described(run: Run) -> None:
    assert print_all(run, COMPARING) == {name for name in SCHEMAS if "/space-" not in name}


@pytest.mark.usefixtures("labelled")
def test_objects_of_spaces_are_described(run: Run, place: Path) -> None:
    found = print_all(run, SPACES)
    next((place / "p.space" / "maps").iterdir()).unlink()
    code, out, _ = run("space", "verify", "p.space", "--json")
    assert (code, json.loads(out)["clean"]) == (1, False)
    assert list_faults(out) == []
    assert found == {name for name in SCHEMAS if "/space-" in name}


def test_schemas_are_files_of_the_site() -> None:
    assert file_name("onnxspace/space-list/1") == "schemas/space-list-1.json"
    for schema in (*SCHEMAS.values(), *CLOSED.values()):
        jsonschema.Draft202012Validator.check_schema(schema)


def test_schemas_refuse_what_is_missing_or_of_another_type() -> None:
    model = {
        **dict.fromkeys(("name", "path", "sha256", "encoder", "input", "producer"), "a"), "opset": 17, "assumed": [], "pixels": None,
    }  # fmt: skip
    probe = {"name": "photos", "images": 3, "size": 32, "sha256": "0"}
    found: dict[str, Any] = {
        "schema": "onnxspace/space-affinity/1",
        "method": "elrp",
        "options": {},
        "probe": probe,
        "models": [model],
        "errors": [[0]],
    }
    schema = CLOSED["onnxspace/space-affinity/1"]
    with pytest.raises(jsonschema.ValidationError, match="'affinity' is a required property"):
        jsonschema.validate(found, schema)
    jsonschema.validate({**found, "affinity": [[1.0]]}, schema)
    for wrong in (
        {"affinity": [1.0]},
        {"affinity": [[None]]},
        {"models": [{**model, "opset": "17"}]},
        {"models": [{**model, "more": 1}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**found, "affinity": [[1.0]], **wrong}, schema)
    jsonschema.validate({**found, "affinity": [[1.0]], "models": [{**model, "more": 1}]}, SCHEMAS["onnxspace/space-affinity/1"])


def test_types_bind_as_the_page_says() -> None:
    text, null = {"type": "string"}, {"type": "null"}
    assert parse_type("array of string or null") == {"type": "array", "items": {"anyOf": [text, null]}}
    assert parse_type("null or array of string") == {"anyOf": [null, {"type": "array", "items": text}]}
    assert parse_type("map of model") == {"type": "object", "additionalProperties": {"$ref": "#/$defs/model"}}


def test_every_object_of_the_pages_is_used() -> None:
    pages = "".join((REPOSITORY / "docs" / page).read_text("utf-8") for page in PAGES)
    described = set(re.findall(r"<!-- object: (\S+)", pages))
    used = {name for schema in SCHEMAS.values() for name in schema["$defs"]} | set(re.findall(r" extends (\S+) -->", pages))
    assert described == used - set(SCHEMAS)
