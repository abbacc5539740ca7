"""docs/minitaskonomy.md, from the study's tables alone: nothing is computed anew but means, curves and trees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.minitaskonomy.page import clustering, figures
from models.minitaskonomy.page.results import Key, Measurement, Results
from models.minitaskonomy.study.evaluation import MEASURES
from models.minitaskonomy.study.features import FIELD_IMAGES, FIELD_STEPS
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT, MAPS
from models.minitaskonomy.study.maps import CHANGES
from models.minitaskonomy.study.permutation import DEALS
from models.minitaskonomy.study.score_matrix import COMMON, LABEL_FREE
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import MODELS

DOCS = MODELS.parent.parent / "docs"
#: Published scores, with their names in tables: what each is compared by.
PUBLISHED = (
    ("elrp", "", "attribution, `elrp`"), ("gradient-x-input", "", "attribution, `gradient-x-input`"), ("saliency", "", "attribution, `saliency`"),
    ("depara", "λ 0.25", "`depara`, λ = 0.25"), ("rsa", "", "`rsa`"), ("svcca", "", "`svcca`"), ("cka", "", "`cka`"), ("dds", "", "`dds`"),
    ("modelgif", "", "`modelgif`"),
)  # fmt: skip
ALL = (*PUBLISHED, ("predictivity", "", "`predictivity`"))
SHOWN = ("P@1", "P@3", "P@5", "tau")
Row = Sequence[str]


def write_page(results: Path = MODELS, docs: Path = DOCS, rooms: Any = None) -> None:
    """Write the page and its pictures from the tables in `results`.

    `rooms`, an opened split, is for the picture of rooms; without it that picture stays as it is.
    """
    found = Results(results)
    docs.mkdir(parents=True, exist_ok=True)
    _draw_figures(found, docs, rooms)
    text = "\n\n".join(part for part in _write_parts(found, docs) if part)
    partial = docs / ".minitaskonomy.md.partial"
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(docs / "minitaskonomy.md")


def _draw_figures(found: Results, docs: Path, rooms: Any) -> None:
    if rooms is not None:
        figures.draw_rooms(rooms, docs / "minitaskonomy-rooms.png")
    figures.draw_oracle(found, docs / "minitaskonomy-oracle.png")
    figures.draw_curves(found, _choose_panels(found), docs / "minitaskonomy-precision.png")
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
    figures.draw_by_images(found, shown, docs / "minitaskonomy-images.png")
    figures.draw_by_weight(found, docs / "minitaskonomy-lambda.png")
    figures.draw_fingerprints(found, docs / "minitaskonomy-fingerprints.png")
    figures.draw_trees(found, list(choose_trees(found).items()), docs / "minitaskonomy-trees.png")


def _select_winners(found: Results) -> list[Measurement]:
    """The best of each kind that looks at two models, of those whose values are kept: maps, features, both, prediction."""
    some = [found.best([kind]) for kind in LABEL_FREE]
    return [one for one in some if one is not None]


def _has_values(found: Results, one: Measurement | None) -> bool:
    return one is not None and found.key(one) in found.values


def _choose_panels(found: Results) -> list[tuple[str, list[tuple[str, Key]]]]:
    probe = found.probes[0]
    published = [(words.replace("`", ""), found.last(score, options, probe)) for score, options, words in PUBLISHED]
    left = [(words, found.key(one)) for words, one in published if one is not None and _has_values(found, one)]
    default = found.last(DEFAULT)
    lines = [("default: predictivity, 64 generated", default), ("default maps: elrp, 64 generated", found.last(AFFINITY))]
    lines += [("mean rank elsewhere (static baseline)", found.last("static baseline"))]
    lines += [(figures.format_name(one), one) for one in _select_winners(found)]
    lines += [("linear_probe, 200 labelled rooms", found.last("linear_probe"))]
    right = [(words, found.key(one)) for words, one in lines if one is not None and _has_values(found, one)]
    return [(f"published scores, {probe}", left), ("the default, the best of each kind, baselines", right)]


def choose_trees(found: Results) -> dict[str, Any]:
    """Square matrices of the main group: the oracle, the default, the best maps and the best of all, where kept."""
    main = found.main
    made = {"oracle": found.oracle.mean[:, main]}
    chosen = [
        ("default maps", found.last(AFFINITY)),
        ("best maps", found.best(["maps"])),
        ("best of two models", found.best(["maps", "features", "both"])),
    ]
    for title, one in chosen:
        if one is not None and _has_values(found, one):
            values = found.values[found.key(one)][:, main]
            if not any(np.array_equal(values, other, equal_nan=True) for other in made.values()):
                made[title] = values
    return {title: np.where(np.eye(len(values), dtype=bool), 1.0, values) for title, values in made.items()}


def _write_parts(found: Results, docs: Path) -> Iterator[str]:
    yield write_opening(found, docs)
    yield write_oracle(found)
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


def write_opening(found: Results, docs: Path) -> str:
    count, more = len(found.targets), len(found.sources) - len(found.targets)
    rooms = (
        "\n\n![A few rooms with the labels of all tasks](minitaskonomy-rooms.png)"
        if (docs / "minitaskonomy-rooms.png").exists()
        else ""
    )
    others = f", and {more} of other architectures for a few of the tasks" if more else ""
    return f"""# Mini-Taskonomy

