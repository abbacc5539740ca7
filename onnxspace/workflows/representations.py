"""Representations of a model that scores compare: maps, features, gradient fields and outputs, each one file for all images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from onnxspace.attribution.gradient_fields import METHOD, fields_key, write_fields
from onnxspace.attribution.maps import VERIFIED_IMAGES, engines_for
from onnxspace.errors import AttributionError
from onnxspace.inputs.execution import Advance, Execution
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.features import features_key, write_features
from onnxspace.model.model import Model
from onnxspace.model.outputs import find_float_outputs
from onnxspace.model.runtime import shapes_of
from onnxspace.scores.registry import Kind
from onnxspace.scores.selection import ScoreSelection
from onnxspace.storage.journal import Journal
from onnxspace.storage.map_file import MapWriter, to_unit_maps
from onnxspace.storage.regular_files import map_array
from onnxspace.storage.resume import FEATURES, JOURNAL
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.workflows.open import PreparedModel

#: What a model lacks whose outputs can't be predicted, or from whose features nothing can be.
_NO_OUTPUTS, _NO_FEATURES = "no sources can be ranked by what predicts its outputs", "it is no source for the others"
#: Appends the missing maps of a model to a writer, and returns warnings about them.
ComputeMaps = Callable[[PreparedModel, MapWriter, Advance], tuple[str, ...]]


@dataclass(frozen=True)
class Destination:
    """Where a model's files are written: into `folder`, named by the model's `key`; `kept` says whether unfinished files are kept."""

    folder: Path
    key: str
    kept: bool = False


class Representation(Protocol):
    """One kind of file of a model.

    `loss` describes the consequence where the file can't be computed; None means that the model fails as a whole.
    """

    @property
    def loss(self) -> str | None: ...

    def write(self, model: PreparedModel, to: Destination, advance: Advance) -> tuple[Path, tuple[str, ...]]:
        """Write the file unless it exists; returns its path and warnings.

        `advance` is called with numbers of finished images. Raises ModelError, OutputError.
        """
        ...


@dataclass(frozen=True)
class MapsFile:
    """Unit maps, float16 [images, size · size], which `compute` computes."""

    setup: Setup
    compute: ComputeMaps
    loss: None = None

    def write(self, model: PreparedModel, to: Destination, advance: Advance) -> tuple[Path, tuple[str, ...]]:
        path, images = to.folder / f"{to.key}.npy", len(self.setup.probes)
        journal = Journal(path.with_suffix(JOURNAL), images) if to.kept else None
        with MapWriter(path, images, self.setup.probes.size**2, journal) as writer:
            advance(writer.rows)
            remarks = writer.remarks
            if remarks is None:
                remarks = self.compute(model, writer, advance)
            if writer.zeros == images:
                raise AttributionError(
                    f"{model.model.path}: every map is zero, so its encoder does not depend on the image. Name another --encoder."
                )
            if writer.remarks is None:
                writer.finish(remarks)
        zeros = (f"{writer.zeros} of {images} maps are zero; their cosines count as 0.",) if writer.zeros else ()
        return path, (*remarks, *zeros)


def compute_here(setup: Setup, execution: Execution) -> ComputeMaps:
    """Return a function that computes maps in this process, in batches of the size of those that exist already."""

    def compute(model: PreparedModel, writer: MapWriter, advance: Advance) -> tuple[str, ...]:
        converted = convert(model.model, setup.probes.images[:VERIFIED_IMAGES], model.encoder)
        sized = replace(execution, batch_size=writer.batch or execution.batch_size)
        engines, errors = engines_for(model.model, converted, setup, sized), list(writer.errors)
        for found in engines.maps(writer.rows):
            errors += [] if found.errors is None else found.errors.tolist()
            writer.append(to_unit_maps(found.maps)[0], errors[writer.rows : writer.rows + len(found.maps)])
            advance(len(found.maps))
        return engines.remarks(errors)

    return compute


@dataclass(frozen=True)
class FeaturesFile:
    """Values of a network's tensors, float32 [images, …]: of its encoder or its outputs, which `locate` returns."""

    setup: Setup
    locate: Callable[[PreparedModel], Encoder]
    loss: str | None = None

    def write(self, model: PreparedModel, to: Destination, advance: Advance) -> tuple[Path, tuple[str, ...]]:
        encoder, probes = self.locate(model), self.setup.probes
        file = to.folder / f"{features_key(model.model, encoder.tensors, 'fit', probes.sha256)}{FEATURES}"
        if _has_images(file, len(probes)):
            advance(len(probes))
        else:
            write_features(model.model, encoder, probes.images, file, "fit", advance)
        values = _count_values(model.model, encoder)
        kept = int(np.prod(map_array(file).shape[1:]))
        averaged = f"its {values:,} features per image are averaged over windows, to {kept:,}."
        return file, (averaged,) if values > kept else ()


@dataclass(frozen=True)
class FieldsFile:
    """Unit gradient fields, float16 [images, steps · 128 · 128]; the method of `setup` is integrated gradients."""

    setup: Setup
    execution: Execution
    loss: None = None

    def write(self, model: PreparedModel, to: Destination, advance: Advance) -> tuple[Path, tuple[str, ...]]:
        file = to.folder / f"{fields_key(to.key, self.setup)}.npy"
        remarks = write_fields(model.model, model.encoder, self.setup, file, self.execution, kept=to.kept, advance=advance)
        return file, remarks


def representations_for(
    selection: ScoreSelection,
    setup: Setup,
    execution: Execution,
    compute: ComputeMaps | None = None,
    pictures: Probes | None = None,
) -> Mapping[Kind, Representation]:
    """Return the representations that the selected scores need, by kind, in the order of computation.

    `pictures` are the images of features and outputs (None: those of `setup`); `compute` computes maps (None: in this process).
    """
    seen = setup if pictures is None else replace(setup, probes=pictures)
    lost_source = _NO_FEATURES if selection.usual else None
    every: dict[Kind, Representation] = {
        "maps": MapsFile(setup, compute or compute_here(setup, execution)),
        "features": FeaturesFile(seen, lambda model: model.encoder, lost_source),
        "fields": FieldsFile(Setup(setup.probes, METHOD, selection.fields), execution),
        "outputs": FeaturesFile(seen, lambda model: find_float_outputs(model.model), _NO_OUTPUTS),
    }
    return {kind: one for kind, one in every.items() if selection.needs(kind)}


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
    return sum(int(np.prod(shape)) for shape in shapes.values())
