"""What `--json` prints has the schema that docs/json.md describes, and no key that it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from docs.hooks.schemas import PAGES, file_name, read_schemas
from tests.helpers.commands import Run
from tests.helpers.paths import REPOSITORY

CLASSIFIERS = "abc"
SCHEMAS = {
    name: schema for page in PAGES for name, schema in read_schemas((REPOSITORY / "docs" / page).read_text("utf-8")).items()
}
FEW = ("--images", "3", "--quiet", "--json")
#: Commands whose schema tests elsewhere compare with the page, or that need more than small networks.
ELSEWHERE = {"onnxspace/evaluate/1", "onnxspace/finetune/1", "onnxspace/space-index/1", "onnxspace/calibration/1"}


def assert_described(printed: str) -> str:
    """The name of the object's schema, which it has, with no other keys."""
    found: dict[str, Any] = json.loads(printed)
    schema = SCHEMAS[found["schema"]]
    jsonschema.validate(found, schema)
    assert set(found) <= set(schema["properties"])
    return str(found["schema"])


@pytest.fixture
def labelled(place: Path) -> Path:
    for number in range(12):
        (place / "labelled" / "xy"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(place / "labelled" / "xy"[number % 2] / f"{number}.png")
    return place / "labelled"


def test_every_object_is_described(run: Run, labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.checking.conftest import run_here

    monkeypatch.setattr("onnxspace.checking.observe.run_in_child", run_here)
    lines = [
        ("score", "a.onnx", "b.onnx", *FEW),
        ("score", "a.onnx", "b.onnx", "--probe", "labelled", "--certainty", "--by", "attribution", "--by", "cka", "--quiet", "--json"),
        ("transfer", "a.onnx", "b.onnx", "--data", "labelled", "--quiet", "--json"),
        ("layers", "a.onnx", "b.onnx", *FEW),
        ("diff", "a.onnx", "b.onnx", *FEW),
        ("inspect", "a.onnx", "--json"),
        ("check", "b.onnx", "--against", "a.onnx", *FEW),
        ("space", "create", "s.space", "--images", "3"),
        ("space", "add", "s.space", "a.onnx", "b.onnx", "--quiet", "--json"),
        ("space", "create", "t.space", "--images", "3"),
        ("space", "add", "t.space", "c.onnx", "--quiet"),
        ("space", "merge", "s.space", "t.space", "--json"),
        *(("space", name, "s.space", "--json") for name in ("list", "affinity", "rank", "tree", "duplicates", "verify")),
        ("space", "nearest", "s.space", "a", "--json"),
        ("space", "probes", "s.space", "--json"),
    ]  # fmt: skip
    seen = set()
    for line in lines:
        code, out, err = run(*line)
        assert code in (0, 1), err
        if "--json" in line:
            seen.add(assert_described(out))
    assert seen | ELSEWHERE == set(SCHEMAS)


def test_schemas_are_files_of_the_site() -> None:
    assert file_name("onnxspace/space-list/1") == "schemas/space-list-1.json"
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError, match="'affinity' is a required property"):
        jsonschema.validate(
            {"schema": "onnxspace/space-affinity/1"}
            | dict.fromkeys(("method",), "elrp")
            | {"options": {}, "probe": {}, "models": [], "errors": []},
            SCHEMAS["onnxspace/space-affinity/1"],
        )