Which score predicts transfer, where the truth is known? Rendered rooms with exact labels for {count} tasks, a small network trained for each{others}, and **every** transfer between them done and measured: the oracle. Against it stand all of this tool's scores, and what might improve them. The page and its pictures are written by `python -m models.minitaskonomy page` from the tables in [models/minitaskonomy](../models/minitaskonomy); `python -m models.minitaskonomy` computes these anew.{rooms}

P@K is the share of a score's K first sources that are among the target's 5 best; weighted τ counts errors at the top more ([evaluation](evaluation.md)). Numbers in brackets are 95 % intervals over the {count} targets. Many targets are alike, so intervals are too narrow rather than too wide, and they say nothing of other zoos."""


def write_oracle(found: Results) -> str:
    seeds = len(found.oracle.values)
    ceiling, random = found.last("oracle of one seed"), found.last("random")
    said = ""
    if ceiling is not None and random is not None:
        said = (
            f" A random order has P@3 = {random.mean['P@3']:.3f}. The oracle of one seed, as a prediction of the other {seeds - 1}"
            f" seeds' mean, reaches P@1 = {format_interval(ceiling, 'P@1')}, P@3 = {format_interval(ceiling, 'P@3')} and"
            f" τ = {format_interval(ceiling, 'tau')}: no score can be expected to do much better."
        )
    return f"""## The oracle

A source's encoder is frozen, and a readout on it is trained for the target task from few labels; what counts is the loss on other rooms, as a mean over {seeds} seeds, which draw the labels.{said}

![What each target gets from each source](minitaskonomy-oracle.png)"""


def write_overview(found: Results) -> str:
    head = ["score", *(f"{probe}: {m if m != 'tau' else 'τ'}" for probe in found.probes for m in ("images", *SHOWN))]
    rows = [[words, *_format_cells(found, score, options)] for score, options, words in ALL]
    default, affinity = found.last(DEFAULT), found.last(AFFINITY)
    first = (
        f"The default (`onnxspace score` without options: `predictivity`, 64 generated images of 224 pixels) has {format_sentence(default)}."
        f" The affinity of its maps (`elrp`), by which sources were ranked before, has {format_sentence(affinity)}."
        if default and affinity
        else ""
    )
    static = found.last("static baseline")
    known = (
        f" The static baseline, which knows the oracle of all other targets and looks at nothing, has {format_sentence(static)}."
        if static
        else ""
    )
    return f"""## Every score

{first}{known}

{format_table(head, rows)}

At the most images each. `predictivity` is the share of variance (R²) of the target network's outputs that a linear readout on the source's features explains on images that it has not seen; it has a direction, and no label. `modelgif` has {FIELD_IMAGES} images and {FIELD_STEPS} steps, as its fields are large.

![P@K over K](minitaskonomy-precision.png)"""


def _format_cells(found: Results, score: str, options: str) -> list[str]:
    cells = []
    for probe in found.probes:
        one = found.last(score, options, probe)
        cells += ["", *("" for _ in SHOWN)] if one is None else [str(one.images), *(f"{one.mean[m]:.3f}" for m in SHOWN)]
    return cells


def write_choice(found: Results) -> str:
    if not found.choices:
        return ""
    titles = {AFFINITY: "the affinity of maps", DEFAULT: "the default, predictivity"}
    parts = "\n\n".join(_write_comparison(found, name, words) for name, words in titles.items())
    return f"""## Is there a better default?

