"""What the zoo's files are: manifest.json of the sources, targets.csv of the targets."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import onnx

import onnxspace as ox
from models.realzoo.checkpoints import load_source, name_target, read_record
from models.realzoo.data.tasks import TARGETS, TASKS, load
from models.realzoo.zoo import PREPROCESSING, SOURCES, Source
from onnxspace.model.encoder import find_encoder
from onnxspace.storage.atomic import whole_file

EXPORTERS = {
    "torchscript": "PyTorch, torch.onnx.export(dynamo=False)",
    "dynamo": "PyTorch, torch.onnx.export(dynamo=True)",
    "keras": "Keras with weights trained in PyTorch, tf2onnx",
}
TARGET_COLUMNS = (
    "target", "about", "real", "classes", "train", "test", "architecture", "preprocessing", "accuracy", "chance",
    "packages", "licence", "sha256",
)  # fmt: skip


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def describe(source: Source, folder: Path, work: Path) -> dict[str, Any]:
    """One source's entry."""
    file = folder / "sources" / f"{source.name}.onnx"
    model, record = onnx.load(file), read_record(work / "weights" / f"{source.name}.pt")
    network = load_source(source.name, work)
    scale, mean, std = PREPROCESSING[source.preprocessing]
    return {
        "name": source.name,
        "file": f"sources/{file.name}",
        "task": source.task,
        "architecture": source.architecture,
        "family": source.family,
        "training": source.training,
        "parameters": sum(one.numel() for one in network.parameters()),
        "features": network.features,
        "encoder": str(find_encoder(ox.open_model(file))),
        "exporter": EXPORTERS[source.exporter],
        "opset": max(one.version for one in model.opset_import if not one.domain),
        "layout": "NHWC" if source.exporter == "keras" else "NCHW",
        "scale": "1" if scale == 1 else "1/255",
        "mean": list(mean),
        "std": list(std),
        "accuracy": record.accuracy,
        "chance": record.chance,
        "data": TASKS[source.task].packages,
        "licence": TASKS[source.task].licence,
        "sha256": digest(file),
    }


def write_manifest(folder: Path, work: Path) -> None:
    """manifest.json, from the files and the cache."""
    entries = [describe(source, folder, work) for source in SOURCES.values()]
    with whole_file(folder / "manifest.json") as partial:
        partial.write_text(json.dumps({"sources": entries}, indent=1, ensure_ascii=False) + "\n", "utf-8")


def write_targets(folder: Path, work: Path) -> None:
    """targets.csv: images, licence, and the user's own network of each target."""
    with whole_file(folder / "targets.csv") as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(TARGET_COLUMNS)
        lines.writerows(_describe_target(name, folder, work) for name in TARGETS)


def _describe_target(name: str, folder: Path, work: Path) -> tuple[object, ...]:
    task, split, record = TASKS[name], load(name, work), read_record(work / "weights" / f"target-{name}.pt")
    return (
        name, task.about, "real" if task.real else "drawn", len(split.classes), len(split.train.labels), len(split.test.labels),
        *name_target(name), record.accuracy, record.chance, task.packages, task.licence,
        digest(folder / "targets" / f"{name}.onnx"),
    )  # fmt: skip
