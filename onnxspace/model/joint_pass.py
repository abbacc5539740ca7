"""Two sets of a network's tensors from one forward pass, written to two files: what it saves is a pass over all images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError, OutputError
from onnxspace.inputs.execution import Advance
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.features import BATCH, ForwardPass, Pool, check_finite, load_pass, load_runner, shape_of_file
from onnxspace.model.model import Model
from onnxspace.model.providers import Provider
from onnxspace.model.rewritten import check_model
from onnxspace.storage.atomic import whole_array

#: A set of tensors, and the file that they are written to.
Part = tuple[Encoder, Path]
Rows = NDArray[np.float32]
#: Batches that both passes compute before one replaces them: with fewer images there is nothing to save.
_COMPARED = 2


def write_together(
    model: Model, parts: Sequence[Part], images: NDArray[np.uint8], pool: Pool, progress: Advance, provider: Provider = "cpu"
) -> bool:
    """Write what `write_features` would for each of `parts`, from one pass of ONNX Runtime, if that computes the same bits.

    ONNX Runtime fuses nodes at which no output lies, so a graph with more outputs may round otherwise. The first and the last batch
    are computed both ways. `images` are uint8 [images, size, size, bands]; `progress` is called with numbers of images. Returns False
    where nothing was written: the bits differ, tensors are in both sets, images are few, the network takes several at a time, or it
    fails, of which the single passes then give the reason. Raises OutputError where a file can't be written.
    """
    tensors = [name for encoder, _ in parts for name in encoder.tensors]
    if model.group is not None or len(set(tensors)) < len(tensors) or len(images) < 2 * _COMPARED * BATCH:
        return False
    try:
        check_model(model, images)
        return _write(model, parts, images, pool, progress, provider)
    except OutputError:
        raise
    except OnnxspaceError:
        return False


def _write(
    model: Model, parts: Sequence[Part], images: NDArray[np.uint8], pool: Pool, progress: Advance, provider: Provider
) -> bool:
    last = (len(images) - 1) // BATCH * BATCH
    batches = [images[:BATCH], images[last:]]
    alone = [_compute_alone(model, encoder, images, batches, pool, provider) for encoder, _ in parts]  # one session at a time
    joint = _JointPass(model, [encoder for encoder, _ in parts], pool, provider)
    joint.measure(images)
    found = [joint.compute(batch) for batch in batches]
    if not all(_are_equal(one[1][i], found[i][k]) for k, one in enumerate(alone) for i in range(len(batches))):
        return False
    with ExitStack() as stack:
        append = [stack.enter_context(whole_array(file, alone[k][0], np.float32)) for k, (_, file) in enumerate(parts)]
        for start in range(0, len(images), BATCH):
            values = {0: found[0], last: found[1]}.get(start) or joint.compute(images[start : start + BATCH])
            for rows, write in zip(values, append, strict=True):
                check_finite(rows, start, model.path)
                write(rows)
            progress(len(values[0]))
    return True


def _compute_alone(
    model: Model,
    encoder: Encoder,
    images: NDArray[np.uint8],
    batches: Sequence[NDArray[np.uint8]],
    pool: Pool,
    provider: Provider,
) -> tuple[tuple[int, ...], list[Rows]]:
    """The shape of the file of a set of tensors, and its rows of some batches, by the pass that computes nothing else."""
    found = load_pass(model, encoder, pool, provider)
    return shape_of_file(encoder, len(images), *found.measure(images), pool), [found(batch) for batch in batches]


def _are_equal(first: Rows, second: Rows) -> bool:
    return first.shape == second.shape and first.tobytes() == second.tobytes()


class _JointPass(ForwardPass):
    """The graph from the image to all sets of tensors."""

    def __init__(self, model: Model, encoders: Sequence[Encoder], pool: Pool, provider: Provider) -> None:
        tensors = tuple(name for encoder in encoders for name in encoder.tensors)
        part = cut(model, Encoder(tensors, "several"))
        super().__init__(model, part, pool, load_runner(model, part, provider))
        self.ends = np.cumsum([len(encoder.tensors) for encoder in encoders])[:-1]

    def compute(self, images: NDArray[np.uint8]) -> list[Rows]:
        """The rows of each set for `images`: float32 [images, dimensions] each."""
        values = self.model.preprocess(images).astype(self.dtype)
        if self.batched:
            return self._split(self._run(values), len(values))
        single = [self._split(self._run(values[i : i + 1]), 1) for i in range(len(values))]
        return [np.concatenate(rows) for rows in zip(*single, strict=True)]

    def _split(self, outputs: Sequence[NDArray[Any]], images: int) -> list[Rows]:
        edges = [0, *self.ends, len(outputs)]
        return [self._flatten(outputs[first:end], images) for first, end in pairwise(edges)]
