"""docs/faithfulness.md has the defaults and settings of the code, and its tables all methods and networks."""

from __future__ import annotations

import re

import pytest

from benchmarks import faithfulness as benchmark
from onnxspace.evaluation.faithfulness.chance import CHANCE
from onnxspace.evaluation.faithfulness.randomisation import UNCHANGED
from onnxspace.evaluation.faithfulness.result import FEW_IMAGES
from onnxspace.inputs.faithfulness import MEASURES, FaithfulnessSettings
from tests.helpers.paths import REPOSITORY

PAGE = (REPOSITORY / "docs/faithfulness.md").read_text("utf-8")


def read_table(name: str) -> list[list[str]]:
    """The rows of a table that the benchmark writes, with its heading."""
    (text,) = re.findall(rf"<!-- {name}: written by .* -->\n(.*?)<!-- end of {name} -->", PAGE, re.S)
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_page_states_the_defaults() -> None:
    own = FaithfulnessSettings()
    for words in (
        f"K is {own.steps},", f"over {own.perturbations} squares", f"for {own.draws} images y", f"by {own.radius:.0%}".replace("%", " %"),
        f"in {own.stages} steps", f"`tolerance` ({own.tolerance} here)", f"correlation of {str(UNCHANGED).lstrip('0')} or more",
    ):  # fmt: skip
        assert words in PAGE, words
    assert FEW_IMAGES == 10
    assert "for ten images or more" in PAGE
    costs = 1 + own.draws + own.stages
    assert costs == 10
    assert "costs its maps ten times" in PAGE


def test_page_states_the_settings_of_its_tables() -> None:
    settings, options = benchmark.SETTINGS, benchmark.OPTIONS
    for words in (
        f"{benchmark.IMAGES} scenes like those",
        f"{settings.steps} steps, {settings.perturbations} squares, {settings.draws} neighbour, {settings.stages} steps",
        f"with {options.steps} steps, `smoothgrad` with {options.samples} samples, `unit-saliency` with {options.units} units",
    ):
        assert words in PAGE, words


@pytest.mark.parametrize(
    ("name", "question"), [("means", "encoder"), ("timm", "encoder"), ("classes", "class"), ("timm-class", "class")]
)
def test_tables_have_all_methods_and_what_was_measured(name: str, question: str) -> None:
    head, _, *rows = read_table(name)
    measures = [cell.split()[0] for cell in head[1:]]
    assert measures == [one for one in MEASURES if one in measures]
    assert set(MEASURES) - set(measures) <= {"pointing", "mass", "ranks"}
    assert [row[0] for row in rows] == [*benchmark.list_methods(question), *CHANCE]
    assert all(row[1] != "–" for row in rows)


def test_table_of_networks_has_each_of_models_and_one_of_timm() -> None:
    _, _, *rows = read_table("networks")
    assert [row[0] for row in rows] == [*sorted(path.stem for path in (REPOSITORY / "models").glob("*.onnx")), benchmark.TIMM]
