"""Choosing the layer of a source network to transfer from: each layer is compared with a target's encoder.

Song et al., "DEPARA: Deep Attribution Graph for Deep Knowledge Transferability" (CVPR 2020), section 3.4: S = S_V + λ S_E, with maps
from one backward pass per layer after a single forward pass, and features that are not centred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.batches import halve_batch
from onnxspace.attribution.devices import configure_torch
from onnxspace.attribution.maps import VERIFIED_IMAGES, Engines, engines_for
from onnxspace.errors import AttributionError, ModelError, OnnxspaceError
from onnxspace.inputs.execution import Counter, Execution
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.constant_sums import find_constant_sums
from onnxspace.model.encoder import Candidate, Encoder, Trunk, find_encoder
from onnxspace.model.features import write_features
from onnxspace.model.model import Model
from onnxspace.scores.all_pairs import MOST_PAIRED, sample_images
from onnxspace.scores.arrays import unit_rows
from onnxspace.scores.layer_table import Layer, LayerTable
from onnxspace.scores.pairs.depara import edges
from onnxspace.storage.atomic import whole_array
from onnxspace.storage.regular_files import map_array
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.workflows.child.layer_choice import LayerChoice, choose_layers, count_trained_below
from onnxspace.workflows.child.layer_maps import LayerBatch, explain_layers
from onnxspace.workflows.child.open import PreparedModel


@dataclass
class LayerComparison:
    """The state of one comparison of layers. Features are written to `folder`."""

    setup: Setup
    execution: Execution
    folder: Path
    weight: float
    counter: Counter

    @property
    def probes(self) -> Probes:
        return self.setup.probes

    def table(self, source: PreparedModel, target: PreparedModel) -> LayerTable:
        trunk = Trunk(source.model)
        found = choose_layers(trunk, source.encoder)
        self.counter.advance(0, target.record.name)
        maps, features = self._explain_target(target)
        engines, found, dropped = cut_at_layers(source.model, found, self.setup, self.execution, source.encoder)
        nodes, shapes = self._compare_maps(engines, found, maps)
        scored = [
            self._score_layer(trunk, candidate, shape, float(node), features, place)
            for place, (candidate, shape, node) in enumerate(zip(found.layers, shapes, nodes, strict=True))
        ]
        warnings = (
            *target.remarks,
            *source.model.warnings,
            *dropped,
            *(why for _, why in scored if why),
            *self._describe_omissions(found),
        )
        record = replace(source.record, encoder=str(source.encoder))
        rows = tuple(layer for layer, _ in scored)
        return LayerTable(
            record,
            target.record,
            rows,
            len(trunk.parametric),
            self.weight,
            self.setup.method,
            self.setup.probe_facts(),
            self.setup.stated_options,
            found.skipped,
            tuple(warnings),
        )

    def _explain_target(self, target: PreparedModel) -> tuple[NDArray[np.float32], Path]:
        """Compute unit maps of the target's encoder, float32 [images, pixels], and the file of its features."""
        converted = convert(target.model, self.probes.images[:VERIFIED_IMAGES], target.encoder)
        engines = engines_for(target.model, converted, self.setup, self.execution).without_recording()
        maps, features = self.folder / "maps.npy", self.folder / "target.npy"
        some = False
        with whole_array(maps, (len(self.probes), self.probes.size**2), np.float32) as append:
            for found in engines.maps():
                rows = found.maps.reshape(len(found.maps), -1)
                append(unit_rows(rows.astype(np.float64)).astype(np.float32))
                some |= bool(rows.any())
                self.counter.advance(len(rows), target.record.name)
        if not some:
            raise AttributionError(
                f"{target.model.path}: every map is zero, so its encoder does not depend on the image. Name another --encoder."
            )
        write_features(target.model, target.encoder, self.probes.images, features, "fit")
        return map_array(maps), features

    def _compare_maps(
        self, engines: Engines, found: LayerChoice, maps: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], list[tuple[int, ...]]]:
        """Compute S_V of every layer, float64 [layers], and its shape for one image; features are written to a file per layer."""
        total = np.zeros(len(found.layers))
        shapes: list[tuple[int, ...]] = []
        with ExitStack() as stack, configure_torch(engines.compute):
            files: list[Callable[[NDArray[Any]], None]] = []
            for start, batch_results in self._explain_batches(engines):
                if not files:
                    shapes = [one.shape for one in batch_results]
                    widths = [one.features.shape[1] for one in batch_results]
                    files = [
                        stack.enter_context(whole_array(self._features_file(i), (len(self.probes), width), np.float32))
                        for i, width in enumerate(widths)
                    ]
                targets = maps[start : start + len(batch_results[0].maps)].astype(np.float64)
                for place, one in enumerate(batch_results):
                    total[place] += _cosines(one.maps, targets).sum()
                    files[place](one.features)
                self.counter.advance(len(targets), "layers")
        return np.clip(total / len(self.probes), -1, 1), shapes

    def _explain_batches(self, engines: Engines) -> Iterator[tuple[int, list[LayerBatch]]]:
        start, size = 0, engines.size
        while start < len(self.probes):
            images = self.probes.images[start : start + size]
            try:
                batch_results = list(explain_layers(engines.explainers[0], images))
            except (RuntimeError, MemoryError) as error:
                size = halve_batch(error, size, engines.path, engines.explainers[0].images_at_once)
                continue
            for one in batch_results:
                if not (np.isfinite(one.maps).all() and np.isfinite(one.features).all()):
                    raise AttributionError(f"{engines.path}: a layer's map or features are not finite. Try another --method.")
            yield start, batch_results
            start += len(images)

    def _score_layer(
        self, trunk: Trunk, candidate: Candidate, shape: tuple[int, ...], node: float, target: Path, place: int
    ) -> tuple[Layer, str]:
        """Score a layer: its row of the table, and a warning where it has no S_E."""
        both = [sample_images(map_array(file)) for file in (self._features_file(place), target)]
        edge, why = None, ""
        try:
            edge = edges(both[0], both[1], centre=False)
        except OnnxspaceError as error:
            why = f"{candidate.tensor}: {error}"
        score = None if edge is None else node + self.weight * edge
        below = count_trained_below(trunk, candidate.tensor)
        return Layer(candidate.tensor, shape, below, candidate.below, node, edge, score), why

    def _features_file(self, place: int) -> Path:
        return self.folder / f"layer{place}.npy"

    def _describe_omissions(self, found: LayerChoice) -> Iterator[str]:
        if found.skipped:
            yield f"{found.skipped} of {len(found.layers) + found.skipped} layers are skipped, evenly spaced."
        if len(self.probes) > MOST_PAIRED:
            yield f"S_E compares all pairs of {MOST_PAIRED:,} of the {len(self.probes):,} images."