The best of many variants looks good by chance alone. So the choice is made by weighted τ on some targets, and judged on others: for each target on all others (`leave one task out`), or on those of other groups, since depth and distance are nearly one task (`leave one group out`); and by the oracle of one half of its seeds, judged by that of the other (`other seeds`, all targets). The difference is paired by target. `any score` includes those that have the target's own network as teacher; they see no label either.

That is not enough. Some sources are good for nearly every target, and a variant that puts these first by luck does so on the targets that were left out, too. So the whole choice is made again with the oracle's names dealt at random, {DEALS} times: `by chance` is the mean difference then, with its 95th percentile, and `p` the share of deals in which it is as large as the true one.

Two rankings are to be beaten: the affinity of default maps, by which sources were ranked before, and the ranking by `predictivity` that took its place (`the default alone` is the latter, without any choice). A mean of ranks depends on which models are compared, and a share of variance does not: so the default is one score, not a mixture of two.

{parts}"""


def _write_comparison(found: Results, against: str, title: str) -> str:
    """What choices are ahead of one of the two rankings."""
    choices = [row for row in found.choices if row["against"] == against]
    if not choices:
        return ""
    head = [
        "chosen among", "variants", "scheme", "τ of this", "τ of the chosen", "difference in τ", "by chance", "p",
        "difference in P@3", "most often chosen",
    ]  # fmt: skip
    thirds = {(row["pool"], row["scheme"]): row for row in choices if row["measure"] == "P@3"}
    taus = [row for row in choices if row["measure"] == "tau"]
    rows = [_format_choice(row, thirds[row["pool"], row["scheme"]]) for row in taus]
    sure = {row["pool"] for row in taus} - {row["pool"] for row in taus if not _is_sure(row)}
    pools = [pool for pool in dict.fromkeys(row["pool"] for row in taus) if pool in sure]
    behind = [f"{row['pool']}, {row['scheme']}" for row in taus if float(row["high"]) < 0]
    verdict = (
        f"Ahead of it under every scheme, with an interval that leaves out 0 and p ≤ .05: what is chosen among {format_list(pools)}."
        if pools
        else "In no pool is what is chosen ahead of it under every scheme with an interval that leaves out 0 and p ≤ .05."
    )
    worse = f" Behind it, with such an interval: {format_list(behind)}." if behind else ""
    return f"""### Against {title}

{verdict}{worse}

{format_table(head, rows)}"""


def _format_choice(row: dict[str, str], third: dict[str, str]) -> Row:
    lucky = f"{float(row['by chance']):+.3f}, {float(row['95 of 100 by chance']):+.3f}"
    means = [f"{float(row[name]):.3f}" for name in ("default", "chosen")]
    chosen = f"{row['most chosen']} (× {row['times']})"
    return [
        row["pool"],
        row["variants"],
        row["scheme"],
        *means,
        _format_difference(row),
        lucky,
        f"{float(row['p']):.3f}",
        _format_difference(third),
        chosen,
    ]


def _is_sure(row: dict[str, str]) -> bool:
    return float(row["low"]) > 0 and float(row["p"]) <= 0.05


def _format_difference(row: dict[str, str]) -> str:
    return f"{float(row['difference']):+.3f} [{float(row['low']):+.3f}, {float(row['high']):+.3f}]"


def write_methods(found: Results) -> str:
    """Every method from every baseline, at 64 images of each probe set."""
    names = list(dict.fromkeys(one.score for one in found.measures if one.kind == "maps" and one.group == "tasks"))
    head = ["maps", *(f"{probe}: {name_measure(m)}" for probe in found.probes for m in ("P@3", "tau"))]
    rows = []
    for name in (one for one in names if one != AFFINITY):
        for options in dict.fromkeys(one.options for one in found.measures if one.score == name and one.kind == "maps"):
            if not any(change in options for change in CHANGES) and COMMON not in options:
                rows.append([f"`{name}`{', ' if options else ''}{options}", *_format_at(found, name, options, 64)])
    steps = {job.methods[0]: dict(job.options) for job in MAPS if job.options.keys() & {"steps", "samples"}}
    few = "; ".join(f"`{name}` {', '.join(f'{value} {key}' for key, value in told.items())}" for name, told in steps.items())
    return f"""## Maps: methods, baselines, layers

