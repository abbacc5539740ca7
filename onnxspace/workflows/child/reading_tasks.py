"""The tasks of worker processes that need ONNX but not Torch, which takes seconds to load; `tasks` has the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError, OnnxspaceError, unexpected
from onnxspace.model import describe
from onnxspace.model.features import features_key, find_class_output, write_features
from onnxspace.model.model import Model, open_model, rename_model
from onnxspace.sandbox.memory import return_blocks
from onnxspace.sandbox.peak_memory import take_peak_memory
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.child.layer_features import write_layers
from onnxspace.workflows.child.open import describe_prepared, reopen
from onnxspace.workflows.requests import LocatedModel

Request = Mapping[str, Any]
Advance = Callable[[int], None]


def _prepare(request: Request, _advance: Advance) -> Mapping[str, Any]:
    return describe_prepared(reopen(request["model"], None))


def _write_features(request: Request, advance: Advance) -> Mapping[str, Any]:
    """Write the features at the encoder, or the outputs of a classifier, unless their file exists."""
    model = reopen(request["model"], request["sha256"])
    encoder = model.encoder if request["of"] == "encoder" else find_class_output(model.model)
    if encoder is None:
        return {"file": None}
    file = Path(request["folder"], f"{features_key(model.model, encoder.tensors, request['pool'], request['digest'])}.npy")
    if not file.exists():
        write_features(model.model, encoder, map_array(request["images"]), file, request["pool"], advance)
    return {"file": file.name}


def _write_layers(request: Request, advance: Advance) -> Mapping[str, Any]:
    model = reopen(request["model"], request["sha256"])
    return write_layers(model, map_array(request["images"]), Path(request["folder"]), advance)


@return_blocks()
def _inspect(request: Request, _advance: Advance) -> Mapping[str, Any]:
    located = LocatedModel(**request["model"])
    try:
        model = rename_model(open_model(located.file, located.encoder, located.model_options()), located.name)
        description = replace(describe.describe(model), path=located.path)
        return {"description": asdict(description), "support": _list_support(model) if request["support"] else []}
    except (OnnxspaceError, MemoryError):
        raise
    except Exception as error:  # a defect in a library, or a damaged file
        raise ModelError(f"{unexpected(located.path, error)} Export it again.") from error


def _list_support(model: Model) -> list[dict[str, Any]]:
    from onnxspace.torchgraph.support import list_support

    return [asdict(row) for row in list_support(model)]


def _take_memory(_request: Request, _advance: Advance) -> Mapping[str, Any]:
    return {"peak": take_peak_memory()}


TASKS: Mapping[str, Callable[[Request, Advance], Mapping[str, Any]]] = {
    "prepare": _prepare,
    "features": _write_features,
    "layer features": _write_layers,
    "inspect": _inspect,
    "memory": _take_memory,
}
