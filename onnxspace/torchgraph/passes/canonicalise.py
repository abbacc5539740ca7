"""One graph for one function, whatever exporter wrote it: rules look at operators by name, and a map must not depend on it.

What came in pieces is put back together where a rule for the whole differs from the rules for its pieces (normalisation,
softmax, activations). What came as one operator but holds several is written out (attention, and what ONNX Runtime's
optimiser merges), so that the rules for its pieces apply. Every step keeps the function, and is harmless where it finds
nothing: the graph is compared with ONNX Runtime as a whole.
"""

from __future__ import annotations

from torch.fx import GraphModule

from onnxspace.torchgraph.passes.activations import fuse_activations
from onnxspace.torchgraph.passes.expand import write_out
from onnxspace.torchgraph.passes.fold_scales import merge
from onnxspace.torchgraph.passes.group_norm import fuse_group_normalisation
from onnxspace.torchgraph.passes.norms_softmax import fuse_statistics


def fuse(graph: GraphModule) -> GraphModule:
    """Bring `graph` to that form, in place. New submodules are named `<Operator>_<place>`, as converted ones are."""
    write_out(graph)
    for step in (fuse_statistics, fuse_group_normalisation, fuse_activations, merge):
        step(graph)
    graph.graph.eliminate_dead_code()  # shapes that only the pieces needed
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph
