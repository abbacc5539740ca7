"""Pairs of models with what was done to them by construction: what a comparison must say of each, and which nodes were not touched."""

from __future__ import annotations

from itertools import chain

from tests.helpers.diff_matrix import (
    attention,
    folding,
    forms,
    layers,
    nodes,
    orders,
    parameters,
    precisions,
    settings,
    tools,
    values,
    weights,
)
from tests.helpers.diff_matrix.pair import FORMS, Pair

__all__ = ["FORMS", "PAIRS", "Pair"]

_LISTS = (
    weights.list_trained, weights.list_values, weights.list_sizes, orders.list_orders, folding.list_folding, nodes.list_nodes,
    settings.list_sizes, settings.list_numbers, forms.list_exports, forms.list_fusions, forms.list_structures, precisions.list_halves,
    precisions.list_eight_bits, precisions.list_mistakes, attention.list_swapped, attention.list_attention, parameters.list_norms,
    parameters.list_recurrent, values.list_limits, values.list_factors, values.list_decoder, layers.list_replaced, layers.list_inserted,
    layers.list_settings, tools.list_tools, tools.list_eight_bits,
)  # fmt: skip
PAIRS: dict[str, Pair] = dict(chain.from_iterable(each() for each in _LISTS))
