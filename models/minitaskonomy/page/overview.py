"""The first sections of the page: every score, and the choice of a default."""

from __future__ import annotations

from pathlib import Path

from models.minitaskonomy.page.markdown import SHOWN, Row, format_list, format_sentence, format_table
from models.minitaskonomy.page.results import Results
from models.minitaskonomy.study.features import FIELD_IMAGES, FIELD_STEPS
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT
from models.minitaskonomy.study.permutation import DEALS

#: Published scores, with their names in tables: what each is compared by.
PUBLISHED = (
    ("elrp", "", "attribution, `elrp`"), ("gradient-x-input", "", "attribution, `gradient-x-input`"), ("saliency", "", "attribution, `saliency`"),
    ("depara", "λ 0.25", "`depara`, λ = 0.25"), ("rsa", "", "`rsa`"), ("svcca", "", "`svcca`"), ("cka", "", "`cka`"), ("dds", "", "`dds`"),
    ("modelgif", "", "`modelgif`"),
)  # fmt: skip
ALL = (*PUBLISHED, ("predictivity", "", "`predictivity`"))


def write_opening(found: Results, docs: Path) -> str:
    count, more = len(found.targets), len(found.sources) - len(found.targets)
    rooms = (
        "\n\n![A few rooms with the labels of all tasks](minitaskonomy-rooms.png)"
        if (docs / "minitaskonomy-rooms.png").exists()
        else ""
    )
    others = f", and {more} of other architectures for a few of the tasks" if more else ""
    return f"""# Mini-Taskonomy

Which score predicts transfer, where the truth is known? Rendered rooms with exact labels for {count} tasks, a small network trained for each{others}, and **every** transfer between them done and measured: the oracle. All scores of this tool, and possible improvements of them, are compared with it. The page and its pictures are written by `python -m models.minitaskonomy page` from the tables in [models/minitaskonomy](../models/minitaskonomy); `python -m models.minitaskonomy` computes these anew.{rooms}

P@K is the share of a score's K first sources that are among the target's 5 best; weighted τ counts errors at the top more ([evaluation](evaluation.md)). Numbers in brackets are 95 % intervals over the {count} targets. Many targets are alike, so intervals are too narrow rather than too wide, and they do not apply to other zoos."""


def write_overview(found: Results) -> str:
    head = ["score", *(f"{probe}: {m if m != 'tau' else 'τ'}" for probe in found.probes for m in ("images", *SHOWN))]
    rows = [[words, *_format_cells(found, score, options)] for score, options, words in ALL]
    default, affinity = found.last(DEFAULT), found.last(AFFINITY)
    first = (
        "Without pictures of the task, `onnxspace score` lists models by the affinity of their maps (`elrp`, 64 generated images of 224"
        f" pixels), which has {format_sentence(affinity)}. `predictivity` on the same images, by which it ranked for a while (`default`"
        f" on this page), has {format_sentence(default)} here, and far less on another zoo ([both zoos](ranking.md))."
        if default and affinity
        else ""
    )
    static = found.last("static baseline")
    known = (
        f" The static baseline, which uses the oracle of all other targets and no image, has {format_sentence(static)}."
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
    titles = {AFFINITY: "the affinity of maps", DEFAULT: "the former default, predictivity"}
    parts = "\n\n".join(_write_comparison(found, name, words) for name, words in titles.items())
    return f"""## Is there a better default?

This section is a record: the choice was made by the values of that time (`predictivity` by two halves of the images in place of four folds), which need hours to compute. The tables of all other sections are computed anew where a score has changed since. The default of that time, `predictivity` on generated images, was right on this zoo and wrong on others, which no choice within one zoo could reveal.

The best of many variants looks good by chance alone. So the choice is made by weighted τ on some targets, and judged on others: for each target on all others (`leave one task out`), or on those of other groups, since depth and distance are nearly one task (`leave one group out`); and by the oracle of one half of its seeds, judged by that of the other (`other seeds`, all targets). The difference is paired by target. `any score` includes those that use the target's own network as teacher; they use no label either.

That is not enough. Some sources are good for nearly every target, and a variant that puts these first by luck does so on the targets that were left out, too. So the whole choice is repeated with the oracle's names permuted at random, {DEALS} times: `by chance` is the mean difference then, with its 95th percentile, and `p` the share of permutations in which it is as large as the true one.

Two rankings are to be beaten: the affinity of default maps, by which sources were ranked before, and the ranking by `predictivity` that took its place (`the default alone` is the latter, without any choice). A mean of ranks depends on which models are compared, and a share of variance does not: so the former default was one score, not a mixture of two.

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
