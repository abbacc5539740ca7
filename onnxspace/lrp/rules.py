"""ε-LRP of the paper over a graph, the shortest way."""

from __future__ import annotations

import torch

from onnxspace.lrp.apply import apply_rules
from onnxspace.lrp.table import EPSILON, RULE_SETS


def with_rules(graph: torch.fx.GraphModule, epsilon: float = EPSILON) -> torch.fx.GraphModule:
    """A copy of `graph`, weights shared, in which every nonlinearity has the ratio rule: `x · d'S/dx` is ε-LRP."""
    return apply_rules(graph, RULE_SETS["elrp"].with_(epsilon=epsilon)).graph
