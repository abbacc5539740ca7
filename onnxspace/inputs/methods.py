"""The attribution methods as data: how each uses the gradient, and which options it takes.

Free of NumPy and Torch, so that the command line lists methods without loading either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from onnxspace.errors import ConfigError
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.inputs.rule_names import Rules
from onnxspace.inputs.targets import Target

Method = Literal[
    "elrp", "saliency", "gradient-x-input", "lrp-epsilon", "lrp-gamma", "lrp-zplus", "lrp-alpha-beta", "lrp-composite",
    "attnlrp", "integrated-gradients", "smoothgrad", "unit-saliency", "grad-cam", "grad-cam++", "layer-cam", "attention-rollout",
]  # fmt: skip
Way = Literal["product", "absolute", "line", "noise", "units", "grad-cam", "grad-cam++", "layer-cam", "rollout"]
#: Where a method computes maps: at the image, at the last tensor with positions, or at the probabilities of attention.
Place = Literal["image", "positions", "attention"]
DEFAULT_METHOD: Method = "elrp"
#: Baselines other than image files; all but `zero` are images.
BASELINES = ("zero", "mean", "black", "blur")


@dataclass(frozen=True)
class MethodSpec:
    """A method.

    `summary` is a formula or phrase for listings; `rules` names a rule set of `onnxspace.attribution.lrp` for the backward pass
    (None: the plain gradient). `way` says where gradients are computed and how they make a map: the `product` of image − baseline
    and the gradient at the image (or that gradient itself, where the rules make it the relevance), its `absolute` value, the
    product with the mean gradient along the `line` from the baseline, the absolute value of the mean gradient under `noise`, or the
    mean absolute gradient of the encoder's `units`; the others are ways to weight activations at a tensor with positions, and the
    product of attentions. `options` are the fields of `Options` that the method uses, besides `rules`. `place` is where maps are
    computed, `explains_targets` whether the method explains a target: what `unit-saliency` and attention rollout show is not one number.
    """

    summary: str
    rules: str | None = None
    way: Way = "product"
    options: tuple[str, ...] = ("baseline",)
    place: Place = "image"
    explains_targets: bool = True

    @property
    def uses(self) -> tuple[str, ...]:
        """All fields of `Options` that the method uses."""
        return (*self.options, "rules") if self.rules is not None else self.options

    @property
    def signed(self) -> bool:
        """Whether maps have a sign (positive: evidence for, negative: evidence against), or a magnitude only."""
        return self.way in ("product", "line")


#: All methods by name. Their sources are cited where they are computed: `onnxspace.attribution.gradients`, `.activation_maps` and `.lrp`.
METHODS: Mapping[Method, MethodSpec] = {
    "elrp": MethodSpec("ε-LRP as a modified gradient, as in the paper", "elrp"),
    "saliency": MethodSpec("|dS/dx|", way="absolute", options=()),
    "gradient-x-input": MethodSpec("(x − b) · dS/dx"),
    "lrp-epsilon": MethodSpec("the ε rule with biases in the denominator", "lrp-epsilon"),
    "lrp-gamma": MethodSpec("the γ rule, which favours positive contributions", "lrp-gamma"),
    "lrp-zplus": MethodSpec("the z⁺ rule: positive contributions only", "lrp-zplus"),
    "lrp-alpha-beta": MethodSpec("the αβ rule: positive and negative contributions weighted separately", "lrp-alpha-beta"),
    "lrp-composite": MethodSpec("ε at dense layers, γ at convolutions, the box rule at the image", "lrp-composite", options=()),
    "attnlrp": MethodSpec("AttnLRP: the rules for transformers", "attnlrp"),
    "integrated-gradients": MethodSpec("(x − b) · mean gradient from b to x", way="line", options=("baseline", "steps")),
    "smoothgrad": MethodSpec("|mean dS/dx under noise|", way="noise", options=("samples", "noise")),
    "unit-saliency": MethodSpec("mean of |du/dx| over units u", way="units", options=("units",), explains_targets=False),
    "grad-cam": MethodSpec("activations weighted by their mean gradient", way="grad-cam", options=(), place="positions"),
    "grad-cam++": MethodSpec(
        "activations weighted by their positive gradients", way="grad-cam++", options=(), place="positions"
    ),
    "layer-cam": MethodSpec("activations times their positive gradients", way="layer-cam", options=(), place="positions"),
    "attention-rollout": MethodSpec(
        "product of all attentions with their residuals", way="rollout", options=(), place="attention", explains_targets=False
    ),
}


@dataclass(frozen=True)
class Options:
    """Options of methods; None stands for the default in `Settings`. An option that the method does not use raises ConfigError.

    `baseline` is `zero` (in the network's input), `mean` (the mean colour of the probe set), `black`, `blur` (each image blurred)
    or the path of an image; `steps` is the number of points on the line of integrated gradients (1–1000); `samples` (1–1000) and
    `noise` (standard deviation as a fraction of the pixel range, above 0 and at most 1) are those of SmoothGrad; `units` is the
    number of units sampled for unit-saliency (at least 2), which is exact where the encoder has no more; `rules` are entries that
    replace those of the method's rule set, such as `{"Sigmoid": "ratio-offset", "epsilon": 1e-3}`, as in `[rules.elrp]` of
    `onnxspace.toml`.

    >>> Options(baseline="black", steps=20).steps
    20
    """

    baseline: str | Path | None = None
    steps: int | None = None
    samples: int | None = None
    noise: float | None = None
    units: int | None = None
    rules: Mapping[str, str | float] | None = None


@dataclass(frozen=True)
class Settings:
    """The options with every default filled in; see `Options`."""

    baseline: str | Path = "zero"
    steps: int = 50
    samples: int = 50
    noise: float = 0.15
    units: int = 64
    rules: Mapping[str, str | float] = field(default_factory=dict)

    def used_by(self, method: str) -> dict[str, Any]:
        """Return the options that the method `method` uses, without a zero baseline and empty rules; ready for JSON.

        >>> Settings(steps=20).used_by("integrated-gradients")
        {'steps': 20}
        """
        used = {name: getattr(self, name) for name in _find_spec(method).uses}
        return {name: str(v) if name == "baseline" else v for name, v in used.items() if v not in ("zero", {})}


#: The method whose options gradient fields take, steps and baseline; the side of a field in pixels, as in the paper of ModelGiF.
FIELDS_METHOD: Method = "integrated-gradients"
FIELDS_SIZE = 128


def describe_options(options: Mapping[str, Any]) -> str:
    """Describe the options of a method in words, for titles and captions.

    >>> describe_options({"baseline": "black", "steps": 50})
    'baseline black, steps 50'
    """
    flat = {key: entry for name, value in options.items() for key, entry in _flatten(name, value)}
    return ", ".join(f"{name} {value}" for name, value in flat.items())


def _flatten(name: str, value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else [(name, value)]


def configure_options(method: Method, options: Options | None, rules: Rules) -> Options | None:
    """Return the options that `method` uses, with its rules over those of a configuration (`rules`, by the rule set's name)."""
    spec = METHODS[method]
    used = {name: getattr(options, name) for name in spec.uses if options is not None}
    entries = {**rules.get(spec.rules or "", {}), **(used.pop("rules", None) or {})}
    return Options(**used, rules=entries or None)


def resolve_settings(methods: Sequence[str], options: Options | None = None) -> Settings:
    """Return the settings for the given methods.

    Raises ConfigError for an unknown method, an option out of range, and an option that none of the methods uses.
    """
    known = {name for method in methods for name in _find_spec(method).uses}
    given = {f.name: v for f in fields(Options) if options is not None and (v := getattr(options, f.name)) is not None}
    for name, value in given.items():
        if name not in known:
            users = ", ".join(method for method, spec in METHODS.items() if name in spec.uses)
            flag = name if name == "rules" else f"--{name}"
            raise ConfigError(f"{flag} is not an option of {' or '.join(methods)}. It applies to {users}.")
        _check_value(name, value)
    return Settings(**given)


def _find_spec(method: str) -> MethodSpec:
    for name, spec in METHODS.items():
        if name == method:
            return spec
    raise ConfigError(f"--method: {describe_unknown('method', method, METHODS)}")


def check_target(method: Method, target: Target | None) -> None:
    """Raise ConfigError for a `target` where the method does not explain one."""
    if target is not None and not METHODS[method].explains_targets:
        others = ", ".join(name for name, spec in METHODS.items() if spec.explains_targets)
        raise ConfigError(
            f"{method} does not explain {target.words}, but the whole network. Leave the target out, or use one of {others}."
        )


_RANGES = {"steps": (1, 1000), "samples": (1, 1000), "units": (2, 10**9)}


def _check_value(name: str, value: Any) -> None:
    if name == "noise" and not (isinstance(value, int | float) and math.isfinite(value) and 0 < value <= 1):
        raise ConfigError(f"--noise is {value!r} but must be above 0 and at most 1: a fraction of the pixel range.")
    if name in _RANGES:
        low, high = _RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ConfigError(f"--{name} is {value!r} but must be a whole number from {low} to {high}.")
