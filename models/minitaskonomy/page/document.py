"""docs/minitaskonomy.md, from the study's tables alone: nothing is computed anew but means, curves and trees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.minitaskonomy.page import curves, figures, style
from models.minitaskonomy.page.oracles import write_finetuned, write_oracle
from models.minitaskonomy.page.overview import PUBLISHED, write_choice, write_opening, write_overview
from models.minitaskonomy.page.results import Key, Measurement, Results
from models.minitaskonomy.page.sections import (
    write_architectures,
    write_changes,
    write_images,
    write_kin,
    write_labels,
    write_methods,
    write_others,
    write_setup,
)
from models.minitaskonomy.page.trees import choose_trees, has_values
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT
from models.minitaskonomy.study.score_matrix import LABEL_FREE
from models.minitaskonomy.zoo import MODELS

DOCS = MODELS.parent.parent / "docs"


def write_page(results: Path = MODELS, docs: Path = DOCS, rooms: Any = None) -> None:
    """Write the page and its pictures from the tables in `results`.

    `rooms`, an opened split, is for the picture of rooms; without it that picture stays as it is.
    """
    found = Results(results)
    docs.mkdir(parents=True, exist_ok=True)
    _draw_figures(found, docs, rooms)
    partial = docs / ".minitaskonomy.md.partial"
    partial.write_text(compose_text(found, docs), encoding="utf-8")
    partial.replace(docs / "minitaskonomy.md")


def compose_text(found: Results, docs: Path) -> str:
    """The page in Markdown; it shows the picture of rooms if `docs` has it."""
    return "\n\n".join(part for part in _write_parts(found, docs) if part) + "\n"


def _draw_figures(found: Results, docs: Path, rooms: Any) -> None:
    if rooms is not None:
        figures.draw_rooms(rooms, docs / "minitaskonomy-rooms.png")
    figures.draw_oracle(found, docs / "minitaskonomy-oracle.png")
    curves.draw_curves(found, _choose_panels(found), docs / "minitaskonomy-precision.png")
    best = _select_winners(found)
    shown = [
        ("elrp", ""),
        ("gradient-x-input", ""),
        ("saliency", ""),
        ("cka", ""),
        ("rsa", ""),
        ("dds", ""),
        ("predictivity", ""),
    ]
    shown += [(one.score, one.options) for one in best[:2] if (one.score, one.options) not in shown]
    curves.draw_by_images(found, shown, docs / "minitaskonomy-images.png")
    curves.draw_by_weight(found, docs / "minitaskonomy-lambda.png")
    curves.draw_fingerprints(found, docs / "minitaskonomy-fingerprints.png")
    figures.draw_trees(found, list(choose_trees(found).items()), docs / "minitaskonomy-trees.png")


def _select_winners(found: Results) -> list[Measurement]:
    """The best of each kind that looks at two models, of those whose values are kept: maps, features, both, prediction."""
    some = [found.best([kind]) for kind in LABEL_FREE]
    return [one for one in some if one is not None]


def _choose_panels(found: Results) -> list[tuple[str, list[tuple[str, Key]]]]:
    probe = found.probes[0]
    published = [(words.replace("`", ""), found.last(score, options, probe)) for score, options, words in PUBLISHED]
    left = [(words, found.key(one)) for words, one in published if one is not None and has_values(found, one)]
    default = found.last(DEFAULT)
    lines = [("default: predictivity, 64 generated", default), ("default maps: elrp, 64 generated", found.last(AFFINITY))]
    lines += [("mean rank elsewhere (static baseline)", found.last("static baseline"))]
    lines += [(style.format_name(one), one) for one in _select_winners(found)]
    lines += [("linear_probe, 200 labelled rooms", found.last("linear_probe"))]
    right = [(words, found.key(one)) for words, one in lines if one is not None and has_values(found, one)]
    return [(f"published scores, {probe}", left), ("the default, the best of each kind, baselines", right)]


def _write_parts(found: Results, docs: Path) -> Iterator[str]:
    yield write_opening(found, docs)
    yield write_oracle(found)
    yield write_finetuned(found)
    yield write_overview(found)
    yield write_choice(found)
    yield write_methods(found)
    yield write_changes(found)
    yield write_images(found)
    yield write_others(found)
    yield write_labels(found)
    yield write_kin(found)
    yield write_architectures(found)
    yield write_setup(found)
