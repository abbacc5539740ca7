"""Trained networks as ONNX files, by onnxspace's own converters, each checked against its framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from models.minitaskonomy.tasks import SIZE
from models.minitaskonomy.training import checkpoints
from models.minitaskonomy.training.checkpoints import Checkpoint
from models.minitaskonomy.training.jobs import JOBS, Job, Settings, choose_settings
from models.minitaskonomy.training.process import Say
from models.minitaskonomy.training.scheduler import export_root, make_order
from onnxspace.exporters import Facts, Request
from onnxspace.exporters.export import to_onnx
from onnxspace.exporters.sidecar import sidecar_of, sidecar_text
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Layout
from onnxspace.storage.atomic import whole_file

#: Raise it when exported files change for another reason than their weights.
VERSION = 1


def export_all(
    work: Path, folder: Path, device: str = "auto", *, jobs: Iterable[Job] = tuple(JOBS.values()),
    settings: Settings | None = None, python: str | None = None, say: Say = print,
) -> list[Path]:  # fmt: skip
    """Write `folder / "NAME.onnx"` with its sidecar for every job that is trained; gives the files.

    A file that was made from these very weights stays. The name of the encoder's tensor and the preprocessing stand in the
    sidecar, where `score` finds them, and in the file's metadata with the network's recipe and score. Raises ModelError where
    a file differs from its framework.
    """
    made = []
    for job in jobs:
        found = checkpoints.find_checkpoint(work, job, make_order(job, settings or choose_settings(job), work, device).recipe)
        if found is not None:
            target = folder / f"{job.name}.onnx"
            if not _is_current(target, found):
                export(job, found, target, python)
                say(f"{job.name}: exported, {target.stat().st_size:,} bytes")
            made.append(target)
    return made


def export(job: Job, found: Checkpoint, target: Path, python: str | None = None) -> None:
    """Convert one network, and say in its file and sidecar what it is."""
    source, interpreter = f"{__package__}.{_name_module(job)}:build_network", None if job.framework == "torch" else python
    raw = found.weights.with_name(f"{job.name}.raw.onnx")
    try:
        with export_root():
            facts = to_onnx(source, raw, build_request(job, found), python=interpreter)
        _write_model(raw, target, source, replace(facts, said=describe_input(job)), _describe(job, found))
    finally:
        raw.unlink(missing_ok=True)
        sidecar_of(raw).unlink(missing_ok=True)


def build_request(job: Job, found: Checkpoint) -> Request:
    """What the converter is asked."""
    arguments: dict[str, Any] = {"kind": job.task.kind, "channels": job.task.channels}
    if job.framework == "torch":
        arguments["architecture"] = job.architecture
    shape = (3, SIZE, SIZE) if job.framework == "torch" else (SIZE, SIZE, 3)
    return Request(
        input=shape, encoder="encoder", weights=str(found.weights.absolute()), arguments=arguments, said=describe_input(job)
    )


def describe_input(job: Job) -> ModelOptions:
    """The preprocessing of all: RGB, pixels in 0–255 as `2 v / 255 − 1`."""
    layout: Layout = "NCHW" if job.framework == "torch" else "NHWC"
    return ModelOptions(
        size=(SIZE, SIZE), layout=layout, color="RGB", resize="squash", scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3
    )


def _name_module(job: Job) -> str:
    return "networks" if job.framework == "torch" else f"{job.framework}_trainer"


def _describe(job: Job, found: Checkpoint) -> dict[str, str]:
    """What the file tells of its training."""
    record = found.record
    named = {"task": job.task.name, "architecture": job.architecture, "score": f"{record['score']:.4f}"}
    return {
        **named,
        "chance": f"{record['chance']:.4f}",
        "settings": json.dumps(record["recipe"]["settings"]),
        "made": _digest(found),
    }


def _digest(found: Checkpoint) -> str:
    """What determines a file: weights, and how they are exported."""
    return hashlib.sha256(f"{VERSION} {found.record['sha256']}".encode()).hexdigest()


def _write_model(raw: Path, target: Path, source: str, facts: Facts, about: Mapping[str, str]) -> None:
    model = onnx.load(raw)
    preprocessing = {f"onnxspace.input.{name}": str(value) for name, value in vars(facts.said).items() if value is not None}
    entries = {entry.key: entry.value for entry in model.metadata_props} | preprocessing
    entries |= {f"minitaskonomy.{name}": value for name, value in about.items()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, entries)
    with whole_file(sidecar_of(target)) as partial:
        partial.write_text(sidecar_text(source, facts), "utf-8")
    with whole_file(target) as partial:
        partial.write_bytes(model.SerializeToString())


def _is_current(target: Path, found: Checkpoint) -> bool:
    """Whether a file was made from these weights, and whole."""
    try:
        entries = {entry.key: entry.value for entry in onnx.load(target).metadata_props}
    except Exception:  # no file, or none of ONNX: protobuf's errors have no common base
        return False
    return entries.get("minitaskonomy.made") == _digest(found) and sidecar_of(target).exists()
