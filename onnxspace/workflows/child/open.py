"""Preparing a model file for explaining: open it, find its encoder, describe it."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError
from onnxspace.inputs.config import Config
from onnxspace.inputs.weight_sketch import WeightSketch
from onnxspace.model.encoder import ENOUGH_BELOW, Encoder, Trunk, find_encoder
from onnxspace.model.labels import read_labels
from onnxspace.model.model import Model, model_key, open_model, rename_model
from onnxspace.model.weight_layers import sketch_weights
from onnxspace.sandbox.memory import return_blocks
from onnxspace.similarity.records import ModelRecord
from onnxspace.workflows.requests import LocatedModel, locate_model

#: The models that were opened last, by their request: most are computed right after they are described.
_KEPT = 2
_opened: OrderedDict[str, PreparedModel] = OrderedDict()


@dataclass(frozen=True)
class PreparedModel:
    """A model that is ready to be explained: with its encoder, its record in results, warnings (`remarks`), and a sketch of weights."""

    model: Model
    encoder: Encoder
    record: ModelRecord
    remarks: tuple[str, ...]
    weights: WeightSketch


def prepare_model(path: Path, name: str, encoder: str | None, config: Config) -> PreparedModel:
    """Open the model `path`, called `name` in results, and find its encoder.

    `encoder` is a tensor or node name (None: the configured one, or the one found). Raises ModelError, ConfigError.
    """
    return prepare_located(locate_model(path, name, encoder, config))


@return_blocks()
def prepare_located(located: LocatedModel) -> PreparedModel:
    """Open a model and find its encoder. Raises ModelError, ConfigError."""
    model = rename_model(open_model(located.file, located.encoder, located.model_options()), located.name)
    trunk = Trunk(model)
    found = find_encoder(model, trunk)
    inferred = model.encoder == "auto" or found.deviations
    weights = sketch_weights(model.graph, model.image.name)
    pixels = None if model.pixels is None else replace(model.pixels, architecture=weights.architecture)
    assumed = (*model.assumed, *([f"encoder {found} ({found.why})"] if inferred else []))
    record = ModelRecord(
        located.name,
        located.path,
        model.sha256,
        str(found),
        model.image.name,
        model.opset,
        model.producer,
        assumed,
        pixels,
    )
    below = trunk.share_below(list(found.tensors))
    few = model.encoder == "auto" and below < ENOUGH_BELOW
    remark = f"{located.name}: only {below:.0%} of the network lies below its encoder {found}; --encoder names another."
    return PreparedModel(model, found, record, (*model.warnings, *((remark,) if few else ())), weights)


def describe_prepared(found: PreparedModel) -> dict[str, Any]:
    """What the parent process needs to know of a model, as JSON; `requests.parse_description` reads it."""
    model, given = found.model, found.model.preprocess
    stated = {"inputs": model.stated_inputs} if model.stated_inputs else {}
    metadata = {entry.key: entry.value for entry in model.proto.metadata_props}
    return {
        "record": asdict(found.record), "remarks": found.remarks, "key": model_key(model, found.encoder.tensors, found.encoder.deviations),
        "feed": json.dumps({"input": model.image.name, **stated, **asdict(given)}, sort_keys=True),
        "side": max(given.height, given.width), "tensors": found.encoder.tensors, "why": found.encoder.why,
        "deviations": found.encoder.deviations, "weights": asdict(found.weights),
        "labels": read_labels(Path(model.path), metadata, model.producer).to_dict(),
    }  # fmt: skip


def reopen(given: Mapping[str, Any], sha256: str | None) -> PreparedModel:
    """Open a model that a request describes, unless it is open since an earlier one; `sha256` is what it must be (None: anything).

    Raises ModelError, ConfigError.
    """
    key = json.dumps([given, str(Path.cwd())])
    found = _opened.pop(key, None) if sha256 is not None else None
    if found is None:
        while len(_opened) >= _KEPT:
            _opened.popitem(last=False)
        found = prepare_located(LocatedModel(**given))
    if sha256 is not None and found.record.sha256 != sha256:
        raise ModelError(f"{found.record.path} was changed while it was compared. Run this again.")
    _opened[key] = found
    return found
