"""Describing a model: its inputs, operators and size, and the tensors at which it can be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnxspace.inputs.execution import Execution
from onnxspace.inputs.names import join_tensors, name_models
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.model.records import WAYS, Description, OperatorSupport
from onnxspace.sandbox.limits import Limits
from onnxspace.workflows.requests import wrong_answer
from onnxspace.workflows.session import READING_TASKS, open_session


def inspect(
    model: str | Path,
    encoder: str | Sequence[str] | None = None,
    config: str | Path | None = None,
    *,
    support: bool = False,
    pixels: Pixels = None,
    limits: Limits | str | None = None,
) -> Description:
    """Describe the model `model`: its inputs, operators and size, and the tensors at which it can be cut.

    It is an ONNX file, or what `onnxspace convert` takes, which is converted first; `encoder` is a tensor or node name, or several,
    `config` a configuration's file, `pixels` a preset's name or `StatedPixels`; `limits` are those of the processes that convert and
    read the model, such as "memory=4G,wall=300". With `support`, the result also lists how each operator is converted.

    Returns a `Description`. Raises ModelError for a model that can't be read or cut, ConfigError for invalid options.

    >>> ox.inspect("model.onnx").parameters  # doctest: +SKIP
    11689512
    """
    path = Path(model)
    configuration = resolve_config(config, [path], pixels)
    (name,) = name_models([path], configuration)
    with open_session(Execution.on("auto", limits=limits), READING_TASKS) as session:
        found = session.perform("inspect", session.locate(path, name, join_tensors(encoder), configuration), support=support)
    try:
        described = Description.from_json(found["description"])
        return replace(described, support=tuple(map(_read_support, found["support"]))) if support else described
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise wrong_answer(str(model)) from error


def _read_support(row: Mapping[str, Any]) -> OperatorSupport:
    if row["way"] not in WAYS:
        raise ValueError("not a way of converting")
    return OperatorSupport(str(row["operator"]), int(row["version"]), int(row["count"]), row["way"])
