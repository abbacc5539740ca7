"""A rule set laid over a converted graph: every operator with a rule is replaced, the weights stay shared."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor
from torch.fx import GraphModule, Node

from onnxspace.attribution.lrp.dataflow import find_computed, find_nonnegative, is_rectified
from onnxspace.attribution.lrp.input_layer import ImageRegion, add_bounds, close_image_region, find_image_region
from onnxspace.attribution.lrp.rule_sets import LINEAR, RuleSet, find_rule_set
from onnxspace.attribution.lrp.rules import AT_INPUT, OF_WEIGHTS, RULES, Site
from onnxspace.errors import ConfigError
from onnxspace.torchgraph.passes.fold_scales import fold_scales
from onnxspace.torchgraph.view import operator_of

_PRODUCTS = frozenset({"Mul", "MatMul", "Gemm", "FusedMatMul", "TransposeMatMul", "Einsum", "Conv", "ConvTranspose"})


@dataclass(frozen=True)
class RuledGraph:
    """A graph whose gradient with respect to its input follows rules.

    Relevance is input · gradient, or the gradient itself where `relevance` is True. `fallback` counts, by operator, the nonlinear
    or unknown ones that no rule covers and that keep their plain gradient.
    """

    graph: GraphModule
    relevance: bool
    fallback: Mapping[str, int]


def apply_rules(graph: GraphModule, rules: str | RuleSet, bounds: tuple[Tensor, Tensor] | None = None) -> RuledGraph:
    """Lay a rule set, ready by name or given, over a converted graph, which stays as it is.

    `bounds` are the lowest and highest values of the network's input, [1, channels, 1, 1] or what broadcasts to it, for the
    box rule, which is the flat rule without them. Raises ConfigError for a rule that is not in `RULES`.
    """
    chosen = _check_rules(find_rule_set(rules) if isinstance(rules, str) else rules)
    if chosen.rules.get("Input") == "box" and bounds is None:
        chosen = replace(chosen, rules={**chosen.rules, "Input": "flat"})
    own = GraphModule(graph, copy.deepcopy(graph.graph))
    if OF_WEIGHTS.intersection(chosen.rules.values()):
        fold_scales(own)
    laid = _RuleApplication(own, chosen)
    laid.apply(bounds)
    own.graph.lint()
    own.recompile()
    return RuledGraph(own.eval().requires_grad_(False), laid.ends_in_relevance, dict(laid.fallback))


def _check_rules(rules: RuleSet) -> RuleSet:
    for key, name in rules.rules.items():
        if name not in RULES:
            raise ConfigError(f"{rules.name}: {key} = {name!r} is no rule. Use one of: {', '.join(RULES)}.")
        if key != "Input" and name in AT_INPUT:
            raise ConfigError(f"{rules.name}: {key} = {name!r}, but this rule is for the image alone. Use it as Input.")
    return rules


class _RuleApplication:
    """The work of one call: which rule each node has, and what it needs to know."""

    def __init__(self, graph: GraphModule, rules: RuleSet) -> None:
        self.graph, self.rules = graph, rules
        self.computed = find_computed(graph)
        self.nonnegative = find_nonnegative(graph)
        self.fallback: Counter[str] = Counter()
        self.ends_in_relevance = False

    def apply(self, bounds: tuple[Tensor, Tensor] | None) -> None:
        chosen = {
            node: self._find_rule(node) for node in self.graph.graph.nodes if node in self.computed and node.op == "call_module"
        }
        sites = {node: self._make_site(node) for node, rule in chosen.items() if rule not in (None, "gradient")}
        at_input = self.rules.rules.get("Input", "gradient")
        first: tuple[Node, ...] = ()
        if at_input in AT_INPUT:
            found = find_image_region(self.graph, self.computed, lambda node: chosen.get(node) in OF_WEIGHTS)
            first, self.ends_in_relevance = found.first, True
            self._close_region(found, bounds if at_input == "box" else None)
        for node, site in sites.items():
            rule = at_input if node in first else chosen[node]
            self.graph.add_submodule(str(node.target), RULES[rule or "gradient"](site))

    def _find_rule(self, node: Node) -> str | None:
        """The name of the rule of a node; None where it has none. Notes what is left without one."""
        name = operator_of(node)
        kind = self._find_key(node, name)
        rule = self.rules.rules.get(kind)
        if rule is None and kind not in LINEAR:
            self.fallback[name] += 1
        return rule

    def _find_key(self, node: Node, name: str) -> str:
        """The key of the table that holds for a node."""
        factors = node.args if name == "Einsum" else node.args[:2]
        if name in _PRODUCTS and sum(given in self.computed for given in factors) > 1:
            return "Product"
        if name == "Einsum" and len(factors) != 2:  # of one tensor, it moves or sums its values
            return "Identity" if len(factors) == 1 else name
        if name == "Div" and len(node.args) > 1 and node.args[1] in self.computed:
            return "Quotient"
        return name

    def _make_site(self, node: Node) -> Site:
        """Facts are taken before anything is replaced."""
        inputs = [given for given in node.args[:2] if isinstance(given, Node)]
        data = next((i for i, given in enumerate(inputs) if given in self.computed), 0)
        nonnegative = bool(inputs) and inputs[data] in self.nonnegative
        module = self.graph.get_submodule(str(node.target))
        return Site(operator_of(node), module, self.rules, data, nonnegative, is_rectified(self.graph, node))

    def _close_region(self, found: ImageRegion, bounds: tuple[Tensor, Tensor] | None) -> None:
        if bounds is not None:
            made = add_bounds(self.graph, found, bounds)
            for node in found.first:
                source = next(given for given in node.all_input_nodes if given in made)
                node.args = (*made[source], *node.args)
        close_image_region(self.graph, found)
