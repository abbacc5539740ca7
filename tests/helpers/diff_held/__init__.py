"""Pairs that were judged once, when the rules of a comparison were fixed, and with which none of them was written.

Two of them were mended afterwards and are among those of `diff_matrix` too; a further set must be built for another estimate.
"""

from __future__ import annotations

from itertools import chain

from tests.helpers.diff_held import changed_nodes, changed_weights, other_forms
from tests.helpers.diff_matrix.pair import Pair

__all__ = ["HELD"]

_LISTS = (
    changed_weights.list_transformers, changed_weights.list_norms, changed_weights.list_layers, changed_weights.list_trained,
    changed_nodes.list_nodes, changed_nodes.list_settings, other_forms.list_forms, other_forms.list_precisions,
)  # fmt: skip
HELD: dict[str, Pair] = dict(chain.from_iterable(each() for each in _LISTS))
