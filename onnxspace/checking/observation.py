"""The observation of an artifact: facts of its file, and its maps and signals on the probe images."""

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
from onnxspace.storage.map_file import to_unit_maps
from onnxspace.storage.regular_files import map_array

#: Length of an image's sketch, which is kept where the values themselves are not.
NUMBERS = 64
_MOST_IMAGES = 100_000


@dataclass(frozen=True)
class FileFacts:
    """Facts of a model file: `inputs` and `outputs` as type and shape by name, `operators` as counts by name, and so on.

    `weights` are names and checksums of stored tensors in the order of the graph's nodes, which is that of other exports of
    the same network too. `assumed` are assumptions on its input, a sentence each. `bytes` is 0 where the file was not read.
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
        """Whether the file itself was read; a model of a space or a bare fingerprint has only names."""
        return self.bytes > 0


@dataclass(frozen=True, eq=False)
class Signal:
    """The values of a network at its encoder or an output, image by image, reduced to a size that a notes file can hold.

    `shape` is that of one image's values. `sketch` float16 [images, NUMBERS] is that of the rows divided by their norms,
    `lengths` float64 [images] are the norms, `top` intp [images] is the index of the largest value. `varying` is
    Σ|row − mean row|², NaN where a baseline does not have it. `rows` float32 [images, values] are the values, where available.
    """

    shape: tuple[int, ...]
    sketch: NDArray[np.float16]
    lengths: NDArray[np.float64]
    top: NDArray[np.intp]
    rows: NDArray[np.float32] | None = None
    varying: float = math.nan

    @classmethod
    def of(cls, rows: NDArray[np.float32], shape: tuple[int, ...]) -> Signal:
        """The signal of values float32 [images, values], each of `shape`."""
        lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
        sketch = project(to_unit_maps(rows)[0], NUMBERS).astype(np.float16)
        varying = sum(
            float(np.square(part.astype(np.float64) - part.mean(0, np.float64)).sum()) for part in _column_chunks(rows)
        )
        return cls(shape, sketch, lengths, rows.argmax(axis=1).astype(np.intp), rows, varying)

    def to_dict(self) -> dict[str, Any]:
        """The signal without its rows, ready for JSON."""
        return {
            "shape": list(self.shape),
            "lengths": [float(f"{length:.7g}") for length in self.lengths],
            "top": self.top.tolist(),
            **({"varying": float(f"{self.varying:.7g}")} if math.isfinite(self.varying) else {}),
            "sketch": base64.b64encode(np.ascontiguousarray(self.sketch, dtype="<f2").tobytes()).decode("ascii"),
        }

    @classmethod
    def read(cls, content: Any) -> Signal:
        """The signal that `to_dict` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        lengths = np.array(content["lengths"], np.float64)
        top = np.array(content["top"], np.intp)
        values = np.frombuffer(base64.b64decode(content["sketch"], validate=True), "<f2").astype(np.float16)
        images = len(lengths)
        if lengths.ndim != 1 or top.shape != (images,) or not 0 < images <= _MOST_IMAGES or not np.isfinite(lengths).all():
            raise ValueError("its lengths and tops don't match")
        if not np.isfinite(values).all():
            raise ValueError("its sketch is not finite")
        shape = tuple(int(size) for size in content["shape"])
        varying = float(content.get("varying", math.nan))
        return cls(shape, values.reshape(images, NUMBERS), lengths, top, None, varying if varying >= 0 else math.nan)


def _column_chunks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Chunks of columns, a few million values at a time."""
    step = max(1, 2**22 // max(1, len(rows)))
    for first in range(0, rows.shape[1], step):
        yield rows[:, first : first + step]


@dataclass(frozen=True, eq=False)
class Observation:
    """What was observed of an artifact on the probe images.

    `maps` float16 [images, pixels] are its maps, None where only their fingerprint is known; `prints` float16
    [images, numbers] is that fingerprint. `encoder` is the signal at the encoder, None where unknown; `outputs` are the signals
    of the outputs by name, in the order of the file.
    """

    facts: FileFacts
    prints: NDArray[np.float16]
    encoder: Signal | None
    outputs: Mapping[str, Signal]
    maps: NDArray[np.float16] | None = None

    @property
    def images(self) -> int:
        return len(self.prints)


def read_facts(content: Any, where: Path) -> FileFacts:
    """Facts from untrusted JSON; `where` is its file, which a ModelError for invalid content names."""
    try:
        known = {f.name for f in fields(FileFacts)}
        values = {key: value for key, value in content.items() if key in known}
        values["weights"] = tuple((str(name), str(digest)) for name, digest in values.get("weights", ()))
        for name in ("assumed", "warnings"):
            values[name] = tuple(str(word) for word in values.get(name, ()))
        for name in ("inputs", "outputs", "operators"):
            values[name] = dict(values[name])
        found = FileFacts(**values)
        if not all(isinstance(getattr(found, n), str) for n in ("name", "path", "sha256", "producer", "encoder")):
            raise TypeError("names must be text")
        if not all(type(getattr(found, n)) is int for n in ("bytes", "opset", "parameters")):
            raise TypeError("sizes must be whole numbers")
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{where} does not describe an artifact ({error}); make it again with --update.") from error
    return found


def facts_without_file(name: str, path: str, sha256: str, encoder: str) -> FileFacts:
    """Facts of a model whose file was not read."""
    return FileFacts(name, path, sha256, 0, "", 0, encoder, {}, {}, {}, 0)


def facts_dict(facts: FileFacts) -> dict[str, Any]:
    return asdict(facts)


def save_observation(found: Observation, folder: Path) -> None:
    """Write an observation to files in `folder`, for another process."""
    arrays: dict[str, NDArray[Any]] = {"prints": found.prints}
    content: dict[str, Any] = {"facts": facts_dict(found.facts), "outputs": {}}
    if found.encoder is not None:
        content["encoder"] = _signal_dict(found.encoder, "encoder", arrays)
    for number, (name, signal) in enumerate(found.outputs.items()):
        content["outputs"][name] = _signal_dict(signal, f"output{number}", arrays)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    (folder / "observation.json").write_text(json.dumps(content), "utf-8")


def _signal_dict(signal: Signal, name: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    if signal.rows is not None:
        arrays[name] = signal.rows
    return {**signal.to_dict(), "rows": name if signal.rows is not None else None}


def load_observation(folder: Path) -> Observation:
    """The observation that `save_observation` wrote; its arrays are memory-mapped."""
    content = json.loads((folder / "observation.json").read_text("utf-8"))
    maps = folder / "maps.npy"
    return Observation(
        read_facts(content["facts"], folder),
        _map_array(folder / "prints.npy"),
        _load_signal(content["encoder"], folder) if "encoder" in content else None,
        {name: _load_signal(signal, folder) for name, signal in content["outputs"].items()},
        _map_array(maps) if maps.exists() else None,
    )


def _load_signal(content: Mapping[str, Any], folder: Path) -> Signal:
    signal = Signal.read(content)
    rows = None if content["rows"] is None else _map_array(folder / f"{content['rows']}.npy")
    return replace(signal, rows=rows)


def _map_array(file: Path) -> Any:
    return map_array(file)
