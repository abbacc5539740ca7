"""Representations of a model that scores compare: maps, features, gradient fields and outputs, each one file for all images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from onnxspace.attribution.devices import list_devices
from onnxspace.attribution.gradient_fields import METHOD, fields_key, write_fields
from onnxspace.attribution.maps import engines_for
from onnxspace.attribution.subject import find_subject
from onnxspace.attribution.torch_runner import TorchRunner
from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.execution import Advance, Counter, Execution
from onnxspace.inputs.methods import Options
from onnxspace.inputs.precision import ModelPrecision
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.features import GraphRunner, features_key, write_features
from onnxspace.model.joint_pass import write_together
from onnxspace.model.model import Model
from onnxspace.model.outputs import find_float_outputs
from onnxspace.model.providers import Provider, find_fault
from onnxspace.model.runtime import shapes_of
from onnxspace.scores.registry import Kind
from onnxspace.storage.map_file import MapWriter, to_unit_maps
from onnxspace.storage.regular_files import map_array
from onnxspace.storage.resume import FEATURES
from onnxspace.workflows.child.conversion import convert_once
from onnxspace.workflows.child.open import PreparedModel
from onnxspace.workflows.files import write_map_file
from onnxspace.workflows.requests import Destination, FileRequest, WrittenFile, decode_execution, decode_setup


@dataclass(frozen=True)
class ComputedMaps:
    """What is said of maps beside their numbers: warnings, and their precision where it was chosen by a measurement."""

    remarks: tuple[str, ...]
    precision: ModelPrecision | None = None


#: Appends the missing maps of a model to a writer.
ComputeMaps = Callable[[PreparedModel, MapWriter, Advance], ComputedMaps]


class Representation(Protocol):
    """One kind of file of a model."""

    def write(self, model: PreparedModel, to: Destination, advance: Advance) -> WrittenFile:
        """Write the file unless it exists.

        `advance` is called with numbers of finished images. Raises ModelError, OutputError.
        """
        ...


@dataclass(frozen=True)
class MapsFile:
    """Unit maps, float16 [images, size · size], which `compute` computes; `whole` says that an unfinished file is not continued."""

    setup: Setup
    compute: ComputeMaps
    whole: bool = False

    def write(self, model: PreparedModel, to: Destination, advance: Advance) -> WrittenFile:
        to, computed = replace(to, kept=to.kept and not self.whole), []

        def compute(writer: MapWriter) -> tuple[str, ...]:
            computed.append(self.compute(model, writer, advance))
            return computed[-1].remarks

        written = write_map_file(self.setup, to, advance, model.model.path, compute)
        return replace(written, precision=computed[-1].precision if computed else None)


def compute_here(setup: Setup, execution: Execution) -> ComputeMaps:
    """Return a function that computes maps in this process, in batches of the size of those that exist already."""

    def compute(model: PreparedModel, writer: MapWriter, advance: Advance) -> ComputedMaps:
        subject = find_subject(model.model, setup, model.encoder)
        converted = convert_once(model, setup, subject.encoder)
        sized = replace(execution, batch_size=writer.batch or execution.batch_size)
        engines, errors = engines_for(model.model, converted, setup, sized, subject=subject), list(writer.errors)
        for found in engines.maps(writer.rows):
            errors += [] if found.errors is None else found.errors.tolist()
            writer.append(to_unit_maps(found.maps)[0], errors[writer.rows : writer.rows + len(found.maps)])
            advance(len(found.maps))
        return ComputedMaps((*engines.remarks(errors), *subject.shift), engines.choice)

    return compute


@dataclass(frozen=True)
class FeaturePlace:
    """What computes features: a `provider`, with a `runner` where it is Torch, and a `remark` where it may differ from others."""

    provider: Provider
    remark: str = ""
    runner: GraphRunner | None = None


@dataclass(frozen=True)
class FeaturesFile:
    """Values of a network's tensors, float32 [images, …]: of its encoder or its outputs, which `locate` returns.

    `further` locates other tensors whose file will be needed next, so that one pass may compute both (None: there are none).
    `execution` says on which device, `what` is their name in remarks.
    """

    setup: Setup
    execution: Execution
    locate: Callable[[PreparedModel], Encoder]
    further: Callable[[PreparedModel], Encoder] | None = None
    what: str = "features"

    def write(self, model: PreparedModel, to: Destination, advance: Advance) -> WrittenFile:
        encoder, probes = self.locate(model), self.setup.probes
        place = self._choose_place(model, encoder, to)
        file = self._name_file(model, encoder, to, place.provider)
        if _has_images(file, len(probes)):
            advance(len(probes))
        elif not self._write_both(model, encoder, to, place, advance):
            write_features(model.model, encoder, probes.images, file, "fit", advance, place.runner or place.provider)
        values = _count_values(model.model, encoder)
        kept = int(np.prod(map_array(file).shape[1:]))
        averaged = f"its {values:,} features per image are averaged over windows, to {kept:,}."
        return WrittenFile(file, (*((averaged,) if values > kept else ()), *((place.remark,) if place.remark else ())))

    def _choose_place(self, model: PreparedModel, encoder: Encoder, to: Destination) -> FeaturePlace:
        """What computes the features: where maps are computed on a GPU, by ONNX Runtime there, else by Torch there, else on the CPU."""
        compute = self.execution.compute
        device = list_devices(compute)[0]
        if device.type != "cuda":
            return FeaturePlace("cpu")
        if not (fault := find_fault()):
            return FeaturePlace("cuda", f"its {self.what} are computed by ONNX Runtime on CUDA.")
        on_torch = FeaturePlace("torch", f"its {self.what} are computed by Torch's graph on CUDA: {fault}.")
        if _has_images(self._name_file(model, encoder, to, "torch"), len(self.setup.probes)):
            return on_torch
        try:
            return replace(on_torch, runner=TorchRunner(model.model, encoder, self.setup.probes.images, compute, device))
        except OnnxspaceError as error:
            why = str(error).removeprefix(f"{model.model.path}: ").split(". ")[0].rstrip(".")
            return FeaturePlace(
                "cpu", f"its {self.what} are computed by ONNX Runtime on the CPU: {fault}, and Torch has no graph ({why})."
            )

    def _name_file(self, model: PreparedModel, encoder: Encoder, to: Destination, provider: Provider) -> Path:
        digest = self.setup.probes.sha256
        return to.folder / f"{features_key(model.model, encoder.tensors, 'fit', digest, provider)}{FEATURES}"

    def _write_both(
        self, model: PreparedModel, encoder: Encoder, to: Destination, place: FeaturePlace, advance: Advance
    ) -> bool:
        """Write the further tensors too where one pass of ONNX Runtime gives the same bits; returns whether it did."""
        if self.further is None or place.runner is not None:
            return False
        try:
            other = self.further(model)
        except OnnxspaceError:  # reported where these alone are computed
            return False
        parts = [(one, self._name_file(model, one, to, place.provider)) for one in (encoder, other)]
        images = self.setup.probes.images
        if _has_images(parts[1][1], len(images)):
            return False
        return write_together(model.model, parts, images, "fit", advance, place.provider)


@dataclass(frozen=True)
class FieldsFile:
    """Unit gradient fields, float16 [images, steps · 128 · 128]; the method of `setup` is integrated gradients."""

    setup: Setup
    execution: Execution

    def write(self, model: PreparedModel, to: Destination, advance: Advance) -> WrittenFile:
        file = to.folder / f"{fields_key(to.key, self.setup)}.npy"
        remarks = write_fields(model.model, model.encoder, self.setup, file, self.execution, kept=to.kept, advance=advance)
        return WrittenFile(file, remarks)


def representation_of(kind: Kind, given: FileRequest) -> Representation:
    """The representation of this kind that a request describes."""
    setup, execution = decode_setup(given.setup), decode_execution(given.execution)
    seen = setup if given.seen is None else decode_setup(given.seen)
    if kind == "maps":
        return MapsFile(setup, compute_here(setup, execution), execution.compute.precision == "auto")
    if kind == "fields":
        options = None if given.fields is None else Options(**given.fields)
        return FieldsFile(Setup(setup.probes, METHOD, options), execution)
    if kind == "outputs":
        return FeaturesFile(seen, execution, _locate_outputs, what="outputs")
    return FeaturesFile(seen, execution, _locate_encoder, _locate_outputs if given.outputs else None)


def _locate_encoder(model: PreparedModel) -> Encoder:
    return model.encoder


def _locate_outputs(model: PreparedModel) -> Encoder:
    return find_float_outputs(model.model)


def write_maps(model: PreparedModel, setup: Setup, execution: Execution, to: Destination) -> tuple[Path, tuple[str, ...]]:
    """Write a model's unit maps to `to`; returns their file and warnings. Raises ModelError, OutputError."""
    name, counter = model.record.name, Counter(len(setup.probes), execution.progress)
    file = MapsFile(setup, compute_here(setup, execution), execution.compute.precision == "auto")
    written = file.write(model, to, lambda images: counter.advance(images, name))
    return written.path, (*(f"{name}: {remark}" for remark in written.remarks), *model.remarks)


def _has_images(file: Path, images: int) -> bool:
    """Whether a file of features exists for so many images."""
    try:
        return len(map_array(file)) == images
    except (OSError, ValueError, EOFError):
        return False


def _count_values(model: Model, encoder: Encoder) -> int:
    """Number of values per image at the encoder; 0 where it can't be determined."""
    try:
        shapes = shapes_of(cut(model, encoder), encoder.tensors, model.input_shape)
    except Exception:  # ONNX Runtime has its own error classes; a few graphs can't be run on zeros
        return 0
    return sum(int(np.prod(shape)) for shape in shapes.values()) // model.images_at_once
