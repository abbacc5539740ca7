"""The tasks of the child process. Each imports what it needs, since only one of them needs Torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.methods import Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target
from onnxspace.model.model import Model, open_model
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.requests import LocatedModel

#: Number of images on which layers and input changes are compared.
FEW = 4


def _probes(request: Mapping[str, Any]) -> Probes:
    return Probes(request["probe"], map_array(request["images"]))


def _open(given: Mapping[str, Any]) -> Model:
    located = LocatedModel(**given)
    return open_model(located.file, located.encoder, located.model_options())


def _observe(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    _open(request["model"])  # refuses an unreadable file before Torch is loaded
    from onnxspace.checking.child.observe import observe

    model = LocatedModel(**request["model"])
    observe(model, _setup(request), _execution(request), folder, whole=request["whole"])
    return {}


def _setup(request: Mapping[str, Any]) -> Setup:
    """Images, method and options; rules of the configuration are among the options already."""
    options = request["options"]
    target = None if request["explained"] is None else Target.from_json(request["explained"])
    return Setup(_probes(request), request["method"], None if options is None else Options(**options), target)


def _execution(request: Mapping[str, Any]) -> Execution:
    return Execution.on(Compute(request["device"], request["precision"]))


def _maps(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Maps alone, by another baseline than before."""
    from onnxspace.workflows.child.open import prepare_located
    from onnxspace.workflows.child.representations import write_maps
    from onnxspace.workflows.requests import Destination

    found = prepare_located(LocatedModel(**request["model"]))
    write_maps(found, _setup(request), _execution(request), Destination(folder, "maps"))
    return {}


def _layers(request: Mapping[str, Any], _folder: Path) -> dict[str, Any]:
    """Compare the layers and the weights of two models."""
    from onnxspace.checking.child.layers import compare_layers, weight_changes

    new, old = _open(request["model"]), _open(request["other"])
    return {
        "layers": compare_layers(old, new, _probes(request).images[:FEW]),
        "weights": weight_changes(old.network, new.network),
    }


def _variants(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Signals at the encoder for each change of the model's input."""
    from onnxspace.checking.child.variants import observe_variants

    model = _open(request["model"])
    return observe_variants(model, request["fed"], _probes(request).images, folder / "variant.npy")


def _write_form(request: Mapping[str, Any], _folder: Path) -> dict[str, Any]:
    """Write the model in another form."""
    from onnxspace.checking.child.forms import write_form

    model = _open(request["model"])
    write_form(request["form"], model, _probes(request).images, Path(request["target"]))
    given = model.preprocess
    options = {"size": (given.height, given.width), "color": given.color, "scale": given.scale}
    return {"options": {**options, "mean": given.mean, "std": given.std}}


TASKS: Mapping[str, Callable[[Mapping[str, Any], Path], dict[str, Any]]] = {
    "observe": _observe,
    "maps": _maps,
    "layers": _layers,
    "variants": _variants,
    "make": _write_form,
}
