"""Settings of the measures of faithfulness. Free of NumPy and Torch, so that the command line lists measures without loading either."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from onnxspace.errors import ConfigError

Measure = Literal["deletion", "insertion", "infidelity", "sensitivity", "randomisation", "pointing", "mass", "ranks"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
#: Measures that are the area under a curve.
CURVES: tuple[Measure, ...] = ("deletion", "insertion")
#: Measures of which larger values are better; of the others smaller ones are.
LARGER_IS_BETTER = frozenset({"insertion", "pointing", "mass", "ranks"})
#: Measures that need boxes or masks of objects.
OF_OBJECTS: tuple[Measure, ...] = ("pointing", "mass", "ranks")
Followed = Literal["auto", "probability", "value", "features"]
FOLLOWED: tuple[Followed, ...] = get_args(Followed)
#: Baselines that replace pixels: those of `methods.BASELINES` that are images of the user's own pixels or colours.
Replacement = Literal["mean", "black", "blur"]
REPLACEMENTS: tuple[Replacement, ...] = get_args(Replacement)
_RANGES = {
    "steps": (1, 1000),
    "perturbations": (2, 1000),
    "draws": (1, 100),
    "stages": (1, 100),
    "tolerance": (0, 1024),
    "seed": (0, 2**63),
}


@dataclass(frozen=True)
class FaithfulnessSettings:
    """How faithfulness is measured.

    `measures` are names of `MEASURES`; `pointing`, `mass` and `ranks` are measured where boxes or masks are given. `followed` is what
    the curves follow: the `probability` of the class that the whole image gets, or of the class that is explained; the explained
    `value` itself, such as a class's number before the softmax; the cosine of the encoder's `features` with those of the whole image;
    or the first of these that there is (`auto`), without `value` where the encoder is explained. A curve has `steps` steps; `deletion_baseline` replaces
    pixels that are deleted or perturbed, insertion begins at `insertion_baseline`. Infidelity has `perturbations` squares per image,
    sensitivity `draws` neighbours of each image, whose pixels differ by `radius` of the pixel range at most. Weights are randomised in
    `stages` steps from the last layer to the first. The pointing game allows a distance of `tolerance` pixels from a box. `seed` draws
    all that is random. Raises ConfigError for values out of range.

    >>> FaithfulnessSettings(steps=10).steps
    10
    """

    measures: tuple[Measure, ...] = MEASURES
    followed: Followed = "auto"
    steps: int = 20
    deletion_baseline: Replacement = "mean"
    insertion_baseline: Replacement = "blur"
    perturbations: int = 64
    draws: int = 4
    radius: float = 0.02
    stages: int = 5
    tolerance: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "measures", tuple(self.measures))
        for measure in self.measures:
            _check_word("measure", measure, MEASURES)
        _check_word("followed", self.followed, FOLLOWED)
        _check_word("deletion_baseline", self.deletion_baseline, REPLACEMENTS)
        _check_word("insertion_baseline", self.insertion_baseline, REPLACEMENTS)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ConfigError(f"{name} is {value!r} but must be a whole number from {low} to {high}.")
        if not (isinstance(self.radius, int | float) and math.isfinite(self.radius) and 1 / 255 <= self.radius <= 1):
            raise ConfigError(f"radius is {self.radius!r} but must be from 1/255 to 1: a fraction of the pixel range.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as an object for `json.dumps`."""
        return {**asdict(self), "measures": list(self.measures)}


def count_steps(images: int, methods: int, settings: FaithfulnessSettings) -> int:
    """Return the most steps that measuring a model reports: the maps of each image, of its neighbours, of randomised networks; removals.

    >>> count_steps(8, 2, FaithfulnessSettings(draws=3, stages=4))
    136
    """
    maps = 1 + settings.draws * ("sensitivity" in settings.measures) + settings.stages * ("randomisation" in settings.measures)
    return images * (methods * maps + 1)


def _check_word(what: str, word: str, allowed: tuple[str, ...]) -> None:
    if word not in allowed:
        raise ConfigError(f"{what} {word!r} is unknown. Use one of: {', '.join(allowed)}.")
