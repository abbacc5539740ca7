"""What a child process may be asked to do. Each task loads what it needs: only one of them needs Torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxspace.inputs.config import Config, load_config
from onnxspace.inputs.methods import Compute, configured
from onnxspace.inputs.probes import Probes
from onnxspace.model.model import Model, open_model

#: Images on which layers and ways of feeding are compared.
FEW = 4


def _config(request: Mapping[str, Any]) -> Config:
    return Config() if request["config"] is None else load_config(request["config"])


def _probes(request: Mapping[str, Any]) -> Probes:
    return Probes(request["probe"], np.load(request["images"], mmap_mode="r", allow_pickle=False))


def _opened(request: Mapping[str, Any], path: str, encoder: str | None) -> Model:
    return open_model(path, encoder, _config(request).options(Path(path)))


def _observe(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    _opened(request, request["path"], request["encoder"])  # what is no model is refused before Torch is loaded
    from onnxspace.checking.child.observe import observe

    config, method = _config(request), request["method"]
    options = configured(method, None, config.rules)
    observe(
        Path(request["path"]), request["name"], request["encoder"], _probes(request), method, options, config,
        Compute(request["device"]), folder,
    )  # fmt: skip
    return {}


def _layers(request: Mapping[str, Any], _folder: Path) -> dict[str, Any]:
    """Where two models part, and which of their weights differ."""
    from onnxspace.checking.child.layers import layers, weight_changes

    new = _opened(request, request["path"], request["encoder"])
    old = _opened(request, request["other"], request["other_encoder"])
    return {"layers": layers(old, new, _probes(request).images[:FEW]), "weights": weight_changes(old.network, new.network)}


def _variants(request: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the model gives at its encoder where it is fed in other ways."""
    from onnxspace.checking.child.signals import signal
    from onnxspace.checking.child.variants import VARIANTS
    from onnxspace.model.encoder import find_encoder

    model = _opened(request, request["path"], request["encoder"])
    images, made = _probes(request).images, {}
    for name, change in VARIANTS.items():
        if (fed := change(model.preprocess)) is None or fed == model.preprocess:
            continue
        found = signal(replace(model, preprocess=fed), find_encoder(model), images, folder / "variant.npy")
        made[name] = found.to_dict()
    return {"variants": made}


def _make(request: Mapping[str, Any], _folder: Path) -> dict[str, Any]:
    """The model in another form."""
    from onnxspace.checking.child.forms import make

    model = _opened(request, request["path"], request["encoder"])
    make(request["form"], model, _probes(request).images, Path(request["target"]))
    return {}


TASKS: Mapping[str, Callable[[Mapping[str, Any], Path], dict[str, Any]]] = {
    "observe": _observe,
    "layers": _layers,
    "variants": _variants,
    "make": _make,
}
