"""Explaining a few images with one model by some methods and targets: an array of maps for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.maps import VERIFIED_IMAGES, Engines, engines_for
from onnxspace.attribution.subject import Subject, find_subject
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import METHODS
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model, drop_graph
from onnxspace.storage.atomic import write_array
from onnxspace.storage.short_text import count_of
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert


@dataclass
class ModelExplanation:
    """The state of one model's explanation: `setups` has one setup per method and target, with the same images.

    Maps are written to `folder`; `advance` is called with numbers of finished images.
    """

    setups: Sequence[Setup]
    execution: Execution
    folder: Path
    advance: Callable[[int], None]
    warnings: list[str] = field(default_factory=list)
    _subjects: list[Subject] = field(default_factory=list)
    _captions: list[list[str]] = field(default_factory=list)

    def explain(self, model: Model) -> dict[str, Any]:
        """Write a file of maps for each setup, float32 [images, size, size].

        Returns the files' names, captions of the images for each of them, remarks on what is explained, assumptions and warnings.
        """
        self.warnings += model.warnings
        self._subjects = [find_subject(model, setup) for setup in self.setups]
        converted: dict[Encoder, EncoderGraph] = {}
        gradients: defaultdict[object, dict[bytes, Tensor]] = defaultdict(dict)
        for number, (setup, subject) in enumerate(zip(self.setups, self._subjects, strict=True)):
            if subject.encoder not in converted:
                converted.clear()  # one graph takes as much memory as all weights
                converted[subject.encoder] = convert(model, setup.probes.images[:VERIFIED_IMAGES], subject.encoder)
            known = gradients[METHODS[setup.method].rules, subject]
            light = drop_graph(model)
            if number == len(self.setups) - 1:
                model = light  # its weights would be a second copy of those of the converted graph
            engines = engines_for(light, self._take_graph(converted, number), setup, self.execution, known, subject)
            self._captions.append([])
            write_array(
                self.folder / f"maps-{number}.npy", np.concatenate(list(self._compute(engines, model.name, setup.method)))
            )
        files = [f"maps-{number}.npy" for number in range(len(self.setups))]
        remarks = list(dict.fromkeys(f"{model.name}: {remark}" for one in self._subjects for remark in one.remarks))
        found = {"files": files, "captions": self._captions, "remarks": remarks}
        return {**found, "assumed": self._list_assumed(model), "warnings": self.warnings}

    def _take_graph(self, converted: dict[Encoder, EncoderGraph], number: int) -> EncoderGraph:
        """The graph of a setup, which is not kept where no later one needs it: engines have their own form of it."""
        encoder = self._subjects[number].encoder
        needed = any(one.encoder == encoder for one in self._subjects[number + 1 :])
        return converted[encoder] if needed else converted.pop(encoder)

    def _list_assumed(self, model: Model) -> list[str]:
        """What was chosen for the user, as one sentence: the encoder only where it is explained."""
        encoders = [one.encoder for one in self._subjects if one.aim is None and one.grid is None]
        own = [f"encoder {one} ({one.why})" for one in encoders] if model.encoder == "auto" else []
        parts = dict.fromkeys((*model.assumed, *own))
        return [f"{model.name}: {'; '.join(parts)}"] if parts else []

    def _compute(self, engines: Engines, name: str, method: str) -> Iterator[NDArray[np.float32]]:
        errors: list[float] = []
        zero = count = 0
        for found in engines.maps():
            errors += [] if found.errors is None else found.errors.tolist()
            self._captions[-1] += found.captions
            zero += int(np.count_nonzero(~found.maps.any(axis=(1, 2))))
            count += len(found.maps)
            yield found.maps
            self.advance(len(found.maps))
        self.warnings += [f"{name}: {remark}" for remark in engines.remarks(errors)]
        if zero:
            self.warnings.append(f"{name}: by {method}, {count_of(zero, count, 'map')} zero.")
