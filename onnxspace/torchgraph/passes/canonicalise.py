"""Canonicalisation: one form for one function, so that a map does not depend on the exporter.

LRP rules are selected by operator. Operators that were exported in parts are fused where the rule for the whole differs from
the rules for its parts (normalisation, softmax, activations). Operators that combine several are expanded (attention, and
what ONNX Runtime's optimiser fuses), so that the rules for the parts apply. Every pass preserves the function; the graph as
a whole is compared with ONNX Runtime afterwards.
"""

from __future__ import annotations

from torch.fx import GraphModule

from onnxspace.torchgraph.host_values import store_host_values
from onnxspace.torchgraph.passes.activations import fuse_activations
from onnxspace.torchgraph.passes.binarize import binarize_signs
from onnxspace.torchgraph.passes.expand import expand_operators
from onnxspace.torchgraph.passes.fold_scales import fold_scales
from onnxspace.torchgraph.passes.group_norm import fuse_group_normalisation
from onnxspace.torchgraph.passes.norms_softmax import fuse_norms_and_softmax


def canonicalise(graph: GraphModule) -> GraphModule:
    """Bring `graph` to its canonical form, in place, and return it. New submodules are named `<Operator>_<k>`."""
    expand_operators(graph)
    for step in (fuse_norms_and_softmax, fuse_group_normalisation, fuse_activations, fold_scales, binarize_signs):
        step(graph)
    store_host_values(graph)
    graph.graph.eliminate_dead_code()  # shape computations that only the fused parts used
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph
