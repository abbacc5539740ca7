"""What is left of maps when weights are randomised: similarities of both maps, stage by stage of the cascade."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch.fx import GraphModule

from onnxspace.attribution.faithfulness.cascade import choose_stages, list_layers, randomise_cascade, scale_stages
from onnxspace.attribution.faithfulness.map_source import MapSource
from onnxspace.errors import AttributionError
from onnxspace.evaluation.faithfulness.formulas import Numbers
from onnxspace.evaluation.faithfulness.similarity import SIMILARITIES, compare_maps, measure_entropy
from onnxspace.inputs.faithfulness import FaithfulnessSettings
from onnxspace.storage.short_text import count


@dataclass(frozen=True)
class Randomised:
    """Similarities with the maps of randomised networks, float64 [methods, stages, images] by their names in `SIMILARITIES`.

    `entropies` are those of the maps and of the maps of the network whose weights are all random, float64 [methods, images, 2];
    `layers` the numbers of randomised layers.
    """

    layers: tuple[int, ...]
    similarities: dict[str, Numbers]
    entropies: Numbers


@dataclass
class RandomisationTest:
    """The test of one model's `maps`, float32 [methods, images, height, width]; `warnings` are sentences without its name."""

    source: MapSource
    maps: NDArray[np.float32]
    settings: FaithfulnessSettings
    warnings: list[str] = field(default_factory=list)

    def run(self, reference: GraphModule) -> Randomised:
        """Randomise the layers of each graph, as many of them at a time as of `reference`, whose numbers are reported."""
        count = len(list_layers(reference))
        stages = choose_stages(count, self.settings.stages)
        shape = (len(self.maps), len(stages), self.maps.shape[1])
        found = Randomised(
            tuple(stages), {name: np.full(shape, np.nan) for name in SIMILARITIES}, np.full((shape[0], shape[2], 2), np.nan)
        )
        if not stages:
            self.warnings.append("no layer with trained weights is below what is explained, so none is randomised.")
            return found
        for graph, rows in self.source.group_graphs():
            layers = list_layers(graph)
            if not layers:
                self.warnings.append(f"no layer with trained weights is below {self._name(rows)}, so none is randomised.")
                continue
            self._randomise(graph, layers, scale_stages(stages, count, len(layers)), rows, found)
        return found

    def _name(self, rows: Sequence[int]) -> str:
        return ", ".join(self.source.methods[row].name for row in rows)

    def _randomise(
        self, graph: GraphModule, layers: Sequence[str], counts: Sequence[int], rows: Sequence[int], found: Randomised
    ) -> None:
        for place, stage in enumerate(randomise_cascade(graph, layers, counts, self.settings.seed)):
            source, last = self.source.replace_graph(stage.graph, rows), place == len(counts) - 1
            for row, (name, others) in zip(rows, self._iter_maps(source), strict=True):
                try:
                    for image, other in others:
                        self._compare(found, row, place, image, other, last=last)
                except AttributionError:
                    self.warnings.append(f"maps by {name} are not finite after randomising {count(stage.layers, 'layer')}.")

    @staticmethod
    def _iter_maps(source: MapSource) -> Iterator[tuple[str, Iterator[tuple[int, Numbers]]]]:
        """The maps of each method, one after the other, with the positions of their images."""
        for engine in source.iter_engines():
            batches = source.compute(engine)
            maps = ((image, other.astype(np.float64)) for first, batch in batches for image, other in enumerate(batch, first))
            yield engine.setup.method, maps

    def _compare(self, found: Randomised, row: int, place: int, image: int, other: Numbers, *, last: bool) -> None:
        own = self.maps[row, image].astype(np.float64)
        for name, value in compare_maps(own, other).items():
            found.similarities[name][row, place, image] = value
        if last:
            found.entropies[row, image] = measure_entropy(own), measure_entropy(other)
