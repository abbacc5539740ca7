"""Names of rules, rule sets and their parameters, so that `onnxspace.toml` is checked without loading Torch."""

from __future__ import annotations

import math
from collections.abc import Mapping

#: By the name of a rule set: rules by operator and values by parameter, as `[rules.NAME]` of a configuration has them.
Rules = Mapping[str, Mapping[str, str | float]]
#: Rule sets; `onnxspace.attribution.lrp.RULE_SETS` has their tables.
SETS = ("elrp", "lrp-epsilon", "lrp-gamma", "lrp-zplus", "lrp-alpha-beta", "lrp-composite", "attnlrp")
#: Rules of operators; `onnxspace.attribution.lrp.RULES` implements them.
NAMES = (
    "gradient", "ratio", "ratio-offset", "epsilon", "gamma", "zplus", "alpha-beta",
    "half", "detach", "flat", "box", "w-square",
)  # fmt: skip
#: Parameters of a rule set: the stabiliser, and those of the γ and αβ rules.
PARAMETERS = ("epsilon", "gamma", "alpha", "beta")


def find_problem(key: str, value: object) -> str | None:
    """Describe what is wrong with one entry of a rule table; None where it is valid. `key` is an operator or a parameter."""
    if key not in PARAMETERS:
        known = value in NAMES if isinstance(value, str) else False
        return None if known else f"{key} = {value!r} is not a rule. Use one of: {', '.join(NAMES)}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return f"{key} must be a number of at least 0"
    if key == "epsilon" and value == 0:
        return "epsilon must be above 0, or a denominator could be 0"
    return None
