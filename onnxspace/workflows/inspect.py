"""Describing a model: its inputs, operators and size, and the tensors at which it can be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxspace.inputs.execution import Execution
from onnxspace.inputs.names import join_tensors
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.model.records import WAYS, Description, OperatorSupport
from onnxspace.sandbox.limits import Limits
from onnxspace.workflows.requests import LocatedModel, wrong_answer
from onnxspace.workflows.session import READING_TASKS, open_session


def inspect_model(
    model: str | Path,
    encoder: str | Sequence[str] | None = None,
    config: str | Path | None = None,
    *,
    support: bool = False,
    pixels: Pixels = None,
    limits: Limits | str | None = None,
) -> tuple[Description, list[OperatorSupport]]:
    """Describe the ONNX file `model`, and with `support` how each of its operators is converted.

    `encoder` is a tensor or node name, or several, `config` a configuration's file, `pixels` a preset's name or `StatedPixels`; `limits` are those of the process that reads the model.
    Raises ModelError, ConfigError.
    """
    options = asdict(resolve_config(config, [Path(model)], pixels).options(Path(model)))
    stated = {key: value for key, value in options.items() if value is not None}
    located = LocatedModel(str(model), "", str(model), join_tensors(encoder), stated)
    with open_session(Execution.on("auto", limits=limits), READING_TASKS) as session:
        request = {"task": "inspect", "path": str(model), "model": asdict(located), "support": support}
        found = session.worker.perform(request)
    try:
        return Description.from_json(found["description"]), [_read_support(row) for row in found.get("support", [])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise wrong_answer(str(model)) from error


def _read_support(row: Mapping[str, Any]) -> OperatorSupport:
    if row["way"] not in WAYS:
        raise ValueError("not a way of converting")
    return OperatorSupport(str(row["operator"]), int(row["version"]), int(row["count"]), row["way"])
