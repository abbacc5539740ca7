"""Copies of converted graphs whose weights can be replaced or moved to a device, while the original stays as it is."""

from __future__ import annotations

import copy

from torch import nn
from torch.fx import GraphModule


def copy_graph(graph: GraphModule) -> GraphModule:
    """Return a copy of `graph` that shares its weights until they are replaced or moved.

    `copy.deepcopy` copies all weights at once, and follows what modules refer to, which exceeds the recursion limit for some networks.
    """
    own = GraphModule(graph, copy.deepcopy(graph.graph))
    for name, module in list(own.named_children()):
        own.add_module(name, _copy_module(module))
    return own.eval().requires_grad_(False)


def _copy_module(module: nn.Module) -> nn.Module:
    own = copy.copy(module)
    own._buffers = dict(module._buffers)
    # `Module.to` moves a parameter in place, so a copy needs one of its own; a buffer is replaced
    own._parameters = {
        name: None if given is None else nn.Parameter(given.detach(), given.requires_grad)
        for name, given in module._parameters.items()
    }
    own._modules = {name: None if part is None else _copy_module(part) for name, part in module._modules.items()}
    return own
