"""Copy an ONNX file of a model folder into one verified file."""

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
    """Copy the model `path` with its external data to the file `destination`.

    `source` is what the user named, `said` the options that its folder states. Raises ModelError for a model that can't be
    read, or is too large for one file.
    """
    request.progress("reading the model", 0, 1)
    network, digest = read_model(path)
    model = onnx.ModelProto()
    model.CopyFrom(embed_weights(network))
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    facts = Facts("ONNX", "copied", opset, versions_of(["onnx"]), digest, request.encoder, None, said)
    annotate(model, facts, source)
    write_model(model, destination, source)
    return facts
