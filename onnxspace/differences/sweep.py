"""Try which layers of a model can be rounded, and which should stay in float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxspace.differences.precision import Precision, PrecisionLayer, PrecisionSweep
from onnxspace.differences.result import ModelDiff
from onnxspace.differences.run import TASKS, refuse_fingerprints
from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Compute, Execution, Progress
from onnxspace.inputs.names import name_models
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.sandbox.limits import Limits
from onnxspace.storage.json_fields import is_text, require
from onnxspace.workflows.requests import wrong_answer
from onnxspace.workflows.session import open_session

#: Probe images where none are given: half for the ranges of values, a quarter for the choice, and the rest for the test. The least and the most.
DEFAULT_IMAGES, LEAST_IMAGES, MOST_IMAGES = 12, 3, 64
#: Relative error of the outputs that is allowed where none is stated.
DEFAULT_WITHIN = 0.05
_MOST_TEXT, _MOST_LAYERS = 2**16, 2**16


def sweep_precision(
    model: str | Path,
    precision: Precision = "int8",
    probes: Probes | None = None,
    *,
    keep_within: float = DEFAULT_WITHIN,
    found: ModelDiff | None = None,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    limits: Limits | str | None = None,
    progress: Progress | None = None,
    threads: int = 0,
) -> PrecisionSweep:
    """Say which layers of the model `model` should stay in float where the others are rounded to `precision`: `int8` or `half`.

    Weights, input and output of each layer are rounded alone, as ONNX Runtime's tools do by default; the costliest layers stay in float, as few
    as keep the outputs within `keep_within`, a relative error. Half of the images `probes` (None: 12 generated ones; 3 to 64) give the ranges of values,
    a quarter the choice, and the rest test it. `found` is a comparison of the model with a rounded file, whose types are then in the rows. `config` is a configuration or
    its file, `pixels` a preset's name, names by model, or `StatedPixels`; `limits` are those of the process that reads the model, `progress` the
    callback, `threads` the number of its threads (0: as many as it may use).

    Returns a `PrecisionSweep`. Raises ConfigError for invalid options and for fingerprints, ModelError for a model that can't be read or rounded.

    >>> ox.sweep_precision("net.onnx", keep_within=0.02).keep  # doctest: +SKIP
    ('/head/Conv',)
    """
    path, probes = Path(model), Probes.generate(DEFAULT_IMAGES) if probes is None else probes
    _check(path, precision, probes, keep_within)
    configuration = resolve_config(config, [path], pixels)
    (name,) = name_models([path], configuration)
    steps = _Steps(progress)
    with open_session(Execution.on(Compute("cpu", threads=threads), progress=progress, limits=limits), TASKS) as session:
        located = session.locate(path, name, None, configuration)
        images = session.place(Setup(probes, "elrp"))["images"]
        answer = session.perform("sweep", located, steps.advance, images=images, precision=precision, within=keep_within)
    return _add_stored(_read_answer(answer, path, name, precision, keep_within, probes), found)


class _Steps:
    """Progress whose end is not known before the model is open."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._done = progress, 0

    def advance(self, done: int) -> None:
        self._done += done
        if self._progress is not None:
            self._progress("rounding layers", self._done, self._done + 1)


def _check(path: Path, precision: str, probes: Probes, within: float) -> None:
    refuse_fingerprints([path])
    if precision not in ("int8", "half"):
        raise ConfigError(f"{precision!r} is no precision to round layers to. Give int8 or half.")
    if not LEAST_IMAGES <= len(probes) <= MOST_IMAGES:
        raise ConfigError(
            f"Layers are rounded on {LEAST_IMAGES} to {MOST_IMAGES} images, not {len(probes)}. Give another number with --images."
        )
    if not 0 < within <= 1:
        raise ConfigError(f"The outputs can't be kept within {within:g} of their length. Give a share above 0 and up to 1.")


def _read_answer(
    answer: Mapping[str, Any], path: Path, name: str, precision: Precision, within: float, probes: Probes
) -> PrecisionSweep:
    """Check what a worker has answered. Raises ModelError."""
    try:
        require(isinstance(answer["layers"], list) and len(answer["layers"]) <= _MOST_LAYERS, "layers")
        layers = tuple(map(_read_layer, answer["layers"]))
        every, advised, chosen = (_read_error(answer[key]) for key in ("all", "advised", "chosen"))
        random = answer["random"] is True
    except (KeyError, TypeError, ValueError) as error:
        raise wrong_answer(str(path)) from error
    probe: Mapping[str, Any] = {"name": "random", "images": len(probes)} if random else Setup(probes, "elrp").probe_facts()
    return PrecisionSweep(name, str(path), precision, within, layers, every, advised, chosen, probe)


def _read_layer(given: Mapping[str, Any]) -> PrecisionLayer:
    require(is_text(given["name"], _MOST_TEXT) and is_text(given["op"], _MOST_TEXT), "text")
    return PrecisionLayer(given["name"], given["op"], _read_error(given["alone"]), given["keep"] is True)


def _read_error(given: Any) -> float | None:
    number = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < float("inf")
    require(given is None or number, "number")
    return None if given is None else float(given)


def _add_stored(swept: PrecisionSweep, found: ModelDiff | None) -> PrecisionSweep:
    """The types of weights in another file, by the old nodes of a comparison."""
    if found is None:
        return swept
    types = {
        node.name: str(group.weights["types"][1])
        for group in found.groups
        if (group.weights or {}).get("types") and group.weights
        for node in group.old
    }
    layers = tuple(replace(layer, stored=types.get(layer.name)) for layer in swept.layers)
    return replace(swept, layers=layers, other=found.new.name)
