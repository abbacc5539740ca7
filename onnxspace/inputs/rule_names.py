"""Names of rules, rule sets and their parameters: what `onnxspace.toml` is checked against without loading torch."""

from __future__ import annotations

import math

#: Ready rule sets; `onnxspace.attribution.lrp.RULE_SETS` has their tables.
SETS = ("elrp", "lrp-epsilon", "lrp-gamma", "lrp-zplus", "lrp-alpha-beta", "lrp-composite", "attnlrp")
#: Rules an operator can have; `onnxspace.attribution.lrp.RULES` has what they do.
NAMES = (
    "gradient", "ratio", "ratio-offset", "epsilon", "gamma", "zplus", "alpha-beta",
    "half", "detach", "flat", "box", "w-square",
)  # fmt: skip
#: Numbers that a rule set holds: the stabiliser, and the parameters of γ and αβ.
PARAMETERS = ("epsilon", "gamma", "alpha", "beta")


def problem(key: str, value: object) -> str | None:
    """What is wrong with one entry of a rule table, None where nothing is: `key` is an operator or a parameter."""
    if key not in PARAMETERS:
        known = value in NAMES if isinstance(value, str) else False
        return None if known else f"{key} = {value!r} is no rule. Use one of: {', '.join(NAMES)}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return f"{key} must be a number of at least 0"
    if key == "epsilon" and value == 0:
        return "epsilon must be above 0, or a denominator could be 0"
    return None
