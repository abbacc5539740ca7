"""What is known of an artifact once it has been run: facts about the file, and what it gives for the probe images."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ModelError
from onnxspace.similarity.fingerprints.count_sketch import project
from onnxspace.storage.map_file import unit

#: Numbers that are kept of an image's values where the values themselves are not.
NUMBERS = 64
_MOST_IMAGES = 100_000


@dataclass(frozen=True)
class FileFacts:
    """What the file says: `inputs` and `outputs` by name, as type and shape; `weights` are digests of its stored tensors.

    Weights are in the order of the graph's nodes, so that two exports of one network hold the same in the same order.
    """

    name: str
    path: str
    sha256: str
    bytes: int
    producer: str
    opset: int
    encoder: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    operators: Mapping[str, int]
    parameters: int
    weights: tuple[tuple[str, str], ...] = ()
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def of_file(self) -> bool:
        """Whether the file itself was looked at: of a model of a space or a bare fingerprint, only names are known."""
        return self.bytes > 0


@dataclass(frozen=True, eq=False)
class Signal:
    """What a network gives at one place, image by image, reduced to what fits into a small file.

    `shape` is one image's. `sketch` is float16 [images, NUMBERS] of the rows divided by their lengths, `lengths` float64
    [images], `top` intp [images] the place of the largest value. `varying` is Σ|row − mean row|², NaN where
    a baseline does not say. `rows`, float32 [images, values], where they are at hand.
    """

    shape: tuple[int, ...]
    sketch: NDArray[np.float16]
    lengths: NDArray[np.float64]
    top: NDArray[np.intp]
    rows: NDArray[np.float32] | None = None
    varying: float = math.nan

    @classmethod
    def of(cls, rows: NDArray[np.float32], shape: tuple[int, ...]) -> Signal:
        """From values, float32 [images, values]."""
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        sketch = project(unit(rows)[0], NUMBERS).astype(np.float16)
        varying = sum(float(np.square(part.astype(np.float64) - part.mean(0, np.float64)).sum()) for part in _columns(rows))
        return cls(shape, sketch, lengths, rows.argmax(axis=1).astype(np.intp), rows, varying)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; without the rows."""
        return {
            "shape": list(self.shape),
            "lengths": [float(f"{length:.7g}") for length in self.lengths],
            "top": self.top.tolist(),
            **({"varying": float(f"{self.varying:.7g}")} if math.isfinite(self.varying) else {}),
            "sketch": base64.b64encode(np.ascontiguousarray(self.sketch, dtype="<f2").tobytes()).decode("ascii"),
        }

    @classmethod
    def read(cls, told: Any) -> Signal:
        """From what `to_dict` gave; raises ValueError, KeyError or TypeError for anything else."""
        lengths = np.array(told["lengths"], np.float64)
        top = np.array(told["top"], np.intp)
        values = np.frombuffer(base64.b64decode(told["sketch"], validate=True), "<f2").astype(np.float16)
        images = len(lengths)
        if lengths.ndim != 1 or top.shape != (images,) or not 0 < images <= _MOST_IMAGES or not np.isfinite(lengths).all():
            raise ValueError("lengths and tops of images don't fit together")
        if not np.isfinite(values).all():
            raise ValueError("a sketch is not finite")
        shape = tuple(int(size) for size in told["shape"])
        varying = float(told.get("varying", math.nan))
        return cls(shape, values.reshape(images, NUMBERS), lengths, top, None, varying if varying >= 0 else math.nan)


def _columns(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """A few million values at a time."""
    step = max(1, 2**22 // max(1, len(rows)))
    for first in range(0, rows.shape[1], step):
        yield rows[:, first : first + step]


@dataclass(frozen=True, eq=False)
class Observation:
    """One artifact, observed. `maps` is float16 [images, pixels], None where only a fingerprint of them is known.

    `prints` is their fingerprint, float16 [images, numbers]. `encoder` is what the network gives at its encoder, `outputs`
    what it gives in the end, by the output's name in the order of the file.
    """

    facts: FileFacts
    prints: NDArray[np.float16]
    encoder: Signal | None
    outputs: Mapping[str, Signal]
    maps: NDArray[np.float16] | None = None

    @property
    def images(self) -> int:
        return len(self.prints)


def read_facts(told: Any, where: Path) -> FileFacts:
    """Facts from JSON that may come from anyone. Raises ModelError naming the file."""
    try:
        known = {f.name for f in fields(FileFacts)}
        made = {key: value for key, value in told.items() if key in known}
        made["weights"] = tuple((str(name), str(digest)) for name, digest in made.get("weights", ()))
        for name in ("assumed", "warnings"):
            made[name] = tuple(str(word) for word in made.get(name, ()))
        for name in ("inputs", "outputs", "operators"):
            made[name] = dict(made[name])
        found = FileFacts(**made)
        if not all(isinstance(getattr(found, n), str) for n in ("name", "path", "sha256", "producer", "encoder")):
            raise TypeError("names must be text")
        if not all(type(getattr(found, n)) is int for n in ("bytes", "opset", "parameters")):
            raise TypeError("sizes must be whole numbers")
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{where} is no description of an artifact ({error}); make it again with --update.") from error
    return found


def named(name: str, path: str, sha256: str, encoder: str) -> FileFacts:
    """What is known of a model whose file was not looked at."""
    return FileFacts(name, path, sha256, 0, "", 0, encoder, {}, {}, {}, 0)


def facts_dict(facts: FileFacts) -> dict[str, Any]:
    return asdict(facts)


def save(found: Observation, folder: Path) -> None:
    """Put an observation into a folder of files, for another process."""
    arrays: dict[str, NDArray[Any]] = {"prints": found.prints}
    told: dict[str, Any] = {"facts": facts_dict(found.facts), "outputs": {}}
    if found.encoder is not None:
        told["encoder"] = _store(found.encoder, "encoder", arrays)
    for number, (name, signal) in enumerate(found.outputs.items()):
        told["outputs"][name] = _store(signal, f"output{number}", arrays)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    (folder / "observation.json").write_text(json.dumps(told), "utf-8")


def _store(signal: Signal, name: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    if signal.rows is not None:
        arrays[name] = signal.rows
    return {**signal.to_dict(), "rows": name if signal.rows is not None else None}


def load(folder: Path) -> Observation:
    """What `save` wrote; arrays are memory-mapped."""
    told = json.loads((folder / "observation.json").read_text("utf-8"))
    maps = folder / "maps.npy"
    return Observation(
        read_facts(told["facts"], folder),
        _mapped(folder / "prints.npy"),
        _got(told["encoder"], folder) if "encoder" in told else None,
        {name: _got(signal, folder) for name, signal in told["outputs"].items()},
        _mapped(maps) if maps.exists() else None,
    )


def _got(told: Mapping[str, Any], folder: Path) -> Signal:
    signal = Signal.read(told)
    rows = None if told["rows"] is None else _mapped(folder / f"{told['rows']}.npy")
    return replace(signal, rows=rows)


def _mapped(file: Path) -> Any:
    return np.load(file, mmap_mode="r", allow_pickle=False)
