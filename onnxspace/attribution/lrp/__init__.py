"""Rules that replace the derivative of single operators in the backward pass."""

from onnxspace.attribution.lrp.apply import Ruled, apply_rules
from onnxspace.attribution.lrp.rule_sets import EPSILON, RULE_SETS, RuleSet, rule_set
from onnxspace.attribution.lrp.rules import RULES, Rule, Site

__all__ = ["EPSILON", "RULES", "RULE_SETS", "Rule", "RuleSet", "Ruled", "Site", "apply_rules", "rule_set"]
