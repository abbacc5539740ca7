"""The maps of one model that are measured: method by method, at the size of the network's input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import GraphModule

from onnxspace.attribution.faithfulness.fixed_weights import FixedWeights
from onnxspace.attribution.maps import Engines, engines_for
from onnxspace.attribution.subject import Subject
from onnxspace.inputs.execution import Advance, Execution
from onnxspace.inputs.methods import METHODS, Method
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph

#: Pixels of all images up to which gradients are kept for the methods that share them.
_FEW_PIXELS = 2**24


@dataclass(frozen=True)
class MeasuredMethod:
    """A method, what it explains, and the graph that it explains it of."""

    setup: Setup
    subject: Subject
    converted: EncoderGraph

    @property
    def name(self) -> Method:
        """The method's name."""
        return self.setup.method


@dataclass(frozen=True)
class MapSource:
    """Computes maps of `model` by each of `methods`, all of the same images; `advance` is called with numbers of finished maps.

    What a target stands for in an image is `fixed`: it is the same for maps of disturbed images and of randomised networks.
    """

    model: Model
    methods: Sequence[MeasuredMethod]
    execution: Execution
    advance: Advance
    fixed: FixedWeights

    @property
    def probes(self) -> Probes:
        """The images."""
        return self.methods[0].setup.probes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.model.preprocess.height, self.model.preprocess.width

    def iter_engines(self, *, share: bool = True) -> Iterator[Engines]:
        """An engine per method, one after the other, whose maps are those of the network's input.

        Methods without rules of one subject `share` gradients where these are small.
        """
        few = len(self.probes) * self.size[0] * self.size[1] <= _FEW_PIXELS
        gradients: defaultdict[Subject, dict[bytes, Tensor]] = defaultdict(dict)
        for one in self.methods:
            cache = gradients[one.subject] if share and few and METHODS[one.name].rules is None else None
            made = engines_for(self.model, one.converted, one.setup, self.execution, cache, _aimed(one.subject))
            yield replace(made, explainers=[replace(engine, resizes=False) for engine in made.explainers])

    def compute(self, engine: Engines, images: NDArray[np.uint8] | None = None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Maps batch by batch, with the position of each batch's first image; of other `images`, where there are some."""
        if images is not None:
            engine = replace(engine, setup=replace(engine.setup, probes=Probes("disturbed", images)))
        subject = engine.explainers[0].subject
        if subject is not None and subject.aim is not None:
            weigh = self.fixed.bind(engine.setup.probes.images)
            engine = replace(engine, explainers=[replace(one, weigh=weigh) for one in engine.explainers])
        first = 0
        for batch in engine.maps():
            yield first, batch.maps
            first += len(batch.maps)
            self.advance(len(batch.maps))

    def group_graphs(self) -> Iterator[tuple[GraphModule, tuple[int, ...]]]:
        """The graphs that maps are of, each with the positions of its methods."""
        rows: defaultdict[int, list[int]] = defaultdict(list)
        for row, one in enumerate(self.methods):
            rows[id(one.converted)].append(row)
        for places in rows.values():
            yield self.methods[places[0]].converted.graph, tuple(places)

    def replace_graph(self, graph: GraphModule, rows: Sequence[int]) -> MapSource:
        """The same for some of the methods, with another graph."""
        chosen = [self.methods[row] for row in rows]
        return replace(self, methods=[replace(one, converted=replace(one.converted, graph=graph)) for one in chosen])


def _aimed(subject: Subject) -> Subject | None:
    """The subject where it is more than the graph's encoder."""
    return subject if subject.aim is not None or subject.grid is not None else None
