"""The models of the study by their files' names, TASK.onnx and TASK-ARCHITECTURE.onnx, opened and converted once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import onnxspace as ox
from models.minitaskonomy.training.jobs import MAIN
from onnxspace.attribution.maps import VERIFIED_IMAGES
from onnxspace.inputs.config import load_sidecar
from onnxspace.inputs.probes import Probes
from onnxspace.model.encoder import Encoder, find_encoder
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert

#: The folder of the ONNX files, their sidecars and the tables of results.
MODELS = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One source: its name, which is the file's, its task, its architecture."""

    name: str
    task: str
    architecture: str
    path: Path

    @property
    def main(self) -> bool:
        return self.architecture == MAIN


def list_entries(folder: Path, tasks: Sequence[str]) -> list[Entry]:
    """The main models in the order of the tasks, then the others by name. Other files of the folder are left out."""
    found = [_parse_entry(path) for path in sorted(folder.glob("*.onnx"))]
    place = {task: i for i, task in enumerate(tasks)}
    return sorted((one for one in found if one.task in place), key=lambda one: (not one.main, place[one.task], one.name))


def _parse_entry(path: Path) -> Entry:
    task, _, architecture = path.stem.partition("-")
    return Entry(path.stem, task, architecture or MAIN, path)


@dataclass
class Zoo:
    """Models, targets being those of the main group; `work` holds copies with another explained number."""

    entries: Sequence[Entry]
    work: Path
    _converted: dict[tuple[str, str], tuple[Model, EncoderGraph]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.entries]

    @property
    def main(self) -> NDArray[np.bool_]:
        return np.array([one.main for one in self.entries])

    @property
    def targets(self) -> list[str]:
        return [one.name for one in self.entries if one.main]

    @cached_property
    def sha256(self) -> str:
        """Of all files, sidecars included."""
        digest = hashlib.sha256()
        for one in self.entries:
            sidecar = one.path.with_name(f"{one.path.stem}.onnxspace.toml")
            for file in (one.path, sidecar):
                digest.update(f"{file.name}\0".encode() + (file.read_bytes() if file.exists() else b"none"))
        return digest.hexdigest()

    def open(self, entry: Entry) -> tuple[Model, Encoder]:
        """The file as it is, and its encoder."""
        model = ox.open_model(entry.path)
        return model, find_encoder(model)

    def converted(self, entry: Entry, probes: Probes, explained: str = "sum") -> tuple[Model, EncoderGraph]:
        """A model ready to be explained; `explained` names what `attribution_targets.write_copy` put behind its encoder for these probes."""
        key = (entry.name, explained if explained == "sum" else f"{explained}-{probes.name}")
        if key not in self._converted:
            model = ox.open_model(entry.path)
            if explained != "sum":
                copy = self.copy_of(entry, probes, explained)
                model = ox.open_model(copy, encoder=explained, options=load_sidecar(entry.path))
            self._converted[key] = model, convert(model, probes.images[:VERIFIED_IMAGES])
        return self._converted[key]

    def copy_of(self, entry: Entry, probes: Probes, explained: str) -> Path:
        """Where the copy of a model lies that has another number explained."""
        return self.work / "explained" / f"{explained}-{probes.name}" / entry.path.name


def arrange_on_grid(features: NDArray[np.float32], side: int = 8) -> NDArray[np.float32]:
    """Features of any encoder as [images, channels, side, side].

    Of [images, height, width, channels] and of [images, tokens, channels] (a class token in front is left out) the channels are
    moved; another grid takes its nearest positions; [images, channels] are the same everywhere.
    """
    found = features
    if found.ndim == 3:
        root = int(np.sqrt(found.shape[1]))
        found = np.moveaxis(found[:, found.shape[1] - root * root :].reshape(len(found), root, root, -1), -1, 1)
    elif found.ndim == 4 and found.shape[1] == found.shape[2] != found.shape[3]:
        found = np.moveaxis(found, -1, 1)
    elif found.ndim == 2:
        found = found[:, :, None, None]
    rows, columns = ((np.arange(side) * n // side) for n in found.shape[2:])
    return np.ascontiguousarray(found[:, :, rows][:, :, :, columns])


def sort_by_group(tasks: Mapping[str, str]) -> list[str]:
    """Task names, group after group, for tables and pictures."""
    order = list(dict.fromkeys(tasks.values()))
    return sorted(tasks, key=lambda name: order.index(tasks[name]))
