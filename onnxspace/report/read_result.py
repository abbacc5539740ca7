"""The result folder of `score --output`, read as from a stranger."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import TableError
from onnxspace.inputs.methods import METHODS
from onnxspace.inputs.probes import Probes
from onnxspace.report.result_folder import PROBES, SUMMARY
from onnxspace.similarity.affinity import SCHEMA, Affinity
from onnxspace.similarity.certainty import Certainty, SourceCertainty
from onnxspace.similarity.records import Failure, ModelRecord

_MOST_BYTES = 256 * 2**20
_MOST_MODELS = 20_000
_AGAIN = "Compare the models again, with another --output."


@dataclass(frozen=True, eq=False)
class Stored:
    """A result, and the file of each model's unit maps [images, size²] where it is there and is that model's alone.

    `pictures` are the photos, uint8 [images, size, size, 3], where the folder holds them and they are those of the result.
    """

    affinity: Affinity
    maps: tuple[Path | None, ...]
    pictures: NDArray[np.uint8] | None = None


def read_result(folder: Path) -> Stored:
    """What `score --output` wrote. Raises TableError for anything else."""
    path = folder / SUMMARY
    said = _parsed(path)
    try:
        found = _affinity(said)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise TableError(f"{path} is damaged ({_why(error)}). {_AGAIN}") from error
    return Stored(found, _maps(folder / "maps", found), _pictures(folder / PROBES, found.probe))


def _why(error: Exception) -> str:
    return "what it holds is no result" if not isinstance(error, ValueError) or not error.args else str(error)[:200]


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.is_symlink() or not path.is_file():
            raise TableError(f"{path} is no file. Name a model space, or a folder that `onnxspace score --output` wrote.")
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise TableError(f"{path} is larger than {_MOST_BYTES >> 20} MiB. Compare fewer models.")
        said = json.loads(content, parse_constant=_refuse)
    except OSError as error:
        raise TableError(f"{path} can't be read ({error.strerror or error}). Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path} is damaged (it is no JSON). {_AGAIN}") from error
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        raise TableError(f"{path} is no result of onnxspace score ({SCHEMA}). Name another folder, or upgrade onnxspace.")
    return said


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _affinity(said: Mapping[str, Any]) -> Affinity:
    models = tuple(_record(one) for one in _list(said["models"], _MOST_MODELS, "models"))
    names = [model.name for model in models]
    _need(0 < len(names) == len(set(names)), "models")
    _need(said["method"] in METHODS, "method")
    probe = {"name": _text(said["probe"]["name"]), "sha256": _text(said["probe"]["sha256"])}
    sizes = {"images": _whole(said["probe"]["images"]), "size": _whole(said["probe"]["size"])}
    errors = None if said.get("errors") is None else _matrix(said["errors"], len(models))
    options = {_text(name): value for name, value in dict(said.get("options", {})).items()}
    return Affinity(
        models, _matrix(said["affinity"], len(models)), said["method"], probe | sizes,
        tuple(Failure(_text(one["path"]), _text(one["error"])) for one in _list(said["failed"], _MOST_MODELS, "failed")),
        tuple(_text(one) for one in _list(said["warnings"], 10 * _MOST_MODELS, "warnings")), options, errors,
        {_text(name): _certainty(name, one) for name, one in dict(said.get("certainty", {})).items() if name in names},
        next(iter(dict(said.get("scores", {}))), "attribution"), **_ranking(said, len(models)),
    )  # fmt: skip


def _ranking(said: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The score by which sources are ranked, where that is not the matrix's own."""
    if said.get("ranked_by") is None:
        return {}
    name = _text(said["ranked_by"])
    return {"ranked_by": name, "scores": {name: _matrix(dict(said["scores"])[name], count)}}


