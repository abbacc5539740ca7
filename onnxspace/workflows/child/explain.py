"""Explaining a few images with one model by some methods: an array of maps for each."""

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
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import METHODS
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import Model
from onnxspace.storage.atomic import write_array
from onnxspace.torchgraph.encoder_graph import convert


@dataclass
class ModelExplanation:
    """The state of one model's explanation: `setups` has one setup per method, with the same images.

    Maps are written to `folder`; `advance` is called with numbers of finished images.
    """

    setups: Sequence[Setup]
    execution: Execution
    folder: Path
    advance: Callable[[int], None]
    warnings: list[str] = field(default_factory=list)

    def explain(self, model: Model) -> dict[str, Any]:
        """Write a file of maps for each method, float32 [images, size, size]; returns the files' names, assumptions and warnings."""
        self.warnings += model.warnings
        encoder = find_encoder(model)
        converted = convert(model, self.setups[0].probes.images[:VERIFIED_IMAGES], encoder)
        own = (f"encoder {encoder} ({encoder.why})",) if model.encoder == "auto" else ()
        assumed = [f"{model.name}: {'; '.join((*model.assumed, *own))}"] if model.assumed or own else []
        gradients: defaultdict[str | None, dict[bytes, Tensor]] = defaultdict(dict)
        files: list[str] = []
        for number, setup in enumerate(self.setups):
            known = gradients[METHODS[setup.method].rules]
            engines = engines_for(model, converted, setup, self.execution, known)
            files.append(f"maps-{number}.npy")
            write_array(self.folder / files[-1], np.concatenate(list(self._compute(engines, model.name, setup.method))))
        return {"files": files, "assumed": assumed, "warnings": self.warnings}

    def _compute(self, engines: Engines, name: str, method: str) -> Iterator[NDArray[np.float32]]:
        errors: list[float] = []
        zero = count = 0
        for found in engines.maps():
            errors += [] if found.errors is None else found.errors.tolist()
            zero += int(np.count_nonzero(~found.maps.any(axis=(1, 2))))
            count += len(found.maps)
            yield found.maps
            self.advance(len(found.maps))
        self.warnings += [f"{name}: {remark}" for remark in engines.remarks(errors)]
        if zero:
            self.warnings.append(f"{name}: {zero} of {count} maps by {method} are zero.")
