"""The tasks of the child process. Each imports what it needs, since only one of them needs Torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxspace.inputs.config import Config, load_config
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import configure_options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model, open_model
from onnxspace.storage.regular_files import map_array

#: Number of images on which layers and input changes are compared.
FEW = 4


def _config(request: Mapping[str, Any]) -> Config:
    return Config() if request["config"] is None else load_config(request["config"])


def _probes(request: Mapping[str, Any]) -> Probes:
    return Probes(request["probe"], map_array(request["images"]))


def _open(request: Mapping[str, Any], path: str, encoder: str | None) -> Model:
    return open_model(path, encoder, _config(request).options(Path(path)))


def _observe(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    _open(request, request["path"], request["encoder"])  # refuses an unreadable file before Torch is loaded
    from onnxspace.checking.child.observe import observe

    config, method = _config(request), request["method"]
    setup = Setup(_probes(request), method, configure_options(method, None, config.rules))
    execution = Execution.on(request["device"])
    observe(Path(request["path"]), request["name"], request["encoder"], setup, config, execution, folder)
    return {}


def _layers(request: Mapping[str, Any], _folder: Path) -> dict[str, Any]:
    """Compare the layers and the weights of two models."""
    from onnxspace.checking.child.layers import compare_layers, weight_changes

    new = _open(request, request["path"], request["encoder"])
    old = _open(request, request["other"], request["other_encoder"])
    return {
        "layers": compare_layers(old, new, _probes(request).images[:FEW]),
        "weights": weight_changes(old.network, new.network),
    }


def _variants(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Signals at the encoder for each change of the model's preprocessing."""
    from onnxspace.checking.child.signals import observe_signal
    from onnxspace.checking.child.variants import VARIANTS
    from onnxspace.model.encoder import find_encoder

    model = _open(request, request["path"], request["encoder"])
    images, signals = _probes(request).images, {}
    for name, change in VARIANTS.items():
        if (fed := change(model.preprocess)) is None or fed == model.preprocess:
            continue
        found = observe_signal(replace(model, preprocess=fed), find_encoder(model), images, folder / "variant.npy")
        signals[name] = found.to_dict()
    return {"variants": signals}


def _write_form(request: Mapping[str, Any], _folder: Path) -> dict[str, Any]:
    """Write the model in another form."""
    from onnxspace.checking.child.forms import write_form

    model = _open(request, request["path"], request["encoder"])
    write_form(request["form"], model, _probes(request).images, Path(request["target"]))
    return {}


TASKS: Mapping[str, Callable[[Mapping[str, Any], Path], dict[str, Any]]] = {
    "observe": _observe,
    "layers": _layers,
    "variants": _variants,
    "make": _write_form,
}