def _record(said: Mapping[str, Any]) -> ModelRecord:
    values = {field.name: said.get(field.name, ()) for field in fields(ModelRecord)}
    texts = {name: _text(values[name]) for name in ("name", "path", "sha256", "encoder", "input", "producer")}
    _need(texts["name"] != "", "name")
    assumed = tuple(_text(one) for one in _list(list(values["assumed"]), 1000, "assumed"))
    return ModelRecord(**texts, opset=_whole(values["opset"]), assumed=assumed)


def _certainty(target: str, said: Mapping[str, Any]) -> Certainty:
    rows = tuple(
        SourceCertainty(
            _text(one["source"]),
            math.nan,
            float(one["low"]),
            float(one["high"]),
            None if one["ahead"] is None else float(one["ahead"]),
        )
        for one in _list(said["sources"], _MOST_MODELS, "certainty")
    )
    settled, images, resamples = (_whole(said[name]) for name in ("settled", "images", "resamples"))
    return Certainty(target, rows, settled, images, resamples, float(said["level"]))


def _matrix(said: Any, count: int) -> NDArray[np.float64]:
    _need(
        isinstance(said, list) and len(said) == count and all(isinstance(row, list) and len(row) == count for row in said),
        "affinity",
    )
    found = np.array([[math.nan if cell is None else float(cell) for cell in row] for row in said]).reshape(count, count)
    _need(not np.isinf(found).any() and bool((np.abs(found[np.isfinite(found)]) <= 1e9).all()), "affinity")
    return found


def _list(said: Any, most: int, what: str) -> Sequence[Any]:
    _need(isinstance(said, list) and len(said) <= most, what)
    return list(said)


def _text(said: Any) -> str:
    _need(isinstance(said, str) and len(said) <= 100_000, "text")
    return str(said)


def _whole(said: Any) -> int:
    _need(type(said) is int and 0 <= said < 2**53, "numbers")
    return int(said)


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"its {what} make no sense")


def _maps(folder: Path, found: Affinity) -> tuple[Path | None, ...]:
    """The file of each model: several models of one content have one file each, numbered in their order, or share one."""
    shape = found.probe["images"], found.probe["size"] ** 2
    by_content: dict[str, list[int]] = {}
    for place, model in enumerate(found.models):
        by_content.setdefault(model.sha256[:12], []).append(place)
    paths: list[Path | None] = [None] * len(found.models)
    for stem, places in by_content.items():
        files = _files(folder, stem, len(places))
        shared = len(files) == 1 and found.errors is None  # beside fingerprints nobody knows whose it is
        chosen = files * len(places) if shared else files
        for place, path in zip(places, chosen if len(chosen) == len(places) else (), strict=False):
            paths[place] = _checked(path, shape, "float16")
    return tuple(paths)


def _pictures(path: Path, probe: Mapping[str, Any]) -> NDArray[np.uint8] | None:
    """The photos, checked against the result's own digest of them. Raises TableError."""
    if not os.path.lexists(path):
        return None
    size = probe["size"]
    found = np.load(_checked(path, (probe["images"], size, size, 3), "uint8"), allow_pickle=False)
    if Probes(probe["name"], found).sha256 != probe["sha256"]:
        raise TableError(f"{path} is damaged (other images than the result's). {_AGAIN}")
    return np.asarray(found)


def _files(folder: Path, stem: str, most: int) -> list[Path]:
    if len(stem) != 12 or not set(stem) <= set("0123456789abcdef"):
        return []
    names = [f"{stem}.npy", *(f"{stem}-{number}.npy" for number in range(2, most + 1))]
    return [folder / name for name in names if (folder / name).exists()]


def _checked(path: Path, shape: tuple[int, ...], kind: str) -> Path:
    """The same, if it holds an array of that shape and type. Raises TableError."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("no plain file")
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != np.dtype(kind).newbyteorder("<"):
            raise ValueError(f"not an array of {kind} {list(shape)}")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise TableError(f"{path} is damaged ({str(error).splitlines()[0][:200] or 'unreadable'}). {_AGAIN}") from error
    return path
