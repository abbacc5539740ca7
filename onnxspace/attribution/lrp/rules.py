"""Rules by name: what makes the module that takes an operator's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from onnxspace.attribution.lrp.activations import Ratio, RectifiedRatio
from onnxspace.attribution.lrp.compound import DETACHED, HALVED, SubstitutedOperator
from onnxspace.attribution.lrp.dataflow import is_rectifier, upper_bound
from onnxspace.attribution.lrp.linear import AlphaBeta, Box, Epsilon, Flat, Gamma, WSquare, ZPlus
from onnxspace.attribution.lrp.rule_sets import RuleSet


@dataclass(frozen=True)
class Site:
    """An operator that gets a rule: its module, and what is known of the place it has in the graph.

    `data` is the position of the computed argument among the first two, `nonnegative` says that it can't be negative,
    `rectified` that nothing but ReLU reads the result.
    """

    operator: str
    module: nn.Module
    rules: RuleSet
    data: int = 0
    nonnegative: bool = False
    rectified: bool = False


Rule = Callable[[Site], nn.Module]


def _make_ratio(site: Site, offset: bool = False) -> nn.Module:
    if site.operator == "Relu":
        return RectifiedRatio(site.rules.epsilon)
    if is_rectifier(site.module):
        return RectifiedRatio(site.rules.epsilon, upper_bound(site.module))
    return Ratio(site.module, site.rules.epsilon, offset)


def _make_alpha_beta(site: Site) -> nn.Module:
    rules = site.rules
    return AlphaBeta(site.module, rules.epsilon, site.data, site.nonnegative, rules.alpha, rules.beta)


def _make_gamma(site: Site) -> nn.Module:
    return Gamma(site.module, site.rules.epsilon, site.data, site.nonnegative, site.rectified, site.rules.gamma)


#: Rule name → what makes the module that replaces an operator's. A name added here can be used in any `RuleSet`.
RULES: dict[str, Rule] = {
    "gradient": lambda site: site.module,
    "ratio": _make_ratio,
    "ratio-offset": lambda site: _make_ratio(site, offset=True),
    "epsilon": lambda site: Epsilon(site.module, site.rules.epsilon, site.data),
    "gamma": _make_gamma,
    "zplus": lambda site: ZPlus(site.module, site.rules.epsilon, site.data, site.nonnegative),
    "alpha-beta": _make_alpha_beta,
    "half": lambda site: SubstitutedOperator(site.module, HALVED),
    "detach": lambda site: SubstitutedOperator(site.module, DETACHED),
    "flat": lambda site: Flat(site.module, site.rules.epsilon, site.data),
    "box": lambda site: Box(site.module, site.rules.epsilon, site.data),
    "w-square": lambda site: WSquare(site.module, site.rules.epsilon, site.data),
}
#: Rules whose gradient is relevance already: they end at the image.
AT_INPUT = frozenset({"flat", "box", "w-square"})
#: Rules that share relevance out among weights and bias.
OF_WEIGHTS = frozenset({"epsilon", "gamma", "zplus", "alpha-beta"}) | AT_INPUT
