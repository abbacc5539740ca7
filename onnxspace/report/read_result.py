"""Read the result folder of `score --output`, which is treated as untrusted."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import TableError
from onnxspace.inputs.arrays import count_bands
from onnxspace.inputs.methods import METHODS
from onnxspace.inputs.pixel_record import parse_pixel_record
from onnxspace.inputs.precision import parse_precision
from onnxspace.inputs.probes import Probes
from onnxspace.report.result_folder import PROBES, SUMMARY
from onnxspace.similarity.affinity import SCHEMA, SCHEMAS, Affinity
from onnxspace.similarity.certainty import Certainty, SourceCertainty
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.similarity.reliability import Evidence, find_evidence
from onnxspace.storage.float16 import all_finite
from onnxspace.storage.json_fields import is_text, is_whole, require
from onnxspace.storage.regular_files import NotRegularError, load_array, map_array, read_regular

_MOST_BYTES = 256 * 2**20
_MOST_MODELS = 20_000
_MOST_TEXT = 100_000
_AGAIN = "Compare the models again, with another --output."


@dataclass(frozen=True, eq=False)
class StoredResult:
    """A result with its files.

    `maps` has the file of each model's unit maps float16 [images, size²], None where it is missing or ambiguous. `pictures` are
    the probe images, uint8 [images, size, size, bands], None where the folder has none.
    """

    affinity: Affinity
    maps: tuple[Path | None, ...]
    pictures: NDArray[np.uint8] | None = None


def read_result(folder: Path) -> StoredResult:
    """Read a result folder of `score --output`. Raises TableError for anything else."""
    path = folder / SUMMARY
    content = _parse(path)
    try:
        found = _affinity(content)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise TableError(f"{path} is damaged ({_reason(error)}). {_AGAIN}") from error
    return StoredResult(found, _maps(folder / "maps", found), _pictures(folder / PROBES, found.probe))


def _reason(error: Exception) -> str:
    return "it does not contain a result" if not isinstance(error, ValueError) or not error.args else str(error)[:200]


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = read_regular(path, _MOST_BYTES, follow=False)
        if len(content) > _MOST_BYTES:
            raise TableError(f"{path} is larger than {_MOST_BYTES >> 20} MiB. Compare fewer models.")
        parsed = json.loads(content, parse_constant=_refuse)
    except (FileNotFoundError, IsADirectoryError, NotRegularError) as error:
        raise TableError(
            f"{path} is not a file. Name a model space, or a folder that `onnxspace score --output` wrote."
        ) from error
    except OSError as error:
        raise TableError(f"{path} can't be read ({error.strerror or error}). Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path} is damaged (it is not JSON). {_AGAIN}") from error
    if not isinstance(parsed, dict) or parsed.get("schema") not in SCHEMAS:
        raise TableError(f"{path} is not a result of onnxspace score ({SCHEMA}). Name another folder, or upgrade onnxspace.")
    return parsed


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _affinity(content: Mapping[str, Any]) -> Affinity:
    models = tuple(_record(one) for one in _list(content["models"], _MOST_MODELS, "models"))
    names = [model.name for model in models]
    require(0 < len(names) == len(set(names)), "models")
    require(content["method"] in METHODS, "method")
    errors = None if content.get("errors") is None else _matrix(content["errors"], len(models))
    options = {_text(name): value for name, value in dict(content.get("options", {})).items()}
    rest = _read_first_schema if content["schema"] == SCHEMAS[0] else _read_scores
    return Affinity(
        models, method=content["method"], probe=_probe(content["probe"]),
        failed=tuple(Failure(_text(one["path"]), _text(one["error"])) for one in _list(content["failed"], _MOST_MODELS, "failed")),
        warnings=tuple(_text(one) for one in _list(content["warnings"], 10 * _MOST_MODELS, "warnings")), options=options,
        errors=errors,
        certainty={_text(name): _certainty(name, one) for name, one in dict(content.get("certainty", {})).items() if name in names},
        precisions={name: parse_precision(dict(content["precisions"])[name]) for name in names if content.get("precisions")},
        **rest(content, names),
    )  # fmt: skip


def _probe(content: Mapping[str, Any]) -> dict[str, Any]:
    texts = {"name": _text(content["name"]), "sha256": _text(content["sha256"])}
    return texts | {"images": _whole(content["images"]), "size": _whole(content["size"])}


def _read_first_schema(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Matrix and ranking of schema 1, in which `affinity` is the first score's matrix whatever that is."""
    first = next(iter(dict(content.get("scores", {}))), "attribution")
    found = {
        "matrix": _matrix(content["affinity"], len(names)),
        "by": first,
        "evidence": find_evidence(content["probe"]["name"]),
    }
    if content.get("ranked_by") is None:
        return found
    name = _text(content["ranked_by"])
    return found | {"ranked_by": name, "scores": {name: _matrix(dict(content["scores"])[name], len(names))}}


