"""Adding scores, rankings and their certainty to the affinities of a comparison."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import FIELDS_METHOD, FIELDS_SIZE, resolve_settings
from onnxspace.scores.all_pairs import MOST_PREDICTED, Arrays, ScoreMatrix
from onnxspace.scores.answers import describe_answers
from onnxspace.scores.folds import Index
from onnxspace.scores.matrices import Compared, compute_score_matrix
from onnxspace.scores.reduce import ReducedArrays, ReducedOutputs
from onnxspace.scores.registry import find_spec
from onnxspace.scores.selection import ATTRIBUTION, WITHOUT_OUTPUTS, ScoreSelection
from onnxspace.scores.threads import blas_threads
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import PerImage
from onnxspace.similarity.mixed import (
    MAX_CERTAIN_MODELS,
    MapsOrFingerprint,
    with_brackets,
    with_certainty_of_shares,
    with_certainty_of_targets,
)

#: Per-image values of targets, by their position, of the score that ranks their sources.
Shares = Mapping[int, PerImage]
#: Standard errors by which an agreement must exceed chance.
_ERRORS = 2.0
_EQUAL = "On these images no source can be told apart from the first."


def add_scores(
    found: Affinity, selection: ScoreSelection, models: Sequence[Arrays | ReducedArrays], order: Index,
    targets: Collection[int] | None = None,
) -> tuple[Affinity, Shares]:  # fmt: skip
    """Return `found` with all selected scores, and per-image values of rankings; its matrix becomes that of the first score.

    `models` hold the arrays of each model, in little for fingerprints; `order`, intp [images], is the place of each image of
    features and outputs in the order of their content. A target without the score that ranks is ranked by another one in the default selection.
    Only the sources of `targets` (positions; None: all) are scored by what is directed, and ranked.
    """
    if selection.plain:
        return found, {}
    warnings: list[str] = []
    resampled = _select_resampled(found.names, selection.certain)
    compared = Compared(
        found.names, models, found.matrix, selection.weight, resampled if targets is None else targets, warnings.append, order,
        targets,
    )  # fmt: skip
    matrices = {name: compute_score_matrix(find_spec(name), compared, name) for name in selection.expanded}
    others = _rank_others(selection, matrices, compared) if selection.usual else {}
    warnings += _describe_limits(matrices, len(order))
    warnings += [f"{name}: {sentence}" for name, one in matrices.items() for sentence in one.why]
    by_target = [others.get(name, selection.ranked) for name in found.names]
    shares = {i: one[i] for i, by in enumerate(by_target) if (one := matrices[by].shares or {}) and i in one}
    first = selection.scores[0]
    scored = replace(
        found, matrix=matrices[first].matrix, by=first, ranked_by=selection.ranks,
        scores={name: one.matrix for name, one in matrices.items()},
        details={**_describe_fields(selection), **{name: one.details for name, one in matrices.items() if one.details}},
        unscored={name: one.why for name, one in matrices.items() if one.why},
        errors=found.errors if first == ATTRIBUTION else None, warnings=(*found.warnings, *warnings), ranked_targets=others,
    )  # fmt: skip
    scored = replace(scored, notes=_TargetNotes(scored, models, matrices).collect(compared.targets))
    with blas_threads():
        return _note_equal_sources(with_brackets(scored, shares)), shares


def _note_equal_sources(found: Affinity) -> Affinity:
    """Add a note to each ranking whose sources are all in one bracket."""
    equal = [name for name, brackets in found.brackets.items() if len(brackets) > 1 and max(brackets) == 1]
    added = {name: (*found.notes.get(name, ()), _EQUAL) for name in equal}
    return replace(found, notes={**found.notes, **added})


def add_certainty(
    found: Affinity, selection: ScoreSelection, shares: Shares, models: Sequence[MapsOrFingerprint], execution: Execution
) -> tuple[Affinity, Affinity]:
    """Return the result with the requested certainty, and the result as stored.

    The stored one has the certainty of all rankings where models are few and the ranking score has per-image values. `shares` are
    those of `add_scores`, `models` the models' maps or fingerprints.
    """
    if not shares and not selection.needs("maps"):  # no pair has a value
        return found, found
    if not shares:
        requested = with_certainty_of_targets(found, models, selection.certain, execution.progress, execution.memory)
        return requested, requested
    everyone = True if len(found.names) <= MAX_CERTAIN_MODELS else selection.certain
    return with_certainty_of_shares(found, selection.certain, shares), with_certainty_of_shares(found, everyone, shares)


def _select_resampled(names: Sequence[str], certain: bool | Sequence[str]) -> set[int]:
    """Positions of the targets whose per-image values are kept: all where models are few."""
    requested = names if certain is True or len(names) <= MAX_CERTAIN_MODELS else certain or ()
    return {i for i, name in enumerate(names) if name in requested}


def _rank_others(selection: ScoreSelection, matrices: dict[str, ScoreMatrix], compared: Compared) -> dict[str, str]:
    """The score that ranks each target without the usual one, by name: of features where it has them, else of maps.

    The score of features is added to `matrices` where it is used.
    """
    lacking = [i for i in compared.list_targets() if _is_empty(matrices[selection.ranked], i)]
    if not lacking or len(compared.names) < 2:
        return {}
    if any(compared.models[i].features is not None for i in lacking):
        matrices[WITHOUT_OUTPUTS] = compute_score_matrix(find_spec(WITHOUT_OUTPUTS), compared, WITHOUT_OUTPUTS)
    chosen = {}
    for i in lacking:
        for by in (WITHOUT_OUTPUTS, ATTRIBUTION):
            if by in matrices and not _is_empty(matrices[by], i):
                chosen[compared.names[i]] = by
                break
    return chosen


def _is_empty(one: ScoreMatrix, target: int) -> bool:
    """Whether no other model has a value in a target's row."""
    return bool(np.isnan(np.delete(one.matrix[target], target)).all())


