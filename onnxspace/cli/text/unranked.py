"""The sentence that a command ends with where no model has a value to be ranked by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import one_line
from onnxspace.inputs.names import is_fingerprint
from onnxspace.storage.short_text import list_names

if TYPE_CHECKING:
    from onnxspace.scores.layer_table import LayerTable
    from onnxspace.scores.ratings import Ratings
    from onnxspace.similarity.affinity import Affinity

_MOST = 3


def describe_unranked(what: str, reasons: Iterable[str]) -> str:
    """A sentence that says what could not be ranked, with the first of the `reasons`.

    >>> describe_unranked("No model has a value of leep", ["a: it has no classes.", "a: it has no classes."])
    'No model has a value of leep: a: it has no classes.'
    """
    distinct = list(dict.fromkeys(one_line(reason).rstrip(". ") for reason in reasons))
    more = f"; and {len(distinct) - _MOST} more reasons" if len(distinct) > _MOST else ""
    return f"{what}{': ' if distinct else ''}{'; '.join(distinct[:_MOST])}{more}."


def explain_ratings(found: Ratings) -> str | None:
    """The sentence for models of which none could be ranked by labels; None where one could, or none is there."""
    if found.ranked or not found.models:
        return None
    why = [f"{model}: {error}" for (score, model), error in found.why.items() if score in found.basis.scores]
    return describe_unranked(f"No model has a value of {found.basis.words}", why)


def explain_affinity(found: Affinity, targets: Sequence[str]) -> str | None:
    """The sentence for `targets` of which none has a source with a value of any score, although there are other models; else None."""
    own = {name: found.rank(name) for name in targets}
    scores = (*found.scores,) or (found.ranks_by,)
    if len(found.names) < 2 or not own or any(found.rank(name, by).sources for name in own for by in scores):
        return None
    by = list(dict.fromkeys(one.by for one in own.values()))
    why = [
        *(reason for score in by for reason in found.unscored.get(score, ())),
        *(n for one in own.values() for n in one.notes),
    ]
    return describe_unranked(f"No pair of models has a value of {' or '.join(by)}", why or _list_lacking(found))


def _list_lacking(found: Affinity) -> list[str]:
    """Why no pair has a value, where scores give no reasons: fingerprints have nothing beside maps."""
    prints = list(dict.fromkeys(one_line(one.path) for one in found.models if is_fingerprint(Path(one.path))))
    if not prints:
        return ["they lack what it compares"]
    holds = "holds" if len(prints) == 1 else "hold"
    return [f"{list_names(prints)} {holds} maps only; onnxspace fingerprint --detail images keeps features and outputs too"]


def explain_layers(found: LayerTable) -> str | None:
    """The sentence for a network of which no layer could be compared; None where one could."""
    if found.best is not None and found.best.score is not None:
        return None
    tensors = tuple(f"{layer.tensor}: " for layer in found.layers)
    return describe_unranked(found.advice.rstrip("."), [one for one in found.warnings if one.startswith(tensors)])
