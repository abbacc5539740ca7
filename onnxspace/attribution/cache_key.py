"""Cache keys: digests of everything that determines the bits of a model's maps. Maps are reused only where these are equal."""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from onnxspace.attribution.devices import list_devices, resolve_compute
from onnxspace.attribution.explainer import rules_for
from onnxspace.attribution.lrp import RULES
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.methods import BASELINES
from onnxspace.inputs.protocol import Setup, installed_versions
from onnxspace.model.model import model_key as model_key

_PACKAGE = Path(str(files("onnxspace")))
_LIBRARIES = ("onnxspace", "torch", "numpy", "onnx", "onnx-ir", "onnxscript", "onnx2torch", "pillow")


def run_key(setup: Setup, execution: Execution, elsewhere: Sequence[object] | None = None) -> str:
    """Return 16 hex digits for everything besides the model that determines maps: method, options, images, machine, libraries, code.

    They include the number of threads and the kind of processor, on which the order of summation depends. `elsewhere` describes the
    processors of other machines that compute instead of this one (None: this one computes). Raises ConfigError for invalid options
    and a device that is not available.
    """
    compute = execution.compute
    facts = {
        "method": setup.method,
        "options": _resolve_options(setup),
        "target": None if setup.target is None else setup.target.to_json(),
        "probes": setup.probes.sha256,
        "batch size": execution.batch_size,
        "compute": [
            asdict(replace(compute, precision=compute.precision or "float32")),
            *(describe_processors(compute) if elsewhere is None else elsewhere),
        ],
        "libraries": library_versions(),
        "code": _hash_code(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _resolve_options(setup: Setup) -> dict[str, Any]:
    """The stated options, with the digest of a baseline image instead of its path, and the content of the rule set."""
    settings = setup.settings
    stated = setup.stated_options
    if (word := str(stated.get("baseline", "zero"))) not in BASELINES:
        stated["baseline"] = hashlib.sha256(read_square(Path(word), setup.probes.size).tobytes()).hexdigest()
    if (rules := rules_for(setup.method, settings)) is not None:
        stated["rules"] = [dict(rules.rules), rules.epsilon, rules.gamma, rules.alpha, rules.beta]
        stated["code"] = {name: _identify_rule(name) for name in rules.rules.values()}
    return stated


def _identify_rule(name: str) -> str:
    """An empty string for a built-in rule; for one added in Python, whose code may change, a unique string."""
    home: str = getattr(RULES.get(name), "__module__", "")
    return "" if home.startswith("onnxspace.") else uuid.uuid4().hex


def describe_processors(compute: Compute) -> list[list[object]]:
    """Describe the devices of this machine that `compute` selects, as strings and numbers. Raises ConfigError."""
    return [_describe_device(device) for device in list_devices(resolve_compute(compute))]


def library_versions() -> dict[str, str]:
    """Return the versions of this package and of the libraries that determine maps, by name."""
    return installed_versions(_LIBRARIES)


def _describe_device(device: torch.device) -> list[object]:
    precision = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        return [torch.cuda.get_device_name(device), torch.version.cuda, precision]
    return [platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads(), precision]


@cache
def _hash_code(package: Path = _PACKAGE) -> str:
    """SHA-256 of all modules of onnxspace: the version does not distinguish two states of a checkout."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
