"""A model file, opened, cut and described, ready to be explained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxspace.exporters.cache import onnx_file, stated_options
from onnxspace.inputs.config import Config
from onnxspace.model.encoder import ENOUGH_BELOW, Encoder, Trunk, find_encoder
from onnxspace.model.model import Model, open_model, rename_model
from onnxspace.similarity.records import ModelRecord

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class PreparedModel:
    """A model that is ready to be explained; `remarks` are what its users should know."""

    model: Model
    encoder: Encoder
    record: ModelRecord
    remarks: tuple[str, ...]


def prepare_model(path: Path, name: str, encoder: str | None, config: Config) -> PreparedModel:
    """Open a model and find where to cut it. Raises ModelError and its kin."""
    file = onnx_file(path, encoder, config)
    model = rename_model(open_model(file, encoder if file == path else None, stated_options(path, file, config)), name)
    trunk = Trunk(model)
    found = find_encoder(model, trunk)
    assumed = (*model.assumed, *([f"encoder {found} ({found.why})"] if model.encoder == "auto" else []))
    record = ModelRecord(name, str(path), model.sha256, str(found), model.image.name, model.opset, model.producer, assumed)
    below = trunk.share_below(list(found.tensors))
    few = model.encoder == "auto" and below < ENOUGH_BELOW
    remark = f"{name}: only {below:.0%} of the network lies below its encoder {found}; --encoder names another."
    return PreparedModel(model, found, record, (remark,) if few else ())
