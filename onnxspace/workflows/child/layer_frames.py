"""The maps of one method at successive layers of a network, from early to late: a file for each layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.activation_maps import map_every_activation
from onnxspace.attribution.devices import autocast_for, configure_torch
from onnxspace.attribution.gradients import InputMaps
from onnxspace.attribution.maps import VERIFIED_IMAGES, Engines, engines_for
from onnxspace.attribution.subject import Subject, find_subject
from onnxspace.errors import AttributionError, ModelError
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import METHODS
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder, find_encoder
from onnxspace.model.grids import Grid, find_activation_grid
from onnxspace.model.model import Model
from onnxspace.model.tensor_sizes import measure_tensors
from onnxspace.model.trunk import Trunk
from onnxspace.storage.atomic import write_array
from onnxspace.storage.short_text import count
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.workflows.child.layer_choice import LayerChoice, choose_layers
from onnxspace.workflows.child.layer_maps import explain_layers
from onnxspace.workflows.child.layers import cut_at_layers

#: The most layers that are shown.
MOST_FRAMES = 24


@dataclass
class LayerExplanation:
    """The state of one explanation. Maps are written to `folder`; `advance` is called with numbers of finished images."""

    setup: Setup
    execution: Execution
    folder: Path
    advance: Callable[[int], None]

    def explain(self, model: Model) -> dict[str, Any]:
        """Write a file of maps for each layer, float32 [images, size, size]; returns their names and what `ModelExplanation` does."""
        at_image = METHODS[self.setup.method].place == "image"
        names, maps, captions, notes = self._map_at_image(model) if at_image else self._map_activations(model)
        files = [f"maps-{number}.npy" for number in range(len(names))]
        for file, one in zip(files, maps, strict=True):
            if not np.isfinite(one).all():
                raise AttributionError(f"{model.path}: a map is not finite at one of its layers. Try another --method.")
            write_array(self.folder / file, one)
        zero = [name for name, one in zip(names, maps, strict=True) if not one.any()]
        warnings = [*model.warnings, *notes, *(f"{model.name}: every map at {name} is zero." for name in zero)]
        assumed = [f"{model.name}: {'; '.join(model.assumed)}"] if model.assumed else []
        remark = f"{model.name}: maps at {count(len(names), 'layer')}, from the image to the output"
        return {
            "files": files, "layers": names, "captions": [captions] * len(files), "remarks": [remark], "assumed": assumed,
            "warnings": warnings,
        }  # fmt: skip

    def _map_at_image(self, model: Model) -> tuple[list[str], list[NDArray[np.float32]], list[str], tuple[str, ...]]:
        """Maps of the sum of each layer's units."""
        found = choose_layers(Trunk(model), find_encoder(model), MOST_FRAMES)
        engines, found, dropped = cut_at_layers(model, found, self.setup, self.execution)
        rows: list[list[NDArray[np.float32]]] = []
        with configure_torch(engines.compute):
            for image in self._split_images():
                rows.append([one.maps for one in explain_layers(engines.explainers[0], image)])
                self.advance(len(image))
        maps = [np.concatenate(column) for column in zip(*rows, strict=True)]
        return (
            [layer.tensor for layer in found.layers],
            maps,
            [],
            (*dropped, *engines.remarks([]), *_describe_skipped(model, found)),
        )

    def _map_activations(self, model: Model) -> tuple[list[str], list[NDArray[np.float32]], list[str], tuple[str, ...]]:
        """Maps of the activations of each layer that has positions, for the target or the most probable class."""
        subject = find_subject(model, self.setup)
        aim = subject.aim
        if aim is None:
            raise ModelError(f"{model.path} has no number to explain at its output. Name one by --value.")
        layers, skipped = _find_layers_with_positions(model, aim.tensors, subject.encoder.tensors[-1])
        tensors = tuple(layers)
        encoder = Encoder((*aim.tensors, *tensors), aim.target.words)
        converted = convert(model, self.setup.probes.images[:VERIFIED_IMAGES], encoder)
        engines = engines_for(model, converted, self.setup, self.execution, None, Subject(encoder, aim, subject.grid))
        rows, captions = [], list[str]()
        with configure_torch(engines.compute):
            for image in self._split_images():
                maps, words = self._weigh(engines, image, list(layers.values()))
                rows.append(maps)
                captions += words
                self.advance(len(image))
        maps = [np.concatenate(column) for column in zip(*rows, strict=True)]
        note = (f"{model.name}: {skipped} of {len(layers) + skipped} layers are skipped, evenly spaced.",) if skipped else ()
        return list(tensors), maps, captions, (*note, *(f"{model.name}: {remark}" for remark in engines.uncompiled))

    def _weigh(
        self, engines: Engines, images: NDArray[np.uint8], grids: Sequence[Grid]
    ) -> tuple[list[NDArray[np.float32]], tuple[str, ...]]:
        engine = engines.explainers[0]
        batch, captions = engine.aim_batch(engine.prepare_batch(images))
        with autocast_for(engine.compute, engine.device):
            maps = map_every_activation(engine.network, batch, grids, METHODS[self.setup.method].way)
        return [engine.to_probe_pixels(InputMaps(one)).maps[: len(images)] for one in maps], captions[: len(images)]

    def _split_images(self) -> Iterator[NDArray[np.uint8]]:
        images = self.setup.probes.images
        yield from (images[place : place + 1] for place in range(len(images)))


def _find_layers_with_positions(model: Model, tensors: Sequence[str], last: str) -> tuple[dict[str, Grid], int]:
    """Layers below `tensors` that have positions in the image, up to `last`, and how many are skipped.

    Above it, in a transformer, the class token alone reaches the output, and no gradient the positions.
    """
    trunk, graph = Trunk(model), model.graph
    below = graph.ancestors_of(tensors)
    names = [one.tensor for one in choose_layers(trunk, find_encoder(model), most=10**6).layers]
    end = graph.producer[last]
    names = [n for n in dict.fromkeys([*names, last]) if graph.producer[n] in below and graph.producer[n] <= end]
    names = [name for name in names if name not in tensors]
    shapes = measure_tensors(model, names)
    grids = {name: find_activation_grid(shapes[name], model.preprocess) for name in names}
    found = sorted((name for name in names if grids[name] is not None), key=lambda name: graph.producer[name])
    kept = {found[i] for i in np.linspace(0, len(found) - 1, min(MOST_FRAMES, len(found))).round().astype(int).tolist()} | {
        last
    }
    chosen = {name: grid for name in found if name in kept and (grid := grids[name]) is not None}
    return chosen, len(found) - len(chosen)


def _describe_skipped(model: Model, found: LayerChoice) -> tuple[str, ...]:
    total = len(found.layers) + found.skipped
    return (f"{model.name}: {found.skipped} of {total} layers are skipped, evenly spaced.",) if found.skipped else ()
