"""What determines the bits of a model's maps, as digests: maps are used again only where these are equal."""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from onnxspace.attribution.devices import list_devices, resolve_compute
from onnxspace.attribution.explainer import rules_for
from onnxspace.attribution.lrp import RULES
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.methods import BASELINES
from onnxspace.inputs.probes import read_square
from onnxspace.inputs.protocol import Setup, installed_versions
from onnxspace.model.model import Model

_PACKAGE = Path(str(files("onnxspace")))
_LIBRARIES = ("onnxspace", "torch", "numpy", "onnx", "onnx-ir", "onnxscript", "onnx2torch", "pillow")


def run_key(setup: Setup, execution: Execution, elsewhere: Sequence[object] | None = None) -> str:
    """16 hex digits for all that determines maps besides the model: method and options, images, machine, libraries.

    The number of threads and the kind of processor are among them, since sums are taken in another order with others;
    `elsewhere` are the `processors` of other machines, which compute instead of this one.
    """
    compute = execution.compute
    facts = {
        "method": setup.method,
        "options": _resolve_options(setup),
        "probes": setup.probes.sha256,
        "batch size": execution.batch_size,
        "compute": [asdict(compute), *(describe_processors(compute) if elsewhere is None else elsewhere)],
        "libraries": library_versions(),
        "code": _hash_code(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def model_key(model: Model, tensors: tuple[str, ...]) -> str:
    """32 hex digits for what the model adds: the file's content, where it is cut, and how it is fed."""
    return hashlib.sha256(repr((model.sha256, tensors, model.preprocess, model.image.name)).encode()).hexdigest()[:32]


def _resolve_options(setup: Setup) -> dict[str, Any]:
    """Every option with its default; a baseline's picture in place of its name, and a rule set's content."""
    settings = setup.settings
    stated = setup.stated_options
    if (word := str(stated.get("baseline", "zero"))) not in BASELINES:
        stated["baseline"] = hashlib.sha256(read_square(Path(word), setup.probes.size).tobytes()).hexdigest()
    if (rules := rules_for(setup.method, settings)) is not None:
        stated["rules"] = [dict(rules.rules), rules.epsilon, rules.gamma, rules.alpha, rules.beta]
        stated["code"] = {name: _identify_rule(name) for name in rules.rules.values()}
    return stated


def _identify_rule(name: str) -> str:
    """Nothing, for a rule of ours; for one that was added in Python, a name that no other run has: its code may change."""
    home: str = getattr(RULES.get(name), "__module__", "")
    return "" if home.startswith("onnxspace.") else uuid.uuid4().hex


def describe_processors(compute: Compute) -> list[list[object]]:
    """The processors of this machine that compute so, in words and numbers."""
    return [_describe_device(device) for device in list_devices(resolve_compute(compute))]


def library_versions() -> dict[str, str]:
    """The versions of this package and of the libraries that determine maps."""
    return installed_versions(_LIBRARIES)


def _describe_device(device: torch.device) -> list[object]:
    precision = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        return [torch.cuda.get_device_name(device), torch.version.cuda, precision]
    return [platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), precision]


@cache
def _hash_code(package: Path = _PACKAGE) -> str:
    """SHA-256 of all modules of this package: the version alone does not tell two states of a checkout apart."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
