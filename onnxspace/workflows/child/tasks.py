"""The tasks of worker processes, by name: each takes a request as JSON and returns JSON. Files are written where a request says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxspace.attribution import cache_key
from onnxspace.attribution.devices import resolve_compute
from onnxspace.attribution.explainer import check_options
from onnxspace.attribution.lrp import RULES
from onnxspace.errors import ConfigError, describe
from onnxspace.inputs.execution import Compute, Counter
from onnxspace.inputs.faithfulness import FaithfulnessSettings
from onnxspace.inputs.methods import Options
from onnxspace.model.model import open_model, rename_model
from onnxspace.workflows.child import chunks, layers, reading_tasks, representations
from onnxspace.workflows.child.conversion import convert_ahead
from onnxspace.workflows.child.explain import ModelExplanation
from onnxspace.workflows.child.faithfulness import measure_model
from onnxspace.workflows.child.layer_frames import LayerExplanation
from onnxspace.workflows.child.open import reopen
from onnxspace.workflows.object_masks import decode_objects
from onnxspace.workflows.requests import Destination, FileRequest, LocatedModel, decode_execution, decode_setup, name_function

Request = Mapping[str, Any]
Advance = Callable[[int], None]


def _check(request: Request, _advance: Advance) -> Mapping[str, Any]:
    """Check the device, and methods with their options, before any work is done."""
    if request["compute"] is not None:
        resolve_compute(Compute(**request["compute"]))
    options = None if request["options"] is None else Options(**request["options"])
    check_options(request["methods"], options, decode_setup(request["setup"]).probes, request["rules"])
    return {}


def _make_run_key(request: Request, _advance: Advance) -> Mapping[str, Any]:
    setup, execution = decode_setup(request["setup"]), decode_execution(request["execution"])
    return {"key": cache_key.run_key(setup, execution, request["elsewhere"])}


def _describe_processors(request: Request, _advance: Advance) -> Mapping[str, Any]:
    return {"processors": cache_key.describe_processors(Compute(**request["compute"]))}


def _make_ready(request: Request, _advance: Advance) -> Mapping[str, Any]:
    """Open, convert and verify a model that is explained next."""
    model = reopen(request["model"], request["sha256"])
    return {"ready": convert_ahead(model, decode_setup(request["setup"]), decode_execution(request["execution"]))}


def _write(request: Request, advance: Advance) -> Mapping[str, Any]:
    """Write one representation of a model."""
    model = reopen(request["model"], request["sha256"])
    to = Destination(Path(request["folder"]), request["key"], request["kept"])
    one = representations.representation_of(request["kind"], FileRequest(**request["files"]))
    written = one.write(model, to, advance)
    precision = None if written.precision is None else written.precision.to_dict()
    return {"file": written.path.name, "remarks": written.remarks, "precision": precision}


def _explain(request: Request, advance: Advance) -> Mapping[str, Any]:
    located = LocatedModel(**request["model"])
    setups = [decode_setup(setup) for setup in request["setups"]]
    explanation = ModelExplanation(setups, decode_execution(request["execution"]), Path(request["folder"]), advance)
    # no name here for the model, which drops its weights when they are converted
    return explanation.explain(rename_model(open_model(located.file, located.encoder, located.model_options()), located.name))


def _explain_layers(request: Request, advance: Advance) -> Mapping[str, Any]:
    located = LocatedModel(**request["model"])
    model = rename_model(open_model(located.file, located.encoder, located.model_options()), located.name)
    (setup,) = map(decode_setup, request["setups"])
    return LayerExplanation(setup, decode_execution(request["execution"]), Path(request["folder"]), advance).explain(model)


def _measure_faithfulness(request: Request, advance: Advance) -> Mapping[str, Any]:
    model, setups = reopen(request["model"], request["sha256"]), [decode_setup(setup) for setup in request["setups"]]
    settings, execution = FaithfulnessSettings(**request["settings"]), decode_execution(request["execution"])
    objects = decode_objects(request["objects"], setups[0].probes)
    return measure_model(model, setups, settings, execution, Path(request["folder"]), advance, objects)


def _compare_layers(request: Request, advance: Advance) -> Mapping[str, Any]:
    source, target = (reopen(request[name], request[f"{name}_sha256"]) for name in ("source", "target"))
    setup, execution = decode_setup(request["setup"]), decode_execution(request["execution"])
    done = 0

    def report(_what: str, now: int, _total: int) -> None:
        nonlocal done
        advance(now - done)
        done = now

    counter = Counter(2 * len(setup.probes), report)
    run = layers.LayerComparison(setup, execution, Path(request["folder"]), request["weight"], counter)
    table = run.table(source, target)
    return {
        "layers": [asdict(layer) for layer in table.layers], "trained": table.trained, "skipped": table.skipped,
        "encoder": table.source.encoder, "warnings": table.warnings,
    }  # fmt: skip


def _compute_chunk(request: Request, _advance: Advance) -> Mapping[str, Any]:
    return asdict(chunks.compute_chunk(request["run"], request["model"], request["range"]))


def _set_up(request: Request, _advance: Advance) -> Mapping[str, Any]:
    """Import modules in which the user adds rules."""
    import sys
    from importlib import import_module

    for name, folder in request["modules"]:
        if folder not in sys.path:
            sys.path.append(folder)
        try:
            import_module(name)
        except Exception as error:  # of the user's code
            raise ConfigError(
                f"The module {name}, which adds rules, can't be imported by a worker process ({describe(error)}). Let it need nothing "
                "but what it imports itself."
            ) from error
    for key, rule in request["rules"].items():
        if key not in RULES or name_function(RULES[key]) != rule:
            raise ConfigError(
                f"The rule {key!r} is not added to RULES when {rule.partition(':')[0]} is imported, so that a worker process lacks it. "
                "Add it there, outside of functions."
            )
    return {}


TASKS: Mapping[str, Callable[[Request, Advance], Mapping[str, Any]]] = {
    **reading_tasks.TASKS,
    "check": _check,
    "set up": _set_up,
    "run key": _make_run_key,
    "processors": _describe_processors,
    "ready": _make_ready,
    "write": _write,
    "explain": _explain,
    "explain layers": _explain_layers,
    "faithfulness": _measure_faithfulness,
    "layers": _compare_layers,
    "chunk": _compute_chunk,
}
