"""Measuring the maps of one model by several methods: arrays of numbers for each measure, image by image.

Maps are those of the network's input, before they are resized to the probe images: what is removed are the pixels that it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import GraphModule

from onnxspace.attribution.baselines import baseline_for
from onnxspace.attribution.faithfulness.forward_pass import ForwardPass
from onnxspace.attribution.faithfulness.map_source import MapSource
from onnxspace.attribution.faithfulness.neighbours import measure_sensitivity
from onnxspace.attribution.faithfulness.networks import to_input
from onnxspace.attribution.faithfulness.objects import MapsOnObjects, compare_with_objects
from onnxspace.attribution.faithfulness.quantity import Quantity
from onnxspace.attribution.faithfulness.randomisation import RandomisationTest, Randomised
from onnxspace.attribution.faithfulness.removal import ImageRemoval, draw_squares, rank_maps
from onnxspace.attribution.noise import seeds_of
from onnxspace.evaluation.faithfulness.chance import CHANCE, make_chance_maps
from onnxspace.evaluation.faithfulness.formulas import Numbers
from onnxspace.inputs.areas import Mask
from onnxspace.inputs.faithfulness import CURVES, OF_OBJECTS, FaithfulnessSettings
from onnxspace.inputs.probes import Probes
from onnxspace.storage.short_text import count_of

#: Separate streams of random numbers of one image; that of neighbours is in `onnxspace.attribution.faithfulness.neighbours`.
_MAPS, _SQUARES, _TIES = range(3)


@dataclass(frozen=True)
class Measured:
    """Numbers of one model. Rows are methods, then the two maps of chance; None is what was not measured.

    `curves` are float64 [rows, images, steps + 1] by measure, `infidelity` is float64 [rows, images], `sensitivity` float64
    [methods, images]. `warnings` are sentences without the model's name.
    """

    curves: dict[str, Numbers]
    infidelity: Numbers | None
    sensitivity: Numbers | None
    randomised: Randomised | None
    objects: MapsOnObjects | None
    warnings: tuple[str, ...]


@dataclass
class FaithfulnessMeasurement:
    """The measurement of the maps of `source`: `forward` is the network whose outputs `quantity` reads.

    `reference` is the graph whose layers are counted when they are randomised, that of what is explained.
    `objects` are the pixels of objects in each image (None: they are unknown). `folder` is where maps are kept meanwhile.
    """

    source: MapSource
    forward: ForwardPass
    reference: GraphModule
    quantity: Quantity
    settings: FaithfulnessSettings
    folder: Path
    objects: Sequence[Mask] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def probes(self) -> Probes:
        """The images."""
        return self.source.probes

    def measure(self) -> Measured:
        """Compute all measures that the settings name. Raises ModelError where a map can't be computed."""
        names = self.settings.measures
        maps = self._store_maps()
        curves, infidelities = self._remove_pixels(maps)
        sensitivity = measure_sensitivity(self.source, maps, self.settings) if "sensitivity" in names else None
        randomised = self._randomise(maps) if "randomisation" in names else None
        return Measured(curves, infidelities, sensitivity, randomised, self._find_objects(maps), tuple(self.warnings))

    def _store_maps(self) -> NDArray[np.float32]:
        """Maps of all methods, float32 [methods, images, height, width], in a file, since there may be many."""
        shape = (len(self.source.methods), len(self.probes), *self.source.size)
        stored: NDArray[np.float32] = np.lib.format.open_memmap(self.folder / "input-maps.npy", "w+", np.float32, shape)
        for row, engine in enumerate(self.source.iter_engines()):
            for first, maps in self.source.compute(engine):
                stored[row, first : first + len(maps)] = maps
            self.warnings += [remark for remark in engine.remarks(()) if remark not in self.warnings]
            empty = int((~stored[row].any(axis=(1, 2))).sum())
            if empty:
                self.warnings.append(f"by {engine.setup.method}, {count_of(empty, len(self.probes), 'map')} zero.")
        return stored

    def _random(self, image: int, stream: int) -> np.random.Generator:
        """A stream of random numbers that depends on the image's pixels alone, so that it is the same in every set of images."""
        return np.random.default_rng((self.settings.seed, stream, seeds_of(self.probes.images[image : image + 1])[0]))

    def _remove_pixels(self, maps: NDArray[np.float32]) -> tuple[dict[str, Numbers], Numbers | None]:
        """Curves of deletion and insertion, and infidelity."""
        rows, images = len(maps) + len(CHANCE), len(self.probes)
        wanted = [name for name in CURVES if name in self.settings.measures]
        curves: dict[str, Numbers] = {name: np.full((rows, images, self.settings.steps + 1), np.nan) for name in wanted}
        infidelities = np.full((rows, images), np.nan) if "infidelity" in self.settings.measures else None
        for image in range(images) if wanted or infidelities is not None else ():
            every = np.concatenate([maps[:, image].astype(np.float64), self._chance_maps(image)])
            removal, mean, blur = self._prepare(image)
            self._follow(curves, image, every, removal, {"deletion": (removal.image, mean), "insertion": (blur, removal.image)})
            if infidelities is not None:
                squares = draw_squares(self.settings.perturbations, self.source.size, self._random(image, _SQUARES))
                infidelities[:, image] = removal.measure_infidelity(every, mean, squares)
            self.source.advance(1)
        return curves, infidelities

    def _follow(
        self,
        curves: dict[str, Numbers],
        image: int,
        maps: Numbers,
        removal: ImageRemoval,
        ends: dict[str, tuple[Tensor, Tensor]],
    ) -> None:
        if curves:
            ranks = rank_maps(maps, self._random(image, _TIES), by_magnitude=self.quantity.by_magnitude)
        for name, values in curves.items():
            values[:, image] = removal.follow(ranks, *ends[name], self.settings.steps)
            self.source.advance(0)  # limits of time are for what lies between two reports

    def _chance_maps(self, image: int) -> Numbers:
        return make_chance_maps(*self.source.size, self._random(image, _MAPS))

    def _prepare(self, image: int) -> tuple[ImageRemoval, Tensor, Tensor]:
        """One image, and the pixels that replace its own in deletion and before insertion."""
        one = self.probes.images[image : image + 1]
        words = self.settings.deletion_baseline, self.settings.insertion_baseline
        baselines = [baseline_for(word, self.probes) for word in words]
        tensors = [self._to_input(one), *(self._to_input(make(one)) for make in baselines if make is not None)]
        channel_axis = 1 if self.source.model.preprocess.layout == "NCHW" else 3
        reference = self.forward.refer(tensors[0], self.quantity)
        return ImageRemoval(self.forward, self.quantity, tensors[0], channel_axis, reference), tensors[1], tensors[2]

    def _to_input(self, images: NDArray[np.uint8]) -> Tensor:
        return to_input(self.source.model, images).to(self.forward.device)

    def _randomise(self, maps: NDArray[np.float32]) -> Randomised:
        test = RandomisationTest(self.source, maps, self.settings)
        found = test.run(self.reference)
        self.warnings += test.warnings
        return found

    def _find_objects(self, maps: NDArray[np.float32]) -> MapsOnObjects | None:
        if self.objects is None or not set(OF_OBJECTS) & set(self.settings.measures):
            return None
        resizing = self.source.model.preprocess.inverse(self.probes.size)
        return compare_with_objects(maps, self.objects, resizing, by_magnitude=self.quantity.by_magnitude)