@dataclass(frozen=True, eq=False)
class _TargetNotes:
    """Sentences about each target's ranking: what it lacks, what is wrong with its answers, and whether chance explains it."""

    found: Affinity
    models: Sequence[Arrays | ReducedArrays]
    matrices: Mapping[str, ScoreMatrix]

    def collect(self, targets: Collection[int] | None) -> dict[str, tuple[str, ...]]:
        """Return the sentences about `targets` (positions; None: all) by name."""
        some = [(i, name) for i, name in enumerate(self.found.names) if targets is None or i in targets]
        notes = {name: tuple(self._describe(i, name)) for i, name in some}
        return {name: sentences for name, sentences in notes.items() if sentences}

    def _describe(self, i: int, name: str) -> list[str]:
        by = self.found.ranked_targets.get(name, self.found.ranks_by)
        usual = find_spec(self.found.ranks_by)
        notes = []
        if "outputs" in usual.arrays:
            if _is_empty(self.matrices[self.found.ranks_by], i) and len(self.found.names) > 1:
                notes.append(self._explain_lack(i, by))
            outputs = self.models[i].load("outputs")
            if isinstance(outputs, ReducedOutputs):
                notes += outputs.remarks
            else:
                notes += [] if outputs is None else describe_answers(outputs)
        return notes + ([] if by != self.found.ranks_by else self._compare_with_chance(i, by))

    def _explain_lack(self, i: int, by: str) -> str:
        lost = self.models[i].lost
        reason = lost.get("outputs") or lost.get("features") or "it has no outputs that vary, or no source has features"
        if self.models[i] == Arrays():
            reason = "its fingerprint holds maps only"
        other = f", so its sources are ranked by {by}" if by != self.found.ranks_by else ""
        return f"There is no {self.found.ranks_by}: {reason.rstrip('.')}{other}."

    def _compare_with_chance(self, i: int, by: str) -> list[str]:
        """A note where no source is better than chance, by every score that ranks."""
        parts = [self.matrices[name] for name in find_spec(by).members or (by,) if name in self.matrices]
        there = [one for one in parts if not _is_empty(one, i)]
        if not there or any(one.chance is None or i not in one.chance for one in there):
            return []
        if any(_exceeds_chance(one, i) for one in there):
            return []
        return ["No source is better than the mean or the most frequent of its answers: the order says nothing."]


def _exceeds_chance(one: ScoreMatrix, i: int) -> bool:
    best, chance = float(np.nanmax(np.delete(one.matrix[i], i))), (one.chance or {})[i]
    shares = (one.shares or {}).get(i)
    error = 0.0 if chance == 0 or shares is None else float(np.sqrt(chance * (1 - chance) / shares.images))
    return best > chance + _ERRORS * error


def _describe_fields(selection: ScoreSelection) -> dict[str, Mapping[str, Any]]:
    if not selection.needs("fields"):
        return {}
    settings = resolve_settings([FIELDS_METHOD], selection.fields)
    return {"modelgif": {"steps": settings.steps, "baseline": str(settings.baseline), "size": FIELDS_SIZE}}


def _describe_limits(names: Sequence[str] | Mapping[str, ScoreMatrix], images: int) -> list[str]:
    """Warnings about scores that are computed on some of the images."""
    limited: dict[int, list[str]] = {}
    for name in names:
        spec = find_spec(name)
        most = MOST_PREDICTED if "outputs" in spec.arrays else spec.max_images
        if most is not None and images > most and not spec.members:
            limited.setdefault(most, []).append(name)
    return [f"{' and '.join(some)}: {most:,} of the {images:,} images are compared." for most, some in limited.items()]
