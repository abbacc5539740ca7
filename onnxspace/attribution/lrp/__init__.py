"""Rules that replace the derivative of single operators in the backward pass."""

from onnxspace.attribution.lrp.apply import RuledGraph, apply_rules
from onnxspace.attribution.lrp.rule_sets import EPSILON, RULE_SETS, RuleSet, find_rule_set
from onnxspace.attribution.lrp.rules import RULES, Rule, Site

__all__ = ["EPSILON", "RULES", "RULE_SETS", "Rule", "RuleSet", "RuledGraph", "Site", "apply_rules", "find_rule_set"]
