"""Which scores between models are asked for, what each takes, and what it is told.

Free of NumPy, so that a command line can refuse what makes no sense before anything is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from onnxspace.errors import ConfigError
from onnxspace.inputs.methods import METHODS, Method, Options, resolve_settings
from onnxspace.scores import registry

#: λ of DEPARA: a number, or the ratio that gives maps and features an equal say among the models that are compared.
Weight = float | Literal["auto"]
#: As for the paper's photos of rooms. A pair then has the same score whatever else is compared.
DEFAULT_WEIGHT = 0.25
ATTRIBUTION, DEPARA, MODELGIF, PREDICTIVITY = "attribution", "depara", "modelgif", "predictivity"
#: Where nobody says what: how alike models are by their maps, and what to start from by what predicts transfer best
#: (docs/minitaskonomy.md).
USUAL = (ATTRIBUTION, PREDICTIVITY)
#: Images below which nothing is predicted where nobody asked.
FEWEST = 8
#: Models above which it is not computed where nobody asked: every pair is a regression.
MOST_RANKED = 100
_FIELD_OPTIONS = ("steps", "baseline")


@dataclass(frozen=True)
class ScoreSelection:
    """The `scores` in the order in which they are shown; `weight` is DEPARA's λ, `fields` holds steps and baseline of gradient fields.

    `ranks` is the score by which sources are ranked, the first where it is None. It is `usual` where nobody asked: what ranks
    is then left out, with a warning, where models have none. `certain` names the targets (True: all) for whose rankings images
    are resampled.
    """

    scores: tuple[str, ...] = (ATTRIBUTION,)
    weight: Weight = DEFAULT_WEIGHT
    fields: Options | None = None
    ranks: str | None = None
    usual: bool = False
    certain: bool | tuple[str, ...] = False

    def needs(self, array: registry.Kind) -> bool:
        """Whether some score takes these of each model."""
        return any(array in registry.find_spec(name).arrays for name in self.scores)

    @property
    def ranked(self) -> str:
        """The score by which sources are ranked."""
        return self.ranks or self.scores[0]

    @property
    def plain(self) -> bool:
        """Whether nothing but attribution is asked for."""
        return self.scores == (ATTRIBUTION,)


def pair_score_names() -> tuple[str, ...]:
    """All that can be asked for: the scores of pairs, and what other packages add, of which none is loaded."""
    own = registry.SCORES
    return tuple(name for name in registry.score_names() if name not in own or own[name].needs == "pair")


def select_scores(
    by: str | Sequence[str] | None, weight: Weight | None, method: Method, options: Options | None
) -> tuple[ScoreSelection, Options | None]:
    """The scores, checked, and those options that are for maps; without `by`, the usual ones.

    `options.steps` and `options.baseline` hold for gradient fields too. Raises ConfigError for a name that is no score of two
    models, for a λ that is none or that nothing uses, and for options that neither the method nor a score uses.
    """
    asked = tuple(dict.fromkeys([by] if isinstance(by, str) else by or ()))
    if not asked:
        _check_weight(USUAL, weight)
        resolve_settings([method], options)
        return ScoreSelection(USUAL, ranks=PREDICTIVITY, usual=True), options
    for name in asked:
        if registry.find_spec(name).needs != "pair":
            raise ConfigError(f"{name} takes labels: onnxspace transfer --by {name} does that. Here are {', '.join(pair_score_names())}.")
    _check_weight(asked, weight)
    found = ScoreSelection(asked, DEFAULT_WEIGHT if weight is None else weight)
    fields = MODELGIF in asked or found.needs("fields")
    theirs = Options(options.baseline, options.steps) if fields and options is not None else None
    mine = _without_fields(method, options) if fields else options
    resolve_settings([method], mine)
    resolve_settings(["integrated-gradients"], theirs)
    return replace(found, fields=theirs), mine


def _without_fields(method: Method, options: Options | None) -> Options | None:
    """Options less those that only gradient fields use."""
    unused = [name for name in _FIELD_OPTIONS if name not in METHODS[method].uses]
    return None if options is None else replace(options, **dict.fromkeys(unused))


def _check_weight(asked: Sequence[str], weight: Weight | None) -> None:
    if weight is None:
        return
    if DEPARA not in asked:
        raise ConfigError(f"--lambda means nothing to {', '.join(asked)}. It is for {DEPARA}.")
    if weight != "auto" and not (isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0):
        raise ConfigError(f"--lambda is {weight!r} but must be a number from 0, or auto.")


def refuse_fingerprints(wanted: ScoreSelection) -> None:
    """Raises ConfigError where there are fingerprints only, and something else than their maps is asked for."""
    others = [name for name in wanted.scores if name != ATTRIBUTION]
    if others:
        raise ConfigError(f"Fingerprints hold maps only, so there is no {others[0]} of them; give the models themselves.")