64 images of each probe set; the baseline is `zero` where none is named. `of squares`, `of scaled` and `of whitened` explain another number than the sum of the encoder's units: of squared units, of channels divided by their standard deviations, and of squares along directions of unit variance. `at layer k` cuts both models at their k-th cut point, the last of which is the encoder, `at output` explains the networks' outputs, and `encoder to output` compares the source's encoder with the target's output. Fewer points than the defaults: {few}.

{format_table(head, rows)}"""


def _format_at(found: Results, score: str, options: str, images: int) -> list[str]:
    cells = []
    for probe in found.probes:
        one = next(
            (one for one in found.find(score, options, probe) if one.images == images), found.last(score, options, probe)
        )
        cells += ["", ""] if one is None else [f"{one.mean[m]:.3f}" for m in ("P@3", "tau")]
    return cells


def write_changes(found: Results) -> str:
    names = [name for name in ("elrp", "saliency", "lrp-zplus", "integrated-gradients") if found.find(name)]
    head = ["maps", *(f"`{name}`: {probe}, τ" for name in names for probe in found.probes)]
    rows = []
    for change in ("", *CHANGES):
        for common in ("", COMMON):
            options = ", ".join(filter(None, (change, common)))
            rows.append(
                [
                    options or "as they are",
                    *(_format_tau(found, name, options, probe) for name in names for probe in found.probes),
                ]
            )
    return f"""## Maps, changed before the cosine

Weighted τ at 64 images. `less its mean` makes the cosine a correlation; `n x n` are means over squares; `{COMMON}` takes away, on each image, what the maps of all main models have in common, so that only what sets a model apart is compared; `less the model's mean map` takes away where a model looks on any image.

{format_table(head, rows)}"""


def _format_tau(found: Results, score: str, options: str, probe: str) -> str:
    one = next((one for one in found.find(score, options, probe) if one.images == 64), found.last(score, options, probe))
    return "" if one is None else f"{one.mean['tau']:.3f}"


def write_images(found: Results) -> str:
    return """## How many images, λ, fingerprints

![P@3 and weighted τ over the number of images](minitaskonomy-images.png)

DEPARA's weight of features, from maps alone on:

![P@3 and weighted τ over λ](minitaskonomy-lambda.png)

Fingerprints of the default's maps, by numbers per image:

![P@3, weighted τ and the error over the numbers of a fingerprint](minitaskonomy-fingerprints.png)"""


def write_others(found: Results) -> str:
    head = ["score", *(f"{probe}: {name_measure(m)}" for probe in found.probes for m in ("images", "P@3", "tau"))]
    rows = []
    for kind in ("features", "prediction", "both"):
        some = [one for one in found.measures if one.kind == kind and one.group == "tasks"]
        for score, options in dict.fromkeys((one.score, one.options) for one in some):
            if score == "mean rank" or (score == "depara" and options not in ("λ 0.25", "λ 1", "λ auto")):
                continue
            cells = []
            for probe in found.probes:
                one = found.last(score, options, probe)
                cells += ["", "", ""] if one is None else [str(one.images), *(f"{one.mean[m]:.3f}" for m in ("P@3", "tau"))]
            rows.append([f"{score}{', ' if options else ''}{options}", *cells])
    ranks = sorted(
        (one for one in found.measures if one.score == "mean rank" and one.group == "tasks"), key=lambda one: -one.mean["tau"]
    )
    best = "; ".join(f"{one.options} ({one.images} {one.probe}): τ {one.mean['tau']:.3f}" for one in ranks[:3])
    return f"""## Features, and the target's network as teacher

`predicts …` is the share of variance (R²) of the target network's own features, or outputs, that a ridge regression on the source's features explains on the other half of the images: position by position, `from 3 x 3` from a neighbourhood, as `predictivity` does with outputs. `… to outputs` are the tool's scores with those outputs as labels. `effective-rank` and `participation-ratio` look at the source alone. Best mean ranks of two or three scores, by no honest choice: {best or "none"}.

{format_table(head, rows)}"""


def write_labels(found: Results) -> str:
    some = [one for one in found.measures if one.kind == "labels" and one.group == "tasks"]
    head = ["score", "rooms", "targets", *(name_measure(m) for m in SHOWN)]
    rows = [[f"`{one.score}`", str(one.images), str(one.targets), *(format_interval(one, m) for m in SHOWN)] for one in some]
    return f"""## Scores that see labels

