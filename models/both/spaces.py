"""Rankings by a space, which keeps features and outputs in little, beside those by `score` on the same pictures."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.inputs.config import Config
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Detail, Protocol
from onnxspace.model.features import write_features
from onnxspace.model.outputs import find_float_outputs
from onnxspace.quiet import silence_libraries
from onnxspace.scores.folds import hash_images, order_by_content
from onnxspace.scores.reduce import reduce_arrays
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.storage.atomic import scratch_folder, whole_file
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.child.open import prepare_model

DETAILS: tuple[Detail, ...] = ("images", "pictures")
_ORDER = ("score", *DETAILS)


@dataclass(frozen=True, eq=False)
class Case:
    """Models of a zoo, the pictures that they are compared on, and those of the models that these are pictures of the task of."""

    zoo: str
    models: Sequence[Path]
    pictures: Probes
    targets: Sequence[str]


@dataclass(frozen=True)
class RankedSource:
    """The `value` of a source for a target in the ranking `by`: `score`, or a detail of a space, which keeps `size` bytes of it."""

    zoo: str
    images: int
    by: str
    target: str
    source: str
    value: float
    size: int


@dataclass(frozen=True, eq=False)
class ModelFiles:
    """What is computed of a model: its name, its file's SHA-256, its encoder, and files of its features and outputs."""

    name: str
    sha256: str
    encoder: str
    features: Path
    outputs: Path


def list_realzoo(folder: Path, images: Path, count: int) -> Iterator[Case]:
    """Each target's own network, the sources of other tasks, and `count` of its pictures; `images` is what the zoo's `images` wrote."""
    from models.realzoo.data.tasks import TARGETS
    from models.realzoo.rank import list_sources

    for target in TARGETS:
        models = [folder / "targets" / f"{target}.onnx", *list_sources(folder, target)]
        yield Case("realzoo", models, Probes.from_folder(images / target / "train", count), [target])


def list_minitaskonomy(folder: Path, work: Path, count: int) -> Iterator[Case]:
    """All networks of the main architecture, with `count` pictures of each kind and the targets that are given these."""
    from models.minitaskonomy.oracle.sampling import name_input
    from models.minitaskonomy.ranking import Material
    from models.minitaskonomy.rooms.dataset import Rooms, digest_split, write_split
    from models.minitaskonomy.tasks import TASKS
    from models.minitaskonomy.zoo import list_entries

    rooms = work / "rooms" / "transfer"
    if not (rooms / "recipe").exists() or (rooms / "recipe").read_text("utf-8") != digest_split("transfer"):
        write_split(rooms, "transfer", "cpu", lambda *_: None)
    models = [one.path for one in list_entries(folder, list(TASKS)) if one.main]
    material = Material(models, Rooms(rooms, "transfer", {}), work)  # moments are of labels, which no picture takes
    for kind in dict.fromkeys(name_input(TASKS[name]) for name in material.targets):
        targets = [name for name in material.targets if name_input(TASKS[name]) == kind]
        yield Case("mini-Taskonomy", models, Probes(kind, material.pictures(TASKS[targets[0]])[:count]), targets)


def rank_case(case: Case) -> Iterator[RankedSource]:
    """Rank the sources of each target of a case by `score`, then by a space of each detail."""
    yield from _read_rows(case, "score", ox.score(case.models, case.pictures, by="mean_rank"), {})
    with scratch_folder() as folder:
        files = list(_compute_files(case, folder))
        for detail in DETAILS:
            space = ox.Space.create(folder / f"{detail}.space", case.pictures, keep_maps=False, detail=detail)
            prints = [_write_reduced(one, case, space.protocol, folder / detail) for one in files]
            space.add(prints)
            sizes = {path.stem: path.stat().st_size for path in prints}
            yield from _read_rows(case, detail, space.compare(), sizes)


def _read_rows(case: Case, by: str, found: ox.Affinity, sizes: dict[str, int]) -> Iterator[RankedSource]:
    for target in case.targets:
        for source, value in found.rank(target).sources:
            yield RankedSource(case.zoo, len(case.pictures), by, target, source, value, sizes.get(source, 0))


def _compute_files(case: Case, folder: Path) -> Iterator[ModelFiles]:
    """Features and outputs of each model, as `score` and spaces compute them."""
    with silence_libraries():
        for path in case.models:
            one = prepare_model(path, path.stem, None, Config())
            features, outputs = (folder / f"{path.stem}.{kind}.npy" for kind in ("features", "outputs"))
            write_features(one.model, one.encoder, case.pictures.images, features, "fit")
            write_features(one.model, find_float_outputs(one.model), case.pictures.images, outputs, "fit")
            yield ModelFiles(path.stem, one.record.sha256, one.record.encoder, features, outputs)


def _write_reduced(one: ModelFiles, case: Case, protocol: Protocol, folder: Path) -> Path:
    """Write the fingerprint of a model, with an empty sketch of maps, which take no part; a source's outputs are left out."""
    folder.mkdir(exist_ok=True)
    order = order_by_content(hash_images(case.pictures.images))
    reduced = reduce_arrays(protocol.detail, order, map_array(one.features), map_array(one.outputs), {})
    found = Fingerprint(
        one.name, one.sha256, one.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256,
        _no_prints(protocol), protocol.sketch, protocol.fingerprint_options(), protocol.sketch_version,
        reduced if one.name in case.targets else reduced.without_outputs(),
    )  # fmt: skip
    write_fingerprint(folder / f"{one.name}.fp", found)
    return folder / f"{one.name}.fp"


def _no_prints(protocol: Protocol) -> NDArray[np.float16]:
    return np.zeros((protocol.images, protocol.numbers), np.float16)


def write_rows(file: Path, rows: Sequence[RankedSource]) -> None:
    """Put rows into a CSV file, in the place of those of the same zoo, number of images and target; values to six digits."""
    new = {(row.zoo, row.images, row.target) for row in rows}
    kept = [row for row in (read_rows(file) if file.exists() else ()) if (row.zoo, row.images, row.target) not in new]
    with whole_file(file) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(field.name for field in fields(RankedSource))
        for row in sorted([*kept, *rows], key=lambda one: (one.zoo, one.images, one.target, _ORDER.index(one.by))):
            lines.writerow((row.zoo, row.images, row.by, row.target, row.source, f"{row.value:.6g}", row.size))


def read_rows(file: Path) -> list[RankedSource]:
    """The rows of a file that `write_rows` wrote."""
    with file.open(newline="", encoding="utf-8") as stream:
        return [
            RankedSource(one["zoo"], int(one["images"]), one["by"], one["target"], one["source"], float(one["value"]), int(one["size"]))
            for one in csv.DictReader(stream)
        ]  # fmt: skip
