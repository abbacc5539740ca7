"""Pairs of transformers: layers and blocks swapped, adapters merged, normalisations and positions changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto

from tests.helpers import diff_edits as edits
from tests.helpers import diff_more_edits as more
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_kinds import write_kind
from tests.helpers.diff_matrix.pair import BLOCK, Pair, of

_OTHER = "/blocks/blocks.1"


def _write_joined() -> ModelProto:
    return write_kind("joined")


def _swap_branches(model: ModelProto, first: str, second: str) -> ModelProto:
    """Two projections with the weights and biases of each other."""
    made = more.swap_layers(model, f"{first}/MatMul", f"{second}/MatMul")
    return more.swap_layers(made, f"{first}/Add", f"{second}/Add", (0,))


def _rotate(model: ModelProto) -> ModelProto:
    """Three layers, each with the weights of the next one."""
    for i in range(3):
        pairs.find(model, f"/writes.{i}/Transpose").input[0] = f"writes.{(i + 1) % 3}.weight"
    return model


def _swap_queries(values: np.ndarray) -> np.ndarray:
    """Queries and keys of a joined product in the place of each other."""
    return np.concatenate([values[24:48], values[:24], values[48:]])


def list_swapped() -> Iterator[tuple[str, Pair]]:
    """Layers and blocks in the place of each other."""
    tokens, query, key, value, write = nets.write_tokens, *(f"{BLOCK}/{name}" for name in ("query", "key", "value", "write"))
    moved = {node.name for node in tokens().graph.node if node.op_type in ("MatMul", "Add", "LayerNormalization")}
    yield "query and key swapped", of(
        tokens, lambda m: _swap_branches(m, query, key), "differ", "swapped", query, key,
        touched={f"{one}/{op}" for one in (query, key) for op in ("MatMul", "Add")})  # fmt: skip
    yield "value and output swapped", of(
        tokens, lambda m: more.swap_layers(m, f"{value}/MatMul", f"{write}/MatMul"), "differ", "swapped", value, write,
        touched={f"{value}/MatMul", f"{write}/MatMul"})  # fmt: skip
    yield "token blocks swapped", of(
        tokens, lambda m: more.swap_modules(m, f"{BLOCK}/", f"{_OTHER}/"), "differ", "swapped",
        touched={name for name in moved if "blocks" in name})  # fmt: skip
    yield "three layers rotated", of(
        _write_joined, _rotate, "differ", "swapped", touched={f"/writes.{i}/MatMul" for i in range(3)})  # fmt: skip
    yield "queries and keys of a joined product swapped", of(
        _write_joined, lambda m: more.change_named(m, _swap_queries, "joined.0.weight", "joined.0.bias"), "differ", "channels-permuted",
        "/joined.0/MatMul", "does not undo", touched={"/joined.0/MatMul", "/joined.0/Add"})  # fmt: skip
    yield "branches of tokens in another order", of(tokens, edits.reorder_nodes, "same", {"same-graph", "re-export"})
    yield "branches renamed and in another order", of(
        _write_joined, lambda m: edits.reorder_nodes(pairs.rename(m)), "same", "re-export")  # fmt: skip


def _train_queries(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[:24] + 0.2 * edits.draw(values[:24]), values[24:]])


def _exchange_queries(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[24:48], values[:24], values[48:]])


def _scale_queries(model: ModelProto) -> ModelProto:
    factors = np.where(np.arange(72) < 24, 0.5, 1)
    return more.change_named(
        model, lambda w: w * factors.reshape(-1, *[1] * (w.ndim - 1)).astype(w.dtype), "joined.1.weight", "joined.1.bias"
    )


def _prune_head(values: np.ndarray) -> np.ndarray:
    """One of four heads of queries, keys and values at 0."""
    return np.asarray(values * ((np.arange(72) % 24) // 6 != 2).reshape(-1, *[1] * (values.ndim - 1)))


def list_attention() -> Iterator[tuple[str, Pair]]:
    """Parts of an attention that were changed."""
    joined, at = _write_joined, "/joined.1/MatMul"
    yield "softer joined attention", of(
        joined, lambda m: edits.set_constant(m, "/Constant_11", np.array(4, np.float32)), "differ", "changed", "/Div", touched="/Div")  # fmt: skip
    yield "queries of a joined product trained", of(
        joined, lambda m: more.change_named(m, _train_queries, "joined.1.weight"), "differ", "trained", at, touched=at)  # fmt: skip
    yield "a head pruned", of(
        joined, lambda m: more.change_named(m, _prune_head, "joined.1.weight", "joined.1.bias"), "differ", "pruned", at,
        touched={at, "/joined.1/Add"})  # fmt: skip
    yield "adapter merged in queries and values", of(
        nets.write_tokens, lambda m: edits.adapt(edits.adapt(m, f"{BLOCK}/query/MatMul", 1), f"{BLOCK}/value/MatMul", 1),
        "differ", "adapted", "rank 1", touched={f"{BLOCK}/query/MatMul", f"{BLOCK}/value/MatMul"})  # fmt: skip
    yield "queries scaled", of(
        nets.write_tokens, lambda m: edits.change_of(m, f"{_OTHER}/query/MatMul", lambda w: w * 0.5), "differ", "scaled", "0.5",
        touched=f"{_OTHER}/query/MatMul")  # fmt: skip
    yield "queries scaled by the weights", of(
        joined, _scale_queries, "differ", "scaled", "0.5 to 1", at, "/joined.1/Add", touched={at, "/joined.1/Add"})  # fmt: skip
    yield "joined queries and keys exchanged", of(
        joined, lambda m: more.change_named(m, _exchange_queries, "joined.1.weight", "joined.1.bias"), "differ", "channels-permuted",
        at, touched={at, "/joined.1/Add"})  # fmt: skip
    yield "positions trained", of(
        joined, lambda m: more.train_named(m, "places"), "differ", "trained", "/Add", touched="/Add")  # fmt: skip
    yield "positions removed", of(joined, lambda m: pairs.remove(m, "/Add"), "differ", "removed", "/Add", touched="/Add")
    yield "layer normalisation removed", of(
        nets.write_tokens, lambda m: pairs.remove(m, f"{BLOCK}/second/LayerNormalization"), "differ", "removed", f"{BLOCK}/second",
        touched=f"{BLOCK}/second/LayerNormalization")  # fmt: skip
