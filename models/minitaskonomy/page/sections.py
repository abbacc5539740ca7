"""The other sections of the page: maps, features, labels, similarity trees, architectures."""

from __future__ import annotations

from models.minitaskonomy.page import clustering
from models.minitaskonomy.page.markdown import SHOWN, format_interval, format_table, name_measure
from models.minitaskonomy.page.overview import ALL
from models.minitaskonomy.page.results import Measurement, Results
from models.minitaskonomy.page.trees import choose_trees
from models.minitaskonomy.study.evaluation import MEASURES
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT, MAPS
from models.minitaskonomy.study.map_similarity import CHANGES
from models.minitaskonomy.study.prediction import PATCHES
from models.minitaskonomy.study.score_matrix import COMMON, LABEL_FREE
from models.minitaskonomy.tasks import TASKS


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

Weighted τ at 64 images. `less its mean` makes the cosine a correlation; `n x n` are means over squares; `{COMMON}` subtracts, on each image, what the maps of all main models have in common, so that only what distinguishes a model is compared; `less the model's mean map` subtracts where a model looks on any image.

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

`predicts …` is the share of variance (R²) of the target network's own features, or outputs, that a ridge regression on the source's features explains on images that it has not seen: position by position, `from 3 x 3` from a neighbourhood, as `predictivity` does with outputs. `… to outputs` are the tool's scores with those outputs as labels. `effective-rank` and `participation-ratio` depend on the source alone. Best mean ranks of two or three scores, by no honest choice: {best or "none"}.

{format_table(head, rows)}"""


def write_labels(found: Results) -> str:
    some = [one for one in found.measures if one.kind == "labels" and one.group == "tasks"]
    head = ["score", "rooms", "targets", *(name_measure(m) for m in SHOWN)]
    rows = [[f"`{one.score}`", str(one.images), str(one.targets), *(format_interval(one, m) for m in SHOWN)] for one in some]
    return f"""## Scores that use labels

On the first rooms of the split from which the oracle's readouts draw theirs, with the target's own inputs: patch by patch for pictures ({PATCHES} patches at random), from means over positions for classes. Scores of classes exist only for the few targets that have classes.

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
    return f"""## Related tasks

![Similarity trees of the tasks](minitaskonomy-trees.png)

The tree cut into three, against 2D, 3D with geometry, and semantic: adjusted Rand index (0 by chance), the share of random permutations of the names that agree as well, and purity beside its mean over permutations.

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

The same {len(found.targets)} targets with all {len(found.sources)} sources, {len(found.sources) - len(found.targets)} of which have other architectures and come from other frameworks. Another architecture's model of the target's own task is a candidate like any other. `same architecture first` gives no order within an architecture.

{format_table(head, rows)}"""


def write_setup(found: Results) -> str:
    photos = " Photos were not given (`--photos DIR`), so there is no such probe set here."
    if "photos" in found.probes:
        most = max(one.images for one in found.measures if one.probe == "photos")
        photos = f" `photos` are {most} photographs of animals, things and scenes (`--photos DIR`): real, and unlike the rooms."
        if not any(one.probe == "photos" for one in found.measures if one.kind == "prediction"):
            photos += " They were not available when scores by regression were computed anew, so these have none."
    return f"""## What was compared

{len({(one.kind, one.score, one.options, one.probe, one.images) for one in found.measures})} variants; `measures.csv` has {", ".join(name_measure(m) for m in MEASURES)} of each with intervals, `scores.csv` the values of some of them, `choosing.csv` and `fingerprints.csv` the rest of this page. Probe sets: `rooms` are rendered like the training rooms, of other seeds; `generated` are the tool's embedded images at 64 pixels; the default has them at 224.{photos}"""
