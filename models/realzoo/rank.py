"""Rankings of the sources by each kind of evidence, through the public interface as a user calls it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

import onnxspace as ox
from models.realzoo.data.tasks import TARGETS
from models.realzoo.unlabelled import STATISTICS, describe_source
from models.realzoo.zoo import SOURCES
from onnxspace.inputs.probes import Probes
from onnxspace.storage.atomic import whole_file

Values = Mapping[str, float]
#: Scores of two models: of pictures of the task, and of generated images.
PICTURES = ("mean_rank", "knn_agreement", "probability_predictivity", "predictivity", "dds", "cka", "rsa")
GENERATED = ("attribution", "predictivity", "dds")
LABELS = ("sfda", "logme", "h_score", "knn", "linear_probe")
STAGES = ("labels", "pictures", "generated", "unlabelled", "finetune", "answers")


def list_sources(folder: Path, target: str) -> list[Path]:
    """The files of the sources that were not trained on the target's own task."""
    return [folder / "sources" / f"{name}.onnx" for name, one in SOURCES.items() if one.task != target]


def rank_by_labels(folder: Path, images: Path, target: str) -> dict[str, Values]:
    """The default ranking by labels, and each of its scores."""
    found = ox.rate(list_sources(folder, target), images / target / "train")
    columns = {f"labels {score}": dict(zip(found.names, values, strict=True)) for score, values in found.values.items()}
    return {"labels": {one.source: -float(one.place) for one in found.ranked}, **columns}


def rank_by_pictures(folder: Path, images: Path, target: str) -> dict[str, Values]:
    """Scores of the target's own network and the pictures, which lie in folders by class."""
    models = [folder / "targets" / f"{target}.onnx", *list_sources(folder, target)]
    found = ox.score(models, images / target / "train", by=PICTURES)
    return {f"pictures {score}": _read_row(found, score) for score in PICTURES}


def rank_by_generated(folder: Path, _images: Path, target: str) -> dict[str, Values]:
    """Scores of the target's own network and generated images: no picture of the task."""
    models = [folder / "targets" / f"{target}.onnx", *list_sources(folder, target)]
    found = ox.score(models, by=GENERATED)
    return {f"generated {score}": _read_row(found, score) for score in GENERATED}


def _read_row(found: ox.Affinity, score: str) -> Values:
    row = np.asarray(found.scores[score])[0]
    return {name: float(value) for name, value in zip(found.names[1:], row[1:], strict=True)}


def rank_by_pictures_alone(folder: Path, images: Path, target: str) -> dict[str, Values]:
    """Statistics of each source on the pictures, without labels and without a network of the task."""
    pictures = Probes.from_folder(images / target / "train", 300)
    found = {file.stem: describe_source(file, pictures) for file in list_sources(folder, target)}
    return {f"unlabelled {name}": {source: values[name] for source, values in found.items()} for name in STATISTICS}


def rank_by_finetuning(folder: Path, images: Path, target: str) -> dict[str, Values]:
    """Fine-tuning in small on the labels, halving alone."""
    found = ox.rank_finetuned(list_sources(folder, target), images / target / "train")
    return {"finetune": {one.record.name: one.value for one in found.models}}


def rank_by_answers(folder: Path, images: Path, target: str) -> dict[str, Values]:
    """Fine-tuning in small on the answers of the target's own network."""
    own = folder / "targets" / f"{target}.onnx"
    found = ox.rank_by_answers(str(own), [own, *list_sources(folder, target)], images / target / "train")
    return {"finetune answers": {one.record.name: one.value for one in found.models}}


RANK: Mapping[str, Callable[[Path, Path, str], dict[str, Values]]] = {
    "labels": rank_by_labels, "pictures": rank_by_pictures, "generated": rank_by_generated,
    "unlabelled": rank_by_pictures_alone, "finetune": rank_by_finetuning,
    "answers": rank_by_answers,
}  # fmt: skip


def rank_all(folder: Path, images: Path, stages: Sequence[str], targets: Sequence[str] = tuple(TARGETS)) -> Iterator[Path]:
    """Rank the sources of every target in each of `stages`; yields the CSV files (target, source, value) of the rankings."""
    for stage in stages:
        rows: dict[str, list[tuple[str, str, float]]] = {}
        for target in targets:
            for name, values in RANK[stage](folder, images, target).items():
                rows.setdefault(name, []).extend((target, source, value) for source, value in values.items())
        for name, table in rows.items():
            yield write_ranking(folder / "rankings" / f"{name}.csv", table)


def write_ranking(file: Path, rows: Sequence[tuple[str, str, float]]) -> Path:
    """Write a ranking, values to six digits."""
    with whole_file(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(("target", "source", "value"))
        lines.writerows((target, source, f"{value:.6g}") for target, source, value in rows)
    return file
