"""Engines that stay within the memory that is left: smaller batches first, then activations that are computed again.

None of this changes maps beyond what the size of a batch does, which is rounding; computing again changes no byte.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import GraphModule

from onnxspace.attribution.checkpointing import Profile, SegmentedGraph, plan_segments, profile_graph
from onnxspace.attribution.devices import autocast_for
from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.grouped_forward import GroupedForward
from onnxspace.errors import AttributionError
from onnxspace.inputs.methods import METHODS
from onnxspace.sandbox.memory import LARGE_BLOCKS, SMALL_BLOCKS, count_free_memory, keep_blocks, return_memory

#: The most that rules keep, in sizes of all activations: a graph that has room for so many is not measured.
_MOST_KEPT = 4
#: An estimate may exceed what a pass takes by so much; a pass that does not fit after all fails with a sentence.
_LEEWAY = 1.25


@dataclass(frozen=True)
class Fit:
    """How an engine fits: its explainer, which may compute activations again, and the images per batch."""

    explainer: Explainer
    size: int


def fit_memory(explainer: Explainer, images: NDArray[Any], size: int, activations: int) -> Fit:
    """Return `explainer` so that its passes fit in the memory that is left on its device, with up to `size` images per batch.

    `images` are some to measure with, uint8 [images, size, size, 3], `activations` the bytes of all activations of one image. Raises
    AttributionError where one image does not fit even if all activations are computed again.
    """
    graph, room = _find_graph(explainer.network.graph), _count_room(explainer.device)
    if graph is None or METHODS[explainer.method].way == "rollout" or size * activations * _MOST_KEPT <= room:
        keep_blocks(LARGE_BLOCKS)
        return Fit(explainer, size)
    keep_blocks(SMALL_BLOCKS)
    gc.collect()  # graphs refer to themselves: those of the conversion hold weights until then
    return_memory()
    passes = _count_passes(explainer.network.graph)
    profile, room = _measure(explainer, graph, images), _count_room(explainer.device) // passes
    plan = plan_segments(profile, room)
    if plan.peak > _LEEWAY * room:
        raise AttributionError(_describe(explainer, passes * plan.peak, passes * room))
    if not plan.recomputes:
        return Fit(explainer, min(size, max(1, room // plan.peak) * explainer.images_at_once))
    segmented = SegmentedGraph(graph, profile.units, plan.segments)
    return Fit(_replace_graph(explainer, segmented), explainer.images_at_once)


def _count_room(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else count_free_memory()


def _count_passes(forward: Callable[[Tensor], Any]) -> int:
    """How many passes of the graph are in memory at a time for the smallest batch."""
    return forward.group.size if isinstance(forward, GroupedForward) and forward.group.mixed else 1


def _find_graph(forward: Callable[[Tensor], Any]) -> GraphModule | None:
    """The graph that is run; None where it was compiled."""
    inner = forward.graph if isinstance(forward, GroupedForward) else forward
    return inner if isinstance(inner, GraphModule) else None


def _measure(explainer: Explainer, graph: GraphModule, images: NDArray[Any]) -> Profile:
    batch = explainer.prepare_batch(images[:1])
    with autocast_for(explainer.compute, explainer.device):
        return profile_graph(graph, batch.values)


def _replace_graph(explainer: Explainer, segmented: SegmentedGraph) -> Explainer:
    forward = explainer.network.graph
    own = replace(forward, graph=segmented) if isinstance(forward, GroupedForward) else segmented
    return replace(explainer, network=replace(explainer.network, graph=own))


def _describe(explainer: Explainer, needed: int, room: int) -> str:
    words = "one image takes" if explainer.images_at_once == 1 else f"{explainer.images_at_once} images at a time take"
    return (
        f"{explainer.network.path}: {words} about {needed / 2**30:.1f}G of memory beside the network, of which {room / 2**30:.1f}G are "
        "left. Allow more with --limits memory=…, or export the model for a smaller input."
    )
