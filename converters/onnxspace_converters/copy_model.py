"""An ONNX file that is there already: checked, brought into one file, and told what its folder knows of its images."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnxspace.exporters import Facts, Request
from onnxspace.inputs.config import ModelOptions
from onnxspace.model.network import embed_weights
from onnxspace.model.reader import read_model
from onnxspace_converters.deliver import annotate, versions_of
from onnxspace_converters.write_model import write_model


def copy_model(path: Path, source: str, destination: Path, request: Request, said: ModelOptions) -> Facts:
    """Copy a model with its external data into one file. Raises ModelError for one that can't be read, or is too large."""
    request.progress("reading the model", 0, 1)
    network, digest = read_model(path)
    model = onnx.ModelProto()
    model.CopyFrom(embed_weights(network))
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    facts = Facts("ONNX", "copied", opset, versions_of(["onnx"]), digest, request.encoder, None, said)
    annotate(model, facts, source)
    write_model(model, destination, source)
    return facts
