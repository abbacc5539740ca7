"""The scores and certainties of a comparison, added to its affinities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxspace.attribution.gradient_fields import METHOD, SIZE
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import resolve_settings
from onnxspace.scores.all_pairs import MOST_PREDICTED, Arrays, Matrix
from onnxspace.scores.matrices import Compared, compute_score_matrix
from onnxspace.scores.registry import find_spec
from onnxspace.scores.selection import ATTRIBUTION, PREDICTIVITY, ScoreSelection
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.mixed import (
    MAX_CERTAIN_MODELS,
    MapsOrFingerprint,
    with_certainty_of_predictivity,
    with_certainty_of_targets,
)
from onnxspace.similarity.per_image import PerImageShares

#: Of each score that keeps them, the values of targets image by image.
Shares = Mapping[str, Mapping[int, PerImageShares]]


def add_scores(found: Affinity, selection: ScoreSelection, models: Sequence[Arrays], images: int) -> tuple[Affinity, Shares]:
    """The affinity with all selected scores; its matrix is the first one's, and fingerprints have attribution only.

    The score that ranks where none was asked for is left out, with a warning, where a pair of models has no value of it.
    """
    if selection.plain:
        return found, {}
    warnings: list[str] = []
    compared = Compared(
        found.names, models, found.matrix, selection.weight, _select_resampled(found.names, selection.certain), warnings.append
    )
    matrices = {name: compute_score_matrix(find_spec(name), compared) for name in selection.scores}
    warnings += _describe_limits(selection, images)
    warnings += [f"{name}: {sentence}" for name, one in matrices.items() for sentence in one.why]
    shares = {name: one.shares for name, one in matrices.items() if one.shares is not None}
    if selection.usual and _lacks_ranking(selection, {name: one.matrix for name, one in matrices.items()}):
        if len(found.names) > 1:
            warnings.append(f"Sources are ranked by affinity, since not all models have {selection.ranks}.")
        return replace(found, warnings=(*found.warnings, *warnings)), shares
    first = selection.scores[0]
    return replace(
        found, matrix=matrices[first].matrix, by=first, ranked_by=selection.ranks,
        scores={name: one.matrix for name, one in matrices.items()},
        details={**_describe_fields(selection), **{name: one.details for name, one in matrices.items() if one.details}},
        unscored={name: one.why for name, one in matrices.items() if one.why},
        errors=found.errors if first == ATTRIBUTION else None, warnings=(*found.warnings, *warnings),
    ), shares  # fmt: skip


def add_certainty(
    found: Affinity, selection: ScoreSelection, shares: Shares, models: Sequence[MapsOrFingerprint], execution: Execution
) -> tuple[Affinity, Affinity]:
    """The result with the certainty that is asked for, and as it is kept: of few models with that of every ranking that has shares."""
    if (known := shares.get(found.ranks_by)) is None:
        asked = with_certainty_of_targets(found, models, selection.certain, execution.progress, execution.memory)
        return asked, asked
    everyone = True if len(found.names) <= MAX_CERTAIN_MODELS else selection.certain
    return (
        with_certainty_of_predictivity(found, selection.certain, known),
        with_certainty_of_predictivity(found, everyone, known),
    )


def _select_resampled(names: Sequence[str], certain: bool | Sequence[str]) -> set[int]:
    """The targets of which values are kept image by image: all, of not too many models."""
    asked = names if certain is True or len(names) <= MAX_CERTAIN_MODELS else certain or ()
    return {i for i, name in enumerate(names) if name in asked}


def _lacks_ranking(selection: ScoreSelection, matrices: Mapping[str, Matrix]) -> bool:
    return selection.ranks is not None and bool(np.isnan(matrices[selection.ranks]).any())


def _describe_fields(selection: ScoreSelection) -> dict[str, Mapping[str, Any]]:
    if not selection.needs("fields"):
        return {}
    settings = resolve_settings([METHOD], selection.fields)
    return {"modelgif": {"steps": settings.steps, "baseline": str(settings.baseline), "size": SIZE}}


def _describe_limits(selection: ScoreSelection, images: int) -> list[str]:
    """Which images were left out."""
    limited: dict[int, list[str]] = {}
    for name in selection.scores:
        if (most := find_spec(name).max_images) is not None and images > most:
            limited.setdefault(most, []).append(name)
    said = [
        f"{' and '.join(names)}: all pairs of {most:,} of the {images:,} images are compared."
        for most, names in limited.items()
    ]
    if PREDICTIVITY in selection.scores and images > MOST_PREDICTED:
        said.append(f"{PREDICTIVITY}: outputs are predicted for {MOST_PREDICTED} of the {images:,} images.")
    return said
