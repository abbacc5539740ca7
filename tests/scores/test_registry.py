"""The registry of scores: what it says is so, its page is written from it, and others can add to it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from onnxspace import scores
from onnxspace.errors import ConfigError
from onnxspace.scores import registry
from onnxspace.scores.page import render_page
from onnxspace.scores.registry import SCORES, ScoreSpec, find_spec, score_names
from tests.helpers.paths import REPOSITORY

MINE = ScoreSpec("the mean", "nobody, 2020", "features", lambda features, labels: float(np.mean(features)), "any")
BROKEN = 1


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    points = [
        EntryPoint("mine", "tests.scores.test_registry:MINE", registry.GROUP),
        EntryPoint("sfda", "tests.scores.test_registry:MINE", registry.GROUP),
        EntryPoint("broken", "tests.scores.test_registry:BROKEN", registry.GROUP),
        EntryPoint("absent", "tests.no_such_module:SPEC", registry.GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else [])
    registry._plugins.cache_clear()
    yield
    registry._plugins.cache_clear()


@pytest.mark.parametrize("name", list(SCORES))
def test_each_score_is_what_its_entry_says(name: str) -> None:
    one = find_spec(name)
    function = one.load()
    assert function is getattr(scores, name)
    parameters = list(inspect.signature(function).parameters)
    first = {"features": "features", "probabilities": "probabilities", "source labels": "source_labels"}
    if one.needs == "pair":
        expected = [*one.arrays] if one.directed else [f"{array}_{model}" for array in one.arrays for model in "ab"]
        assert not one.labels
    else:
        expected = [first[one.needs], "labels"]
        assert "classes" in one.labels
    assert parameters[: len(expected)] == expected
    assert len(inspect.getdoc(function) or "") > 60


@pytest.mark.parametrize("name", [name for name, one in SCORES.items() if one.needs == "features"])
def test_kinds_of_labels_are_those_that_are_taken(name: str) -> None:
    features = np.random.default_rng(0).standard_normal((40, 5))
    given = {"classes": np.arange(40) % 2, "multilabel": features[:, :2] > 0, "regression": features[:, 0]}
    for kind, labels in given.items():
        if kind in SCORES[name].labels:
            assert np.isfinite(SCORES[name].load()(features, labels))
        else:
            with pytest.raises(ConfigError):
                SCORES[name].load()(features, labels)


def test_the_page_of_scores_is_the_registrys() -> None:
    assert (REPOSITORY / "docs/scores.md").read_text("utf-8") == render_page()


def test_public_names_load_once_and_are_the_functions() -> None:
    for name in scores.__all__:
        assert getattr(scores, name) is getattr(scores, name)
        assert callable(getattr(scores, name))
    assert set(SCORES) <= set(scores.__all__) == set(dir(scores))
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = scores.nothing_such


@pytest.mark.process
def test_the_registry_loads_nothing_heavy() -> None:
    heavy = ("numpy", "scipy", "sklearn", "torch")
    code = f"import sys, onnxspace.scores.registry as r, onnxspace.scores.page as p; r.score_names(); p.render_page(); print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("plugins")
def test_others_add_scores_but_take_no_name_away() -> None:
    assert score_names() == (*SCORES, "absent", "broken", "mine")
    assert find_spec("mine").load()(np.ones((3, 2)), np.arange(3)) == 1
    assert find_spec("sfda") is SCORES["sfda"]


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("name", "words"),
    [("broken", "which is not an"), ("absent", "can.t be loaded"), ("never", "there is no score .never.; did you mean")],
)
def test_what_is_no_score_gets_a_sentence(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        find_spec(name)
