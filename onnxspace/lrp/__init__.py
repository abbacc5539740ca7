"""Rules that replace the derivative of single operators in the backward pass."""

from onnxspace.lrp.apply import Ruled, apply_rules
from onnxspace.lrp.registry import RULES, Rule, Site
from onnxspace.lrp.table import EPSILON, RULE_SETS, RuleSet, rule_set

__all__ = ["EPSILON", "RULES", "RULE_SETS", "Rule", "RuleSet", "Ruled", "Site", "apply_rules", "rule_set"]