On the first rooms of the split from which the oracle's readouts draw theirs, with the target's own inputs: patch by patch for pictures, from means over positions for classes. Scores of classes can be asked for the few targets only that have classes.

{format_table(head, rows)}"""


def write_kin(found: Results) -> str:
    matrices = choose_trees(found)
    merged = ["3D" if TASKS[name].group == "geometry" else TASKS[name].group for name in found.targets]
    lines = []
    for title, values in matrices.items():
        one = clustering.measure_separation(values, merged)
        lines.append([title, f"{one.rand:.2f}", f"{one.chance:.3f}", f"{one.purity:.2f}", f"{one.random_purity:.2f}"])
    at = {title: clustering.list_places(values, found.targets) for title, values in matrices.items()}
    pairs = [[f"{a} – {b}", *(f"{at[t][a, b][0]}, {at[t][a, b][1]}" for t in at)] for a, b in next(iter(at.values()))]
    return f"""## Kin

![Similarity trees of the tasks](minitaskonomy-trees.png)

The tree cut into three, against 2D, 3D with geometry, and semantic: adjusted Rand index (0 by chance), the share of random deals of the names that agree as well, and purity beside its mean over deals.

{format_table(["tree", "Rand", "chance", "purity", "by chance"], lines)}

The place of each among the other's sources, of {len(found.targets) - 1}:

{format_table(["pair", *at], pairs)}"""


def write_architectures(found: Results) -> str:
    if len(found.sources) == len(found.targets):
        return ""
    head = ["score", "images", "probe", *(name_measure(m) for m in SHOWN)]
    wanted: list[tuple[str, Measurement | None]] = [
        (words, found.last(words, group="architectures"))
        for words in ("random", "same architecture first", "static baseline", "oracle of one seed")
    ]
    wanted += [(name, found.last(name, group="architectures")) for name in (DEFAULT, AFFINITY)]
    for score, options, words in ALL:
        wanted += [(words, found.last(score, options, probe, "architectures")) for probe in found.probes]
    wanted += [(f"best: {one.label}", one) for one in [found.best(LABEL_FREE, "architectures")] if one]
    rows = [
        [words, str(one.images or ""), one.probe, *(format_interval(one, m) for m in SHOWN)] for words, one in wanted if one
    ]
    return f"""## Across architectures

The same {len(found.targets)} targets with all {len(found.sources)} sources, {len(found.sources) - len(found.targets)} of which have other architectures and come from other frameworks. Another architecture's model of the target's own task is a candidate like any other. `same architecture first` knows no order within an architecture.

{format_table(head, rows)}"""


def write_setup(found: Results) -> str:
    photos = " Photos were not given (`--photos DIR`), so there is no such probe set here."
    if "photos" in found.probes:
        most = max(one.images for one in found.measures if one.probe == "photos")
        photos = f" `photos` are {most} photographs of animals, things and scenes (`--photos DIR`): real, and unlike the rooms."
    return f"""## What was compared

{len({(one.kind, one.score, one.options, one.probe, one.images) for one in found.measures})} variants; `measures.csv` has {", ".join(name_measure(m) for m in MEASURES)} of each with intervals, `scores.csv` the values of some of them, `choosing.csv` and `fingerprints.csv` the rest of this page. Probe sets: `rooms` are rendered like the training rooms, of other seeds; `generated` are the tool's embedded images at 64 pixels; the default has them at 224.{photos}"""


def format_sentence(one: Measurement) -> str:
    return f"P@1 {format_interval(one, 'P@1')}, P@3 {format_interval(one, 'P@3')} and τ {format_interval(one, 'tau')}"


def format_interval(one: Measurement, measure: str) -> str:
    return f"{one.mean[measure]:.3f} [{one.low[measure]:.3f}, {one.high[measure]:.3f}]"


def name_measure(measure: str) -> str:
    return "τ" if measure == "tau" else measure


def format_list(names: Sequence[str]) -> str:
    return "; ".join(names)


def format_table(head: Row, rows: Sequence[Row]) -> str:
    lines = [" | ".join(head), "|".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" if place != 1 else f"|{line}|" for place, line in enumerate(lines))
