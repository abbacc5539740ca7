"""docs/pixels.md: its summary is that of its tables, its families are in one set each, and the files that are here say the same."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter, defaultdict

import pytest

from onnxspace.inputs.pixel_presets import PRESETS
from onnxspace.model.model import open_model
from onnxspace.model.pixel_evidence import MARGIN_STORED, infer_pixels
from onnxspace.model.pixel_images import CANDIDATES
from tests.helpers.paths import REPOSITORY

PAGE = (REPOSITORY / "docs/pixels.md").read_text("utf-8")
KINDS = {"stored": "stored statistics", "layers": "first layers"}


def table(name: str) -> list[list[str]]:
    """The rows of a table of the page, without its head."""
    lines = PAGE.split(f"<!-- {name} -->\n")[1].split(f"<!-- end of {name} -->")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def truths() -> list[dict[str, str]]:
    with (REPOSITORY / "benchmarks/data/pixels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_no_family_is_in_both_sets() -> None:
    sets = defaultdict(set)
    for row in truths():
        sets[row["family"]].add(row["set"])
        assert row["preset"] in PRESETS
        assert row["source"]
    assert all(len(parts) == 1 for parts in sets.values())
    assert len({row["sha256"] for row in truths()}) == len(truths())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["chosen", "judged"])
def test_summary_counts_the_rows(kind: str, part: str) -> None:
    rows = [row for row in table(kind) if row[2] == part]
    verdicts = Counter(row[7] for row in rows)
    best = sum(row[3] == row[4] for row in rows)
    (summary,) = (row for row in table("summary") if row[:2] == [KINDS[kind], part])
    expected = [len(rows), len({row[1] for row in rows}), *(verdicts[word] for word in ("right", "wrong", "abstained"))]
    assert summary[2:7] == [str(number) for number in expected]
    assert summary[8].startswith(f"{best / len(rows):.2f} ")


def test_evidence_is_adopted_where_it_is_right_in_nine_of_ten() -> None:
    (judged,) = (row for row in table("summary") if row[:2] == [KINDS["stored"], "judged"])
    assert float(judged[7].split(" ")[0]) >= 0.9
    assert f"lower than any other by {MARGIN_STORED:.2f}".replace("0.", ".") in PAGE


def test_candidates_are_listed() -> None:
    paragraph = re.search(r"^Candidates are .*$", PAGE, re.M)
    assert paragraph is not None
    assert all(f"`{name}`" in paragraph[0] for name in CANDIDATES)


@pytest.mark.parametrize("name", ["shapes-jax.onnx", "texture-torch.onnx", "digits-torch.onnx"])
def test_files_that_are_here_say_the_same(name: str) -> None:
    path = REPOSITORY / "models" / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() in {row["sha256"] for row in truths()}
    (row,) = (row for kind in KINDS for row in table(kind) if row[0] == f"`{name}`")
    found = infer_pixels(open_model(path))
    assert found is not None
    assert row[5].startswith(found.preset)
    assert float(row[5].split("(")[1].rstrip(")")) == pytest.approx(found.scores[found.preset], abs=0.02)
    assert found.sure is (row[7] != "abstained")
