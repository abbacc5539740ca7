"""The attribution methods as data: what each does to the gradient, and which options it takes.

Free of NumPy and Torch, so that a command line can list methods without loading either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from onnxspace.errors import ConfigError

Method = Literal[
    "elrp", "saliency", "gradient-x-input", "lrp-epsilon", "lrp-gamma", "lrp-zplus", "lrp-alpha-beta", "lrp-composite",
    "attnlrp", "integrated-gradients", "smoothgrad", "unit-saliency",
]  # fmt: skip
Way = Literal["product", "absolute", "line", "noise", "units"]
DEFAULT_METHOD: Method = "elrp"
#: What stands for "nothing to see" without an image file; all but `zero` are pictures.
BASELINES = ("zero", "mean", "black", "blur")


@dataclass(frozen=True)
class MethodSpec:
    """One method: `rules` names a rule set of `onnxspace.attribution.lrp` for the backward pass (None: the plain gradient).

    `way` says where gradients are taken and what becomes of them: the `product` of image − baseline and the gradient at
    the image (or that gradient itself, where the rules make it the relevance), its `absolute` value, the product with the
    mean along the `line` from the baseline, the absolute value of the mean under `noise`, or the mean of absolute values
    over the encoder's `units`. `options` are the fields of `Options` that the method uses, besides `rules`.
    """

    summary: str
    rules: str | None = None
    way: Way = "product"
    options: tuple[str, ...] = ("baseline",)

    @property
    def uses(self) -> tuple[str, ...]:
        """All fields of `Options` that the method uses."""
        return (*self.options, "rules") if self.rules is not None else self.options

    @property
    def signed(self) -> bool:
        """Whether a map says for (positive) and against (negative), or only how much."""
        return self.way in ("product", "line")


#: The source of each is named where it is computed: `onnxspace.attribution.gradients`, `onnxspace.attribution.lrp`.
METHODS: Mapping[Method, MethodSpec] = {
    "elrp": MethodSpec("ε-LRP as a modified gradient, as in the paper", "elrp"),
    "saliency": MethodSpec("|dS/dx|", way="absolute", options=()),
    "gradient-x-input": MethodSpec("(x − b) · dS/dx"),
    "lrp-epsilon": MethodSpec("the ε rule with biases in the denominator", "lrp-epsilon"),
    "lrp-gamma": MethodSpec("the γ rule, which favours what speaks for", "lrp-gamma"),
    "lrp-zplus": MethodSpec("the z⁺ rule: only what speaks for", "lrp-zplus"),
    "lrp-alpha-beta": MethodSpec("the αβ rule: for and against apart", "lrp-alpha-beta"),
    "lrp-composite": MethodSpec("ε where dense, γ at convolutions, the box rule at the image", "lrp-composite", options=()),
    "attnlrp": MethodSpec("AttnLRP: the rules for transformers", "attnlrp"),
    "integrated-gradients": MethodSpec("(x − b) · mean gradient from b to x", way="line", options=("baseline", "steps")),
    "smoothgrad": MethodSpec("|mean dS/dx under noise|", way="noise", options=("samples", "noise")),
    "unit-saliency": MethodSpec("mean of |du/dx| over units u", way="units", options=("units",)),
}


@dataclass(frozen=True)
class Options:
    """The few numbers that methods take; None is the default of `Settings`. One that a method does not use is refused.

    `baseline` is `zero` (of the network's own input), `mean` (the mean colour of the probe set), `black`, `blur` (each
    image blurred) or the path of an image; `steps` are points on the line of integrated gradients (1–1000); `samples`
    (1–1000) and `noise` (its standard deviation as a share of the pixel range, above 0 and at most 1) are SmoothGrad's;
    `units` is how many units are drawn for unit-saliency (from 2), which is exact where there are no more; `rules` are
    entries laid over the method's own rule set, `{"Sigmoid": "ratio-offset", "epsilon": 1e-3}`, as `[rules.elrp]` of
    `onnxspace.toml` holds them.
    """

    baseline: str | Path | None = None
    steps: int | None = None
    samples: int | None = None
    noise: float | None = None
    units: int | None = None
    rules: Mapping[str, str | float] | None = None


@dataclass(frozen=True)
class Settings:
    """Options with every default filled in."""

    baseline: str | Path = "zero"
    steps: int = 50
    samples: int = 50
    noise: float = 0.15
    units: int = 64
    rules: Mapping[str, str | float] = field(default_factory=dict)

    def used_by(self, method: str) -> dict[str, Any]:
        """What this method was told besides its name, the paper's own baseline and rules left out; ready for JSON."""
        told = {name: getattr(self, name) for name in _spec(method).uses}
        return {name: str(v) if name == "baseline" else v for name, v in told.items() if v not in ("zero", {})}


def in_words(told: Mapping[str, Any]) -> str:
    """What a method was told, for titles and captions: `baseline black, steps 50`."""
    flat = {key: value for name, told_ in told.items() for key, value in _entries(name, told_)}
    return ", ".join(f"{name} {value}" for name, value in flat.items())


def _entries(name: str, value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else [(name, value)]


def configured(method: Method, options: Options | None, rules: Mapping[str, Mapping[str, str | float]]) -> Options | None:
    """One method's share of the options, over what a configuration says of its rule set (`rules` by the set's name)."""
    spec = METHODS[method]
    said = {name: getattr(options, name) for name in spec.uses if options is not None}
    entries = {**rules.get(spec.rules or "", {}), **(said.pop("rules", None) or {})}
    return Options(**said, rules=entries or None)


def resolve_settings(methods: Sequence[str], options: Options | None = None) -> Settings:
    """Settings for these methods. Raises ConfigError for an unknown method, and an option out of range or that none uses."""
    known = {name for method in methods for name in _spec(method).uses}
    given = {f.name: v for f in fields(Options) if options is not None and (v := getattr(options, f.name)) is not None}
    for name, value in given.items():
        if name not in known:
            users = ", ".join(method for method, spec in METHODS.items() if name in spec.uses)
            flag = name if name == "rules" else f"--{name}"
            raise ConfigError(f"{flag} means nothing to {' or '.join(methods)}. It is for {users}.")
        _check(name, value)
    return Settings(**given)


def _spec(method: str) -> MethodSpec:
    for name, spec in METHODS.items():
        if name == method:
            return spec
    raise ConfigError(f"method {method!r} is none of {', '.join(METHODS)}.")


_RANGES = {"steps": (1, 1000), "samples": (1, 1000), "units": (2, 10**9)}


def _check(name: str, value: Any) -> None:
    if name == "noise" and not (isinstance(value, int | float) and math.isfinite(value) and 0 < value <= 1):
        raise ConfigError(f"--noise is {value!r} but must be above 0 and at most 1: a share of the pixel range.")
    if name in _RANGES:
        low, high = _RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"--{name} is {value!r} but must be a whole number from {low} to {high}.")
