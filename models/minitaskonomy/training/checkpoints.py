"""Trained networks in the work folder: a file of weights and a JSON beside it, which is written last and vouches for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.minitaskonomy.training.jobs import Job, Settings
from onnxspace.storage.atomic import whole_file

#: Raise it when training or an architecture changes: what was trained before is then trained anew.
VERSION = 1
SUFFIXES = {"torch": ".safetensors", "keras": ".weights.h5", "jax": ".safetensors"}


@dataclass(frozen=True)
class Checkpoint:
    """A finished network: its weights, and the record of its training.

    The record has `recipe`, `losses` (training loss of each epoch), `score` and `chance` on the validation rooms, `sha256` of
    the weights, `seconds` and `precision`.
    """

    weights: Path
    record: Mapping[str, Any]


def describe_recipe(job: Job, settings: Settings, rooms: object) -> dict[str, Any]:
    """All that determines a network, as JSON gives it back; `rooms` is what determines the training rooms."""
    said = {"version": VERSION, "name": job.name, "task": asdict(job.task), "settings": asdict(settings), "rooms": rooms}
    again: dict[str, Any] = json.loads(json.dumps(said))
    return again


def locate_weights(work: Path, job: Job) -> Path:
    """Where the weights lie, or will."""
    return work / "trained" / (job.name + SUFFIXES[job.framework])


def find_checkpoint(work: Path, job: Job, wanted: Mapping[str, Any]) -> Checkpoint | None:
    """A network that was trained by this very recipe; None where there is none, or its file is not what was written."""
    path = locate_weights(work, job)
    try:
        record = json.loads(_locate_record(path).read_text("utf-8"))
        sound = record["recipe"] == wanted and record["sha256"] == _digest_file(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Checkpoint(path, record) if sound else None


def write_checkpoint(path: Path, save: Callable[[Path], None], record: Mapping[str, Any]) -> None:
    """Write weights, then the record that vouches for them. `save` writes to a path with the same suffix.

    Raises OutputError where the disk says no.
    """
    _locate_record(path).unlink(missing_ok=True)
    with whole_file(path) as partial:
        named = partial.with_name(partial.name + "".join(path.suffixes[-2:]))  # Keras goes by the suffix
        save(named)
        named.replace(partial)
    with whole_file(_locate_record(path)) as partial:
        partial.write_text(json.dumps({**record, "sha256": _digest_file(path)}, indent=1) + "\n", "utf-8")


def _locate_record(path: Path) -> Path:
    return path.with_name(path.name.partition(".")[0] + ".json")


def _digest_file(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