def _cosines(maps: NDArray[np.float32], units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines of maps [images, size, size] with unit rows [images, pixels]; 0 where one of the two is zero."""
    found: NDArray[np.float64] = np.einsum("ij,ij->i", unit_rows(maps.reshape(len(maps), -1).astype(np.float64)), units)
    return found


def cut_at_layers(
    model: Model, found: LayerChoice, setup: Setup, execution: Execution, own: Encoder | None = None
) -> tuple[Engines, LayerChoice, tuple[str, ...]]:
    """Cut a model at all layers, or at those up to its encoder `own` (None: the one found) where the rest can't be converted.

    Returns the prepared graph, the layers, and warnings. Raises ModelError.
    """
    try:
        return _cut(model, found, setup, execution), found, ()
    except ModelError as error:
        own = find_encoder(model) if own is None else own
        below = model.graph.ancestors_of(own.tensors)
        layers = tuple(layer for layer in found.layers if model.graph.producer[layer.tensor] in below)
        if len(layers) == len(found.layers):
            raise
        fewer = LayerChoice(layers, found.skipped)
        return _cut(model, fewer, setup, execution), fewer, (f"{model.name}: layers above its encoder are left out: {error}",)


def _cut(model: Model, found: LayerChoice, setup: Setup, execution: Execution) -> Engines:
    tensors = tuple(layer.tensor for layer in found.layers)
    encoder = Encoder(tensors, "layers to be compared", find_constant_sums(model, tensors))
    converted = convert(model, setup.probes.images[:VERIFIED_IMAGES], encoder)
    return engines_for(model, converted, setup, execution)
