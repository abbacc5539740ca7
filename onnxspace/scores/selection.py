"""Selection of scores between models, with their parameters and validation.

Free of NumPy, so that the command line can reject invalid options before anything heavy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from onnxspace.errors import ConfigError
from onnxspace.inputs.methods import METHODS, Method, Options, resolve_settings
from onnxspace.scores import registry

#: λ of DEPARA: a number, or `auto` for the ratio that gives maps and features equal weight among the compared models.
Weight = float | Literal["auto"]
#: As for the paper's photos of rooms. With a fixed value, a pair's score does not depend on the other models.
DEFAULT_WEIGHT = 0.25
ATTRIBUTION, DEPARA, MODELGIF, DDS, MEAN_RANK = "attribution", "depara", "modelgif", "dds", "mean_rank"
#: The default with pictures of the task: similarity by maps, and ranking of sources by a combination of what predicts transfer.
USUAL = (ATTRIBUTION, MEAN_RANK)
#: The score of features alone that ranks the sources of a target without outputs.
WITHOUT_OUTPUTS = DDS
#: Pictures of a folder that are used by default, and those of them on which maps are computed.
MOST_PICTURES, MOST_EXPLAINED = 300, 64
#: The least images for which sources are ranked by default: some to learn from, others to test on.
FEWEST = 8
#: The most models for which they are, as every pair is a regression.
MOST_RANKED = 100
_FIELD_OPTIONS = ("steps", "baseline")


@dataclass(frozen=True)
class ScoreSelection:
    """The `scores` in display order, without the members of combinations; `weight` is DEPARA's λ, `fields` holds steps and baseline of gradient fields.

    `ranks` is the score by which sources are ranked (None: the first). It is `usual` for the default selection with pictures,
    where a model that lacks features or outputs is compared by the rest. `certain` names the targets (True: all) whose rankings'
    certainty is estimated by resampling images.
    """

    scores: tuple[str, ...] = (ATTRIBUTION,)
    weight: Weight = DEFAULT_WEIGHT
    fields: Options | None = None
    ranks: str | None = None
    usual: bool = False
    certain: bool | tuple[str, ...] = False

    @property
    def kinds(self) -> tuple[registry.Kind, ...]:
        """The kinds of arrays that the scores take."""
        return tuple(kind for kind in get_args(registry.Kind) if self.needs(kind))

    def needs(self, array: registry.Kind) -> bool:
        """Return whether some score takes this representation of each model."""
        return any(array in registry.find_spec(name).arrays for name in self.scores)

    @property
    def expanded(self) -> tuple[str, ...]:
        """The scores, each combination followed by its members."""
        return tuple(dict.fromkeys(each for name in self.scores for each in (name, *registry.find_spec(name).members)))

    @property
    def ranked(self) -> str:
        """The score by which sources are ranked."""
        return self.ranks or self.scores[0]

    @property
    def plain(self) -> bool:
        """Whether attribution is the only score."""
        return self.scores == (ATTRIBUTION,)


def pair_score_names() -> tuple[str, ...]:
    """Return the names of scores that can be selected: those of pairs, and those of other packages; imports none."""
    own = registry.SCORES
    return tuple(name for name in registry.score_names() if name not in own or own[name].needs == "pair")


def select_scores(
    by: str | Sequence[str] | None, weight: Weight | None, method: Method, options: Options | None, *, pictures: bool = False
) -> tuple[ScoreSelection, Options | None]:
    """Check the scores `by` (a name or several; None or empty: the default ones), and separate the options for maps.

    The default is `attribution` alone, and with `pictures` of the task a ranking by `mean_rank` too. `weight` is DEPARA's λ (None: the default). `options.steps` and `options.baseline` also apply to gradient fields. Returns
    the selection and the options of `method`. Raises ConfigError for a name that is not a score of two models, for a λ that is
    invalid or unused, and for options that neither the method nor a score uses.
    """
    requested = tuple(dict.fromkeys([by] if isinstance(by, str) else by or ()))
    if not requested:
        _check_weight((ATTRIBUTION,), weight)
        resolve_settings([method], options)
        return (ScoreSelection(USUAL, ranks=MEAN_RANK, usual=True) if pictures else ScoreSelection()), options
    for name in requested:
        if registry.find_spec(name).needs != "pair":
            raise ConfigError(
                f"{name} needs labels; use onnxspace transfer --by {name}. Available here: {', '.join(pair_score_names())}."
            )
    _check_weight(requested, weight)
    found = ScoreSelection(requested, DEFAULT_WEIGHT if weight is None else weight)
    fields = MODELGIF in requested or found.needs("fields")
    theirs = Options(options.baseline, options.steps) if fields and options is not None else None
    mine = _without_fields(method, options) if fields else options
    resolve_settings([method], mine)
    resolve_settings(["integrated-gradients"], theirs)
    return replace(found, fields=theirs), mine


def _without_fields(method: Method, options: Options | None) -> Options | None:
    """The options without those that only gradient fields use."""
    unused = [name for name in _FIELD_OPTIONS if name not in METHODS[method].uses]
    return None if options is None else replace(options, **dict.fromkeys(unused))


def _check_weight(asked: Sequence[str], weight: Weight | None) -> None:
    if weight is None:
        return
    if DEPARA not in asked:
        raise ConfigError(f"--lambda is not an option of {', '.join(asked)}. It applies to {DEPARA}.")
    if weight != "auto" and not (isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0):
        raise ConfigError(f"--lambda is {weight!r} but must be a number of at least 0, or auto.")


def refuse_fingerprints(wanted: ScoreSelection) -> None:
    """Raise ConfigError where a score is `wanted` that can't be computed from what fingerprints hold."""
    others = [name for name in wanted.scores if not registry.find_spec(name).reduced]
    if others:
        there = ", ".join(name for name, spec in registry.SCORES.items() if spec.reduced)
        raise ConfigError(
            f"Fingerprints do not hold what {others[0]} takes; give the models themselves, or choose from: {there}."
        )
