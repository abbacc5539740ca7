"""Gradients in bounded memory: segments of a graph whose activations are computed again in the backward pass.

`profile` measures what each node of a graph keeps for the backward pass, `segments` chooses where the graph is cut and what is computed
again, `segmented_graph` is the graph in that form. Maps are equal to the byte: autograd has the same graph as without segments, and what it
kept is computed again by the same functions from the same values.
"""

from onnxspace.attribution.checkpointing.profile import Profile, Unit, profile_graph
from onnxspace.attribution.checkpointing.segmented_graph import SegmentedGraph
from onnxspace.attribution.checkpointing.segments import Plan, Segment, plan_segments

__all__ = ["Plan", "Profile", "Segment", "SegmentedGraph", "Unit", "plan_segments", "profile_graph"]
