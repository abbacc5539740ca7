"""Measuring the maps of one model by several methods: arrays of numbers for each measure, image by image.

Maps are those of the network's input, before they are resized to the probe images: what is removed are the pixels that it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.baselines import baseline_for
from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.faithfulness.cascade import choose_stages, list_layers, randomise_cascade
from onnxspace.attribution.faithfulness.chance import make_chance_maps
from onnxspace.attribution.faithfulness.forward_pass import ForwardPass
from onnxspace.attribution.faithfulness.quantity import Quantity
from onnxspace.attribution.faithfulness.removal import ImageRemoval, draw_squares, rank_maps
from onnxspace.attribution.maps import Engines, engines_for
from onnxspace.attribution.noise import seeds_of
from onnxspace.errors import AttributionError
from onnxspace.evaluation.faithfulness.formulas import Numbers, rank_correlation, relative_change
from onnxspace.inputs.execution import Advance, Execution
from onnxspace.inputs.faithfulness import CURVES, FaithfulnessSettings
from onnxspace.inputs.methods import METHODS
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph

#: Separate streams of random numbers of one image.
_MAPS, _SQUARES, _TIES, _NEIGHBOURS = range(4)
#: Pixels of all images up to which gradients are kept for the methods that share them.
_FEW_PIXELS = 2**24


@dataclass(frozen=True)
class Measured:
    """Numbers of one model. Rows are methods, then the two maps of chance.

    `curves` are float64 [rows, images, steps + 1] by measure, `infidelity` is float64 [rows, images], `sensitivity` float64
    [methods, images], `cascade` float64 [methods, stages, images], each empty where it was not measured. `peaks`, int64
    [methods, images, 2], are row and column of the largest value in pixels of the probe images, `layers` the numbers of randomised
    layers. `warnings` are sentences without the model's name.
    """

    curves: dict[str, Numbers]
    infidelity: Numbers
    sensitivity: Numbers
    cascade: Numbers
    peaks: NDArray[np.int64]
    layers: tuple[int, ...]
    warnings: tuple[str, ...]


@dataclass
class FaithfulnessMeasurement:
    """The measurement of one model's maps: `setups` has one setup per method, with the same images.

    `converted` is the graph that maps are of, `forward` the one whose outputs `quantity` reads. `folder` is where maps are kept
    meanwhile; `advance` is called with numbers of finished steps.
    """

    model: Model
    converted: EncoderGraph
    forward: ForwardPass
    quantity: Quantity
    setups: Sequence[Setup]
    settings: FaithfulnessSettings
    execution: Execution
    folder: Path
    advance: Advance
    warnings: list[str] = field(default_factory=list)

    @property
    def probes(self) -> Probes:
        """The images."""
        return self.setups[0].probes

    def measure(self) -> Measured:
        """Compute all measures that the settings name. Raises ModelError where a map can't be computed."""
        maps = self._store_maps()
        curves, infidelities = self._remove_pixels(maps)
        sensitivity = self._disturb(maps)
        layers, cascade = self._randomise(maps)
        return Measured(curves, infidelities, sensitivity, cascade, self._find_peaks(maps), layers, tuple(self.warnings))

    def _iter_engines(self, converted: EncoderGraph, *, share: bool = True) -> Iterator[Engines]:
        """An engine per method, one after the other, whose maps are those of the network's input.

        Methods without rules `share` gradients where these are small.
        """
        few = len(self.probes) * self.model.preprocess.height * self.model.preprocess.width <= _FEW_PIXELS
        gradients: dict[bytes, Tensor] = {}
        for setup in self.setups:
            cache = gradients if share and few and METHODS[setup.method].rules is None else None
            yield _keep_size(engines_for(self.model, converted, setup, self.execution, cache))

    def _store_maps(self) -> NDArray[np.float32]:
        """Maps of all methods, float32 [methods, images, height, width], in a file, since there may be many."""
        size = self.model.preprocess.height, self.model.preprocess.width
        shape = (len(self.setups), len(self.probes), *size)
        stored: NDArray[np.float32] = np.lib.format.open_memmap(self.folder / "input-maps.npy", "w+", np.float32, shape)
        for row, engine in enumerate(self._iter_engines(self.converted)):
            self.warnings += [remark for remark in engine.remarks(()) if remark not in self.warnings]
            for first, maps in self._compute(engine):
                stored[row, first : first + len(maps)] = maps
            empty = int((~stored[row].any(axis=(1, 2))).sum())
            if empty:
                self.warnings.append(f"{empty} of {len(self.probes)} maps by {engine.setup.method} are zero.")
        return stored

    def _compute(self, engine: Engines, images: NDArray[np.uint8] | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Maps batch by batch, with the position of each batch's first image; of other `images`, where there are some."""
        if images is not None:
            engine = replace(engine, setup=replace(engine.setup, probes=Probes("disturbed", images)))
        first = 0
        for batch in engine.maps():
            yield first, batch.maps
            first += len(batch.maps)
            self.advance(len(batch.maps))

    def _random(self, image: int, stream: int) -> np.random.Generator:
        """A stream of random numbers that depends on the image's pixels alone, so that it is the same in every set of images."""
        return np.random.default_rng((self.settings.seed, stream, seeds_of(self.probes.images[image : image + 1])[0]))

    def _remove_pixels(self, maps: NDArray[np.float32]) -> tuple[dict[str, Numbers], Numbers]:
        """Curves of deletion and insertion, and infidelity."""
        rows, images, steps = len(maps) + 2, len(self.probes), self.settings.steps
        wanted = [name for name in CURVES if name in self.settings.measures]
        curves: dict[str, Numbers] = {name: np.full((rows, images, steps + 1), np.nan) for name in wanted}
        squared = "infidelity" in self.settings.measures
        infidelities: Numbers = np.full((rows, images) if squared else (0, 0), np.nan)
        for image in range(images) if wanted or squared else ():
            every = np.concatenate([maps[:, image].astype(np.float64), self._chance_maps(image)])
            removal, mean, blur = self._prepare(image)
            if wanted:
                ranks = rank_maps(every, self._random(image, _TIES), by_magnitude=self.quantity.by_magnitude)
            for name in wanted:
                ends = (removal.image, mean) if name == "deletion" else (blur, removal.image)
                curves[name][:, image] = removal.follow(ranks, *ends, steps)
                self.advance(0)  # limits of time are for what lies between two reports
            if squared:
                squares = draw_squares(
                    self.settings.perturbations, (every.shape[1], every.shape[2]), self._random(image, _SQUARES)
                )
                infidelities[:, image] = removal.measure_infidelity(every, mean, squares)
            self.advance(1)
        return curves, infidelities

    def _chance_maps(self, image: int) -> Numbers:
        return make_chance_maps(self.model.preprocess.height, self.model.preprocess.width, self._random(image, _MAPS))

    def _prepare(self, image: int) -> tuple[ImageRemoval, Tensor, Tensor]:
        """One image, and the pixels that replace its own in deletion and before insertion."""
        one = self.probes.images[image : image + 1]
        words = self.settings.deletion_baseline, self.settings.insertion_baseline
        baselines = [baseline_for(word, self.probes) for word in words]
        tensors = [self._to_input(one), *(self._to_input(make(one)) for make in baselines if make is not None)]
        channel_axis = 1 if self.model.preprocess.layout == "NCHW" else 3
        return ImageRemoval(self.forward, self.quantity, tensors[0], channel_axis), tensors[1], tensors[2]

    def _to_input(self, images: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(self.model.preprocess(images)).to(self.forward.device)

    def _disturb(self, maps: NDArray[np.float32]) -> Numbers:
        """The largest relative change of each map among the neighbours of its image: float64 [methods, images]."""
        if "sensitivity" not in self.settings.measures:
            return np.empty((0, 0))
        found = np.full(maps.shape[:2], np.nan)
        for row, engine in enumerate(self._iter_engines(self.converted, share=False)):
            for draw in range(self.settings.draws):
                images = np.stack([draw_neighbour(image, self.settings, draw) for image in self.probes.images])
                for first, others in self._compute(engine, images):
                    own = maps[row, first : first + len(others)].astype(np.float64)
                    change = relative_change(own, others.astype(np.float64))
                    found[row, first : first + len(others)] = np.fmax(found[row, first : first + len(others)], change)
        return found

    def _randomise(self, maps: NDArray[np.float32]) -> tuple[tuple[int, ...], Numbers]:
        """Rank correlations of the maps with those of the randomised network: float64 [methods, stages, images]."""
        layers = list_layers(self.converted.graph) if "randomisation" in self.settings.measures else []
        if not layers and "randomisation" in self.settings.measures:
            self.warnings.append("no layer with trained weights is below its encoder, so none is randomised.")
        counts = choose_stages(len(layers), self.settings.stages)
        found = np.full((len(maps), len(counts), maps.shape[1]), np.nan)
        for place, stage in enumerate(randomise_cascade(self.converted.graph, layers, counts, self.settings.seed)):
            for row, engine in enumerate(self._iter_engines(replace(self.converted, graph=stage.graph))):
                try:
                    for first, others in self._compute(engine):
                        for image, other in enumerate(others, first):
                            found[row, place, image] = rank_correlation(
                                maps[row, image].astype(np.float64), other.astype(np.float64)
                            )
                except AttributionError:
                    self.warnings.append(
                        f"maps by {engine.setup.method} are not finite after {stage.layers} layers were randomised."
                    )
        return tuple(counts), found

    def _find_peaks(self, maps: NDArray[np.float32]) -> NDArray[np.int64]:
        """Row and column of the largest value of each map in the pixels of the probe images."""
        size = self.probes.size
        rows, columns = self.model.preprocess.inverse(size)
        found = np.empty((*maps.shape[:2], 2), np.int64)
        for row, image in np.ndindex(*maps.shape[:2]):
            resized = rows @ maps[row, image].astype(np.float64) @ columns.T
            found[row, image] = divmod(int(np.argmax(np.abs(resized) if self.quantity.by_magnitude else resized)), size)
        return found


def draw_neighbour(image: NDArray[np.uint8], settings: FaithfulnessSettings, draw: int) -> NDArray[np.uint8]:
    """Draw a neighbour of `image`, uint8 [size, size, bands]: numbers that differ by the settings' radius at most, whole and in 0–255.

    The neighbours `draw` of an image depend on its pixels and the settings' seed alone.
    """
    reach = int(255 * settings.radius)
    random = np.random.default_rng((settings.seed, _NEIGHBOURS, seeds_of(image[None])[0], draw))
    moved = image.astype(np.int64) + random.integers(-reach, reach + 1, image.shape)
    neighbour: NDArray[np.uint8] = np.clip(moved, 0, 255).astype(np.uint8)
    return neighbour


def _keep_size(engines: Engines) -> Engines:
    """The same engines with maps as large as the network's input, which are not resized to the probe images."""
    return replace(engines, explainers=[_keep_input_size(one) for one in engines.explainers])


def _keep_input_size(explainer: Explainer) -> Explainer:
    height, width = (torch.eye(n, device=explainer.device) for n in (explainer.preprocess.height, explainer.preprocess.width))
    return replace(explainer, rows=height, columns=width)
