"""The table that README shows of the study: `python -m models.minitaskonomy.page.readme_table` prints it, and a test holds README to it."""

from __future__ import annotations

from models.minitaskonomy.page.results import Measurement, Results
from models.minitaskonomy.zoo import MODELS

MEASURES = ("P@1", "P@3", "tau")
#: What a line says, and where its numbers are: score, options, probe images (any where there is one set).
LINES = (
    ("a random order", "random", "", None),
    ("`score --by predictivity` on 64 generated images", "default", "", None),
    ("… its affinity of maps (`elrp`)", "default maps", "", None),
    ("the static baseline: sources that did well elsewhere", "static baseline", "", None),
    ("… with `--probe` pictures like the target's", "predictivity", "", "rooms"),
    ("… `--by attribution`", "elrp", "", "rooms"),
    ("… `--method saliency`", "saliency", "", "rooms"),
    ("… `--by depara`", "depara", "λ 0.25", "rooms"),
    ("… `--by cka`", "cka", "", "rooms"),
    ("… `--by svcca`", "svcca", "", "rooms"),
    ("… `--by rsa`", "rsa", "", "rooms"),
    ("a linear probe on 200 labelled pictures", "linear_probe", "", "transfer"),
    ("the oracle of one seed, for that of the others", "oracle of one seed", "", None),
)  # fmt: skip


def format_table(found: Results) -> str:
    """Markdown; means over targets with 95 % intervals. Raises KeyError where the study's tables lack a line."""
    head = ["sources for 20 tasks, ranked by", "P@1", "P@3", "weighted τ"]
    rows = [head, ["---"] * len(head), *([words, *_format_cells(found, *where)] for words, *where in LINES)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _format_cells(found: Results, score: str, options: str, probe: str | None) -> list[str]:
    one = found.last(score, options, probe)
    if one is None:
        raise KeyError(f"measures.csv has no {score!r} with {options!r} on {probe}")
    return [_format_cell(one, measure) for measure in MEASURES]


def _format_cell(one: Measurement, measure: str) -> str:
    return f"{one.mean[measure]:.2f} [{one.low[measure]:.2f}, {one.high[measure]:.2f}]"


if __name__ == "__main__":
    print(format_table(Results(MODELS)))
