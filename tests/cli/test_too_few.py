"""Runs of `onnxspace score` of which fewer than two models are left: they end before anything is computed, and say why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import onnxspace as ox
from onnxspace.errors import ModelError, ModelNotFoundError
from onnxspace.workflows import score_plan
from onnxspace.workflows.fingerprint_file import fingerprint_file
from onnxspace.workflows.session import ModelSession
from tests.helpers.sentences import Cli

SMALL = ("--images", "2")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of files that are computed from now on."""
    seen: list[str] = []
    write = ModelSession.write

    def noted(self: ModelSession, kind: Any, *rest: Any) -> Any:
        seen.append(kind)
        return write(self, kind, *rest)

    monkeypatch.setattr(ModelSession, "write", noted)
    return seen


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing start or read pictures."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("it began")

    monkeypatch.setattr("onnxspace.workflows.session.start_workers", refuse)
    monkeypatch.setattr(score_plan, "read_prints", refuse)


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--by", "cka"), ("--probe", "photos")])
def test_missing_files_are_named_before_anything_starts(
    cli: Cli, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch)
    found = cli("score", "elsewhere.onnx", "good.onnx", *more)
    assert found.code == 2
    assert found.out == ""
    assert found.err.startswith("onnxspace: elsewhere.onnx: no such file")
    assert found.err.endswith(" Without it, only good.onnx is left, and there is nothing to compare it with.\n")


def test_a_missing_file_among_enough_others_is_listed(cli: Cli, computed: list[str]) -> None:
    found = cli("score", "missing.onnx", "good.onnx", "fine.onnx", *SMALL, "--json", "--quiet")
    assert found.code == 2
    facts = json.loads(found.out)
    assert [one["name"] for one in facts["models"]] == ["good", "fine"]
    assert [one["path"] for one in facts["failed"]] == ["missing.onnx"]
    assert computed == ["maps", "maps"]


@pytest.mark.parametrize("by", ["attribution", "cka"])
def test_nothing_is_computed_of_the_only_model_that_is_left(cli: Cli, computed: list[str], by: str) -> None:
    Path("bad.onnx").write_bytes(b"no model")
    found = cli("score", "bad.onnx", "good.onnx", *SMALL, "--json", "--by", by, "--output", "result")
    assert found.code == 2
    assert "bad.onnx" in found.err
    facts = json.loads(found.out)
    assert ([one["name"] for one in facts["models"]], [one["path"] for one in facts["failed"]]) == (["good"], ["bad.onnx"])
    assert facts.get("affinity") in (None, [[1.0]])
    assert computed == []
    assert not Path("result").exists()


def test_a_fingerprint_counts_where_it_can_be_compared(cli: Cli, computed: list[str]) -> None:
    fingerprint_file("fine.onnx", "fine.fp", ox.Probes.generate(2))
    fingerprint_file("fine.onnx", "other.fp", ox.Probes.generate(3))
    computed.clear()
    assert cli("score", "good.onnx", "other.fp", *SMALL).code == 2
    assert computed == []
    assert cli("score", "good.onnx", "fine.fp", *SMALL).code == 0
    assert computed == ["maps"]


def test_an_estimate_of_too_few_models_says_so(cli: Cli, computed: list[str]) -> None:
    Path("bad.onnx").write_bytes(b"no model")
    Path("worse.onnx").write_bytes(b"")
    for models in (("bad.onnx", "worse.onnx"), ("bad.onnx", "good.onnx")):
        found = cli("score", *models, "--dry-run", "--quiet")
        assert found.code == 2
        assert found.out == "Fewer than two models are left, so there is nothing to compare and nothing to estimate.\n"
        assert all(f"onnxspace: {name}" in found.err for name in models if name != "good.onnx")
    assert computed == []


def test_python_raises_where_no_model_is_left(cli: Cli) -> None:
    Path("bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelNotFoundError, match=r"^nope\.onnx: no such file"):
        ox.score(["nope.onnx"])
    with pytest.raises(ModelError, match=r"^bad\.onnx is not an ONNX file"):
        ox.score(["bad.onnx"], ox.Probes.generate(2))
    found = ox.score(["bad.onnx", "good.onnx"], ox.Probes.generate(2))
    assert (found.names, [one.path for one in found.failed]) == (("good",), ["bad.onnx"])


def test_a_fingerprint_that_lacks_what_a_score_takes_is_named(cli: Cli) -> None:
    fingerprint_file("fine.onnx", "fine.fp", ox.Probes.generate(4))
    found = cli("score", "good.onnx", "fine.fp", "--images", "4", "--by", "cka", "--quiet")
    assert found.code == 2
    assert "No pair of models has a value of cka: fine.fp holds maps only; onnxspace fingerprint --detail" in found.err
