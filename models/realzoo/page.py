"""The part of docs/ranking.md that says what the zoo is, from its tables alone."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.realzoo.packages import PACKAGES
from models.realzoo.study import KINDS, Truth, format_judgements, judge_file, judge_references
from models.realzoo.truth import FINE_TUNING, READ, SEEDS
from onnxspace.storage.atomic import whole_file

BEGIN, END = "<!-- realzoo: written by `python -m models.realzoo run page` -->", "<!-- end of realzoo -->"


def write_section(folder: Path, page: Path) -> None:
    """Put the section between its marks in `page`, behind its end where they are not there yet."""
    text = page.read_text("utf-8") if page.exists() else "# Rankings on zoos with known transfers\n"
    section = f"{BEGIN}\n{format_section(folder)}{END}\n"
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        text = before + section + rest.partition(f"{END}\n")[2]
    else:
        text = f"{text.rstrip()}\n\n{section}"
    with whole_file(page) as partial:
        partial.write_text(text, "utf-8")


def format_section(folder: Path) -> str:
    """The section's text, from manifest.json, targets.csv and truth.csv of `folder`."""
    sources = json.loads((folder / "manifest.json").read_text("utf-8"))["sources"]
    with (folder / "targets.csv").open(newline="", encoding="utf-8") as stream:
        targets = list(csv.DictReader(stream))
    truth = Truth.read(folder / "truth.csv")
    parts = (
        _introduce(sources, targets), _list_targets(targets, truth), _list_sources(sources, truth),
        _describe_truth(truth, folder / "rankings"), _list_packages(),
    )  # fmt: skip
    return "\n".join(parts)


def _introduce(sources: Sequence[dict[str, Any]], targets: Sequence[dict[str, str]]) -> str:
    families = Counter(one["family"] for one in sources)
    trainings = Counter(one["training"] for one in sources)
    sizes = [one["parameters"] for one in sources]
    real = sum(one["real"] == "real" for one in targets)
    return (
        "## The zoo of real images\n\n"
        f"`models/realzoo` holds {len(sources)} networks of four architectures "
        f"({', '.join(f'{count} {name}' for name, count in families.items())}), {min(sizes) / 1000:.0f}–{max(sizes) / 1000:.0f} "
        f"thousand parameters, 32 × 32 pixels, and {len(targets)} targets, {real} of real images. {trainings['well']} sources are "
        f"trained well, {trainings['barely']} barely, {trainings['shuffled labels']} on shuffled labels, {trainings['none']} not at "
        "all. They take their images in four ways (unit, symmetric, ImageNet, bytes) and come from three exporters, all of which "
        "merged batch normalisation into the convolutions. A target has 300 labelled images and at least 500 others to judge by; "
        "images of one typeface, place or emoji are in one part only, and what sources learn from is disjoint from both.\n"
    )


def _list_targets(targets: Sequence[dict[str, str]], truth: Truth) -> str:
    """Accuracy of the target's own network and of the transfers: best, median and worst source."""
    rows = []
    for one in targets:
        at = truth.targets.index(one["target"])
        spans = [" / ".join(f"{v:.2f}" for v in np.nanquantile(truth.mean(kind)[at], (1, 0.5, 0))) for kind in KINDS]
        rows.append(
            (
                one["target"], one["about"], one["real"], one["classes"], one["test"], f"{float(one['accuracy']):.2f}", *spans,
                one["chance"], one["packages"], one["licence"],
            )
        )  # fmt: skip
    head = (
        "target", "what", "images", "classes", "test images", "from scratch", "fine-tuned: best / median / worst",
        "frozen: best / median / worst", "chance", "from", "licence",
    )  # fmt: skip
    return "### Targets\n\n" + _format_table(head, rows)


def _list_sources(sources: Sequence[dict[str, Any]], truth: Truth) -> str:
    rows = []
    for one in sources:
        at = truth.sources.index(one["name"])
        means = [f"{np.nanmean(truth.mean(kind)[:, at]):.3f}" for kind in KINDS]
        accuracy = f"{one['accuracy']:.3f} ({one['chance']:.3f})"
        rows.append(
            (
                f"`{one['name']}`", one["training"], str(one["parameters"]), str(one["features"]), one["exporter"], one["layout"],
                accuracy, *means,
            )
        )  # fmt: skip
    head = (
        "source", "trained", "parameters", "features", "exporter", "layout", "own accuracy (chance)", "mean fine-tuned", "mean frozen",
    )  # fmt: skip
    return "### Sources\n\nNames are task and architecture.\n\n" + _format_table(head, rows)


def _describe_truth(truth: Truth, rankings: Path) -> str:
    schedule = FINE_TUNING
    judged = [one for file in sorted(rankings.glob("*.csv")) for one in judge_file(file, truth)]
    return (
        "### Truth\n\n"
        f"*Fine-tuned*: the original network of PyTorch, all layers, batch normalisation live, a new head, {schedule.epochs} epochs "
        f"of AdamW at {schedule.rate:g} in batches of {schedule.batch} of the 300 images, shifted by up to {schedule.shift} pixels; "
        "the rate was chosen on two tasks that are no targets: of 0.001, 0.003, 0.006 and 0.01 the mean accuracies there were "
        ".351, .416, .432 and .460, but 0.01 was the worst of the last three for the network without normalisation that was looked "
        "at. It is a short schedule: the target's own network, from scratch, had 40 epochs, and is ahead of every transfer where "
        "that matters (letters, styles, surfaces, light). "
        f"*Frozen*: logistic regression on the encoder's features of {READ} of the 300 images, its penalty by three folds. "
        f"Each {len(SEEDS)} times, accuracy on the test images. Sources of the target's own task are left out. Kendall's τ, P@3 "
        "against the five best, regret of the first in points of accuracy; means over targets with 95 % intervals (bootstrap over "
        "targets). `labels` is the default of `transfer`, `pictures mean_rank` that of `score --probe`, `finetune` and `finetune "
        "answers` are `--by finetune` with labels and without, at the cost of 3 of 9 epochs on three quarters of the images; "
        "`generated` is `score` without pictures, which ranks nothing. Written by `python -m models.realzoo rank`.\n\n"
        + format_judgements([*judge_references(truth), *judged])
    )


def _list_packages() -> str:
    rows = [(f"{one.kind} {one.name}", one.version, one.licence) for one in PACKAGES.values()]
    return (
        "### Packages and licences\n\nThe images are made from published packages by `python -m models.realzoo run data` and are "
        "not in the repository. The networks are Apache-2.0.\n\n" + _format_table(("package", "version", "licence"), rows)
    )


def _format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))