def _read_scores(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Matrices and rankings of schema 2."""
    by, ranked_by = _text(content["by"]), _text(content["ranked_by"])
    rankings = {name: dict(content["rankings"])[name] for name in names}
    own = {name: _text(one["by"]) for name, one in rankings.items()}
    wanted = {by, ranked_by, *own.values()}
    scores = {name: _matrix(one, len(names)) for name, one in dict(content.get("scores", {})).items() if name in wanted}
    if by == "attribution":
        scores[by] = _matrix(content["affinity"], len(names))
    require(wanted <= scores.keys(), "scores")
    require(content["evidence"] in get_args(Evidence), "evidence")
    return {
        "matrix": scores[by], "by": by, "ranked_by": ranked_by, "scores": scores, "evidence": content["evidence"],
        "ranked_targets": {name: one for name, one in own.items() if one != ranked_by},
        "pictures": None if content.get("pictures") is None else _probe(content["pictures"]),
        "brackets": {name: _brackets(one) for name, one in rankings.items()},
        "notes": {name: tuple(_text(note) for note in _list(one["notes"], 100, "notes")) for name, one in rankings.items()},
    }  # fmt: skip


def _brackets(content: Mapping[str, Any]) -> tuple[int, ...]:
    rows = _list(content["sources"], _MOST_MODELS, "sources")
    return tuple(_whole(one["bracket"]) for one in rows if one["bracket"] is not None)


def _record(content: Mapping[str, Any]) -> ModelRecord:
    values = {field.name: content.get(field.name, ()) for field in fields(ModelRecord)}
    texts = {name: _text(values[name]) for name in ("name", "path", "sha256", "encoder", "input", "producer")}
    require(texts["name"] != "", "name")
    assumed = tuple(_text(one) for one in _list(list(values["assumed"]), 1000, "assumed"))
    pixels = parse_pixel_record(content.get("pixels"))
    return ModelRecord(**texts, opset=_whole(values["opset"]), assumed=assumed, pixels=pixels)


def _certainty(target: str, content: Mapping[str, Any]) -> Certainty:
    rows = tuple(
        SourceCertainty(
            _text(one["source"]),
            math.nan,
            float(one["low"]),
            float(one["high"]),
            None if one["ahead"] is None else float(one["ahead"]),
        )
        for one in _list(content["sources"], _MOST_MODELS, "certainty")
    )
    settled, images, resamples = (_whole(content[name]) for name in ("settled", "images", "resamples"))
    return Certainty(target, rows, settled, images, resamples, float(content["level"]))


def _matrix(content: Any, count: int) -> NDArray[np.float64]:
    require(
        isinstance(content, list)
        and len(content) == count
        and all(isinstance(row, list) and len(row) == count for row in content),
        "affinity",
    )
    found = np.array([[math.nan if cell is None else float(cell) for cell in row] for row in content]).reshape(count, count)
    require(not np.isinf(found).any() and bool((np.abs(found[np.isfinite(found)]) <= 1e9).all()), "affinity")
    return found


def _list(content: Any, most: int, what: str) -> Sequence[Any]:
    require(isinstance(content, list) and len(content) <= most, what)
    return list(content)


def _text(content: Any) -> str:
    require(is_text(content, _MOST_TEXT), "text")
    return str(content)


def _whole(content: Any) -> int:
    require(is_whole(content, 0, 2**53 - 1), "number")
    return int(content)


def _maps(folder: Path, found: Affinity) -> tuple[Path | None, ...]:
    """The map file of each model: models of one content have one file each, numbered in their order, or share one."""
    shape = found.probe["images"], found.probe["size"] ** 2
    by_content: dict[str, list[int]] = {}
    for place, model in enumerate(found.models):
        by_content.setdefault(model.sha256[:12], []).append(place)
    paths: list[Path | None] = [None] * len(found.models)
    for stem, places in by_content.items():
        files = _files(folder, stem, len(places))
        shared = len(files) == 1 and found.errors is None  # beside fingerprints, it may belong to any of them
        chosen = files * len(places) if shared else files
        for place, path in zip(places, chosen if len(chosen) == len(places) else (), strict=False):
            paths[place] = _check_array(path, shape, "float16")
    return tuple(paths)


def _pictures(path: Path, probe: Mapping[str, Any]) -> NDArray[np.uint8] | None:
    """The probe photos, verified by the result's checksum of them. Raises TableError."""
    if not os.path.lexists(path):
        return None
    size = probe["size"]
    found = load_array(_check_array(path, (probe["images"], size, size, count_bands(path)), "uint8"))
    if Probes(probe["name"], found).sha256 != probe["sha256"]:
        raise TableError(f"{path} is damaged (its images are not those of the result). {_AGAIN}")
    return np.asarray(found)


def _files(folder: Path, stem: str, most: int) -> list[Path]:
    if len(stem) != 12 or not set(stem) <= set("0123456789abcdef"):
        return []
    names = [f"{stem}.npy", *(f"{stem}-{number}.npy" for number in range(2, most + 1))]
    return [folder / name for name in names if (folder / name).exists()]


def _check_array(path: Path, shape: tuple[int, ...], kind: str) -> Path:
    """Return `path` if it holds an array of that shape and type, of finite numbers. Raises TableError."""
    try:
        found = map_array(path, follow=False)
        if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != np.dtype(kind).newbyteorder("<"):
            raise ValueError(f"not an array of {kind} {list(shape)}")
        if kind == "float16" and not all_finite(found):
            raise ValueError("a number in it is not finite")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise TableError(f"{path} is damaged ({str(error).splitlines()[0][:200] or 'unreadable'}). {_AGAIN}") from error
    return path
