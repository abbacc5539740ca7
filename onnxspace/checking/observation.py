"""The observation of an artifact: facts of its file, and its maps and signals on the probe images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.checking.file_facts import FileFacts, facts_dict, read_facts
from onnxspace.checking.values import Signal
from onnxspace.storage.regular_files import map_array


@dataclass(frozen=True, eq=False)
class Observation:
    """What was observed of an artifact on the probe images.

    `maps` float16 [images, pixels] are its maps, None where only their fingerprint is known; `prints` float16
    [images, numbers] is that fingerprint. `encoder` is the signal at the encoder, None where unknown; `outputs` are the signals
    of the outputs by name, in the order of the file; `unmeasured` says why other outputs have none. `broken` says why there are
    no maps and no signal at the encoder although the outputs were computed; it is empty otherwise.
    """

    facts: FileFacts
    prints: NDArray[np.float16]
    encoder: Signal | None
    outputs: Mapping[str, Signal]
    maps: NDArray[np.float16] | None = None
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    broken: str = ""

    @property
    def images(self) -> int:
        return len(self.prints)


def save_observation(found: Observation, folder: Path) -> None:
    """Write an observation to files in `folder`, for another process."""
    arrays: dict[str, NDArray[Any]] = {"prints": found.prints}
    content: dict[str, Any] = {
        "facts": facts_dict(found.facts),
        "outputs": {},
        "unmeasured": dict(found.unmeasured),
        "broken": found.broken,
    }
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
        map_array(folder / "prints.npy"),
        _load_signal(content["encoder"], folder) if "encoder" in content else None,
        {name: _load_signal(signal, folder) for name, signal in content["outputs"].items()},
        map_array(maps) if maps.exists() else None,
        content["unmeasured"],
        content["broken"],
    )


def _load_signal(content: Mapping[str, Any], folder: Path) -> Signal:
    signal = Signal.read(content)
    rows = None if content["rows"] is None else map_array(folder / f"{content['rows']}.npy")
    return replace(signal, rows=rows)
