"""Rules that replace the derivative of single operators in the backward pass."""

from onnxspace.lrp.rules import EPSILON, RATIO, with_rules

__all__ = ["EPSILON", "RATIO", "with_rules"]
