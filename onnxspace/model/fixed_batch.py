"""A batch of fixed size: the graph is rewritten for one image at a time, and compared with itself at its own size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ModelError, quote_message
from onnxspace.model import runtime
from onnxspace.model.batch_reduction import BatchReduction
from onnxspace.model.image_groups import ImageGroup, find_group
from onnxspace.model.network import Network
from onnxspace.model.shapes import infer_shapes, refuse_large_tensors

#: Largest relative difference between a batch of N and its images one by one: ONNX Runtime's kernels differ by as much.
_ALLOWED = 2e-3
_Run = Callable[[Network, dict[str, NDArray[Any]]], list[NDArray[Any]]]


def reduce_batch(network: Network, name: str, batch: NDArray[Any], path: str) -> Network | None:
    """Return `network`, whose input `name` takes batches of a fixed size N > 1, for batches of one image.

    `batch` is an example of the file's input [N, …] with images that differ, by which both are compared. Returns None where the
    rewritten graph does not give what the file's graph gives. Raises ModelError for the file `path` where a tensor is too large.
    """
    refuse_large_tensors(network.proto, {name: batch.shape}, path)
    try:
        one = BatchReduction(network, name, batch).network()
        return one if _agree(network, one, name, batch) else None
    except Exception:  # ONNX Runtime's errors share no base class
        return None


def find_file_group(network: Network, name: str, images: NDArray[Any], path: str) -> ImageGroup:
    """Find out whether images of one batch influence each other in `network`, whose batch is fixed at N > 1 and can't be opened.

    `images` are N + 1 examples that differ of its input `name`. Raises ModelError where ONNX Runtime can't run the file `path`.
    """
    names = list(dict.fromkeys([*network.graph.outputs, *_find_last(network, name, images[1:].shape)]))
    part = network.with_outputs(names)
    try:
        return find_group(lambda batch: runtime.evaluate(part, {name: batch}), images)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(
            f"{path} takes {len(images) - 1} images at a time, and ONNX Runtime can't run it ({quote_message(error)}). Export it with a batch of one."
        ) from error


def _agree(network: Network, one: Network, name: str, batch: NDArray[Any]) -> bool:
    """Whether both give the same for the images of `batch`, at all outputs and at the last tensor that has a row for each image."""
    last = _find_last(network, name, batch.shape)
    names = list(dict.fromkeys([*network.graph.outputs, *last]))
    together, run = _run_whole(network.with_outputs(names), {name: batch})
    alone = [run(one.with_outputs(names), {name: batch[i : i + 1]}) for i in range(len(batch))]
    pairs = [_pair(whole, [row[i] for row in alone]) for i, whole in enumerate(together)]
    missing = any(pair is None and np.shape(whole)[:1] == (len(batch),) for whole, pair in zip(together, pairs, strict=True))
    comparable = [pair for pair in pairs if pair is not None]
    return bool(comparable) and not missing and all(_is_close(*pair) for pair in comparable)


def _run_whole(network: Network, feeds: dict[str, NDArray[Any]]) -> tuple[list[NDArray[Any]], _Run]:
    """The outputs of the file's graph, and what the rewritten graph is to be run by: the reference runs graphs that the runtime refuses."""
    try:
        return runtime.run(network, feeds), runtime.run
    except Exception:  # ONNX Runtime's errors share no base class
        return runtime.evaluate(network, feeds), runtime.evaluate


def _find_last(network: Network, name: str, shape: tuple[int, ...]) -> list[str]:
    """The output of the last trained node, if it has a row for each image."""
    known = infer_shapes(network.proto, {name: shape})
    trained = [
        network.graph.nodes[i].output[0] for i in sorted(network.graph.descendants_of(name)) if network.graph.is_parametric(i)
    ]
    return [last for last in trained[-1:] if last in known and shape[0] in known[last][0]]


def _pair(whole: Any, rows: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """An output of the batch and the same of its images one by one, joined; None where it does not have the images on an axis."""
    found, first = np.asarray(whole), np.asarray(rows[0])
    if found.dtype.kind not in "fiub" or found.ndim != first.ndim:
        return None
    axes = [i for i, (n, m) in enumerate(zip(found.shape, first.shape, strict=True)) if n != m]
    if len(axes) != 1 or any(np.shape(row) != first.shape for row in rows):
        return None
    joined = np.concatenate([np.asarray(row) for row in rows], axes[0])
    return (found, joined) if joined.shape == found.shape else None


def _is_close(found: NDArray[Any], joined: NDArray[Any]) -> bool:
    first, second = found.astype(np.float64), joined.astype(np.float64)
    largest = np.abs(first[np.isfinite(first)]).max(initial=1e-6)
    return bool(np.allclose(first, second, rtol=0, atol=_ALLOWED * largest, equal_nan=True))
