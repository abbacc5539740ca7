"""Docstrings of public functions: arguments, what is raised, an example; and every one is on the site."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import onnxspace as ox
from docs.hooks.examples import fence_examples
from onnxspace import evaluation, scores
from onnxspace.scores.finetuned import FineTuneRanking
from onnxspace.similarity.certainty import Certainty
from onnxspace.similarity.ranking import Ranking
from tests.helpers.paths import REPOSITORY

MODULES = {"onnxspace": ox, "onnxspace.scores": scores, "onnxspace.evaluation": evaluation}
#: Classes of what public functions return, whose methods are public too.
RESULTS = (Ranking, Certainty, FineTuneRanking)
#: They raise nothing that a caller would handle.
HARMLESS = {"to_csv", "rankings_csv", "to_dict", "rank_of", "margins", "negated", "transposed", "grid", "file_input", "fingerprint", "describe", "rows", "restore_order", "clean"}  # fmt: skip
INHERITED = re.compile(r"arguments\s+are\s+(as\s+in|those\s+of)\s+`", re.I)


def list_public() -> Iterator[tuple[str, Callable[..., Any]]]:
    classes: list[type] = list(RESULTS)
    for module in MODULES.values():
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found):
                classes.append(found)
            elif inspect.isfunction(found):
                yield name, found
    for one in classes:
        for name, member in vars(one).items():
            if (not name.startswith("_") and isinstance(member, classmethod | staticmethod)) or (
                inspect.isfunction(member) and not name.startswith("_")
            ):
                yield f"{one.__name__}.{name}", getattr(one, name)


PUBLIC = dict(list_public())


@pytest.mark.parametrize("name", PUBLIC)
def test_each_names_its_arguments_errors_and_an_example(name: str) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    given = [one for one in inspect.signature(PUBLIC[name]).parameters if one not in ("self", "cls")]
    assert INHERITED.search(text) or [one for one in given if f"`{one}`" not in text] == []
    assert name.split(".")[-1] in HARMLESS or re.search(r"\b[Rr]aise", text)
    assert name in ("Ranking.rows", "Prepared.restore_order") or ">>> " in text


def test_each_is_on_the_site() -> None:
    page = (REPOSITORY / "docs/python.md").read_text("utf-8")
    shown = {line.split(".")[-1] for line in re.findall(r"^::: (\S+)$", page, re.M)}
    missing = {name.split(".")[0] for name in PUBLIC} - shown
    assert missing == set()
    for path in re.findall(r"^::: (\S+)$", page, re.M):
        file = Path(*path.split(".")[: -1 if path != "onnxspace.errors" else None]).with_suffix(".py")
        assert (REPOSITORY / file).is_file(), path


def test_examples_become_blocks() -> None:
    text = "Adds.\n\n>>> add(1)  # doctest: +SKIP\n1\n\nMore."
    assert fence_examples(text) == "Adds.\n\n```python\n>>> add(1)\n1\n```\n\nMore."
    for function in PUBLIC.values():
        fenced = fence_examples(inspect.getdoc(function) or "")
        assert "doctest:" not in fenced
        assert re.sub(r"```python\n.*?```", "", fenced, flags=re.S).count(">>>") == 0
