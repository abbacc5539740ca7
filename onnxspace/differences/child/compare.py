"""Compare two networks: nodes by what they compute, weights, and values of all layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace

from threadpoolctl import threadpool_limits

from onnxspace.differences.child.alignment import ALIKE, Described, align
from onnxspace.differences.child.crossings import uncross
from onnxspace.differences.child.extension import extend_layers
from onnxspace.differences.child.groups import Group, Grouping
from onnxspace.differences.child.judgement import Match, is_justified, judge_pairs, list_doubtful, list_undone
from onnxspace.differences.child.layer_pairs import adopt_norms, compare_layers
from onnxspace.differences.child.layer_weights import read_layers
from onnxspace.differences.child.neighbours import pair_neighbours
from onnxspace.differences.child.passes import (
    LocalValues,
    TensorPair,
    compare_values,
    guess_order,
    measure_locally,
    measure_side,
    promote_movers,
)
from onnxspace.differences.child.regions import absorb, attach_outputs
from onnxspace.differences.child.scaled_biases import mark_scaled_biases
from onnxspace.differences.child.segments import SegmentedRun
from onnxspace.differences.child.sides import Side
from onnxspace.differences.child.signatures import measure_distance
from onnxspace.differences.child.statistics import PairStatistics
from onnxspace.differences.child.swaps import mark_swapped

Advance = Callable[[int], None]
#: How often nodes are aligned anew by what they compute from old values.
_ROUNDS = 3


@dataclass(frozen=True)
class Comparison:
    """All that was found: the match of the nodes, their groups, and statistics of the outputs by their places."""

    match: Match
    groups: list[Group]
    statuses: Mapping[int, str]
    outputs: list[tuple[TensorPair, PairStatistics | None]]


def compare_sides(old: Side, new: Side, advance: Advance) -> Comparison:
    """Compare the networks of two sides, whose feeds are those of the same images. Raises ModelError."""
    with threadpool_limits(1, user_api="blas"):  # sums over tensors are too short for several threads
        return _compare(old, new, advance)


def _compare(old: Side, new: Side, advance: Advance) -> Comparison:
    first, second = (_describe(side, advance) for side in (old, new))
    match, outputs = _match(first, second, frozenset(), advance)
    if banned := frozenset((a, match.pairs[a]) for a in list_doubtful(match)):
        match, outputs = _match(first, second, banned, advance)
        kept = frozenset(pair for pair in banned if is_justified(match, pair[0]))
        match, outputs = (match, outputs) if kept == banned else _match(first, second, kept, advance)
    statuses = _resolve_permuted(match, judge_pairs(match), outputs)
    return Comparison(match, Grouping(match, statuses).finish(), statuses, outputs)


def _describe(side: Side, advance: Advance) -> Described:
    run = SegmentedRun(side.network, side.path, side.feeds[0], side.tensors)
    signatures = measure_side(side, run, advance)
    return Described(promote_movers(side, signatures), run, signatures, read_layers(side.graph, range(len(side.graph.nodes))))


def _match(
    old: Described, new: Described, banned: frozenset[tuple[int, int]], advance: Advance
) -> tuple[Match, list[tuple[TensorPair, PairStatistics | None]]]:
    """Match the nodes of both networks; `banned` are pairs that need equal values."""
    pairs, local = _align_in_rounds(old, new, banned, advance)
    values, outputs = _compare_tensors(old, new, pairs, advance)
    found = Match(old, new, pairs, values, local.signatures, {}, ({}, {}), find_precision(old, new), local.errors)
    return _make_match(found), outputs


def _make_match(match: Match) -> Match:
    """The match with weights compared, and unpaired nodes assigned to pairs."""
    old, new, pairs = match.old, match.new, match.pairs
    absorbed = absorb(old, pairs.keys()), absorb(new, pairs.values())
    for hosted, of in zip(attach_outputs(old, replace(new, signatures=match.local), pairs), absorbed, strict=True):
        for i, host in hosted.items():
            for owned in of.values():
                owned[:] = [k for k in owned if k != i]
            of.setdefault(host, []).append(i)
    found = replace(match, changes=compare_layers(old, new, pairs, absorbed), absorbed=absorbed)
    return mark_swapped(mark_scaled_biases(found))


def _align_in_rounds(
    old: Described, new: Described, banned: frozenset[tuple[int, int]], advance: Advance
) -> tuple[dict[int, int], LocalValues]:
    """Align nodes by the values of both networks, then by what the new nodes compute from old values, until nothing changes."""
    local = LocalValues(new.signatures, {})
    pairs: dict[int, int] = {}
    for _ in range(_ROUNDS):
        found = _align_once(old, replace(new, signatures=local.signatures), banned)
        if found == pairs:
            break
        pairs = found
        differing = _list_overridden(old, new, pairs)
        if not differing:
            break
        local = measure_locally(old, new, differing, _list_ends(old, new, pairs), advance)
    return pairs, local


def _align_once(old: Described, new: Described, banned: frozenset[tuple[int, int]]) -> dict[int, int]:
    found = adopt_norms(old, new, extend_layers(old, new, pair_neighbours(old, new, uncross(old, new, align(old, new)))))
    return {a: b for a, b in found.items() if (a, b) not in banned or _have_one_value(old, new, a, b)}


def _have_one_value(old: Described, new: Described, a: int, b: int) -> bool:
    first, second = old.signature_of(a), new.signature_of(b)
    return first is not None and second is not None and measure_distance(first, second) <= ALIKE


def _list_overridden(old: Described, new: Described, pairs: Mapping[int, int]) -> dict[str, tuple[str, tuple[int, ...] | None]]:
    """The new tensors with other values than the old ones that correspond to them, with these and the order of their axes."""
    found = {}
    for a, b in pairs.items():
        first, second = old.signature_of(a), new.signature_of(b)
        if first is None or second is None or first.size != second.size:
            continue
        if measure_distance(first, second) > ALIKE / 20:
            found[new.output_of(b)] = (old.output_of(a), guess_order(first, second))
    return found


def _list_ends(old: Described, new: Described, pairs: Mapping[int, int]) -> dict[str, str]:
    """The tensors of both networks that correspond and have one size, by those of the new one."""
    found = {new.output_of(b): old.output_of(a) for a, b in pairs.items()}
    return {name: source for name, source in found.items() if _fits(old, new, TensorPair(source, name))}


def _compare_tensors(
    old: Described, new: Described, pairs: Mapping[int, int], advance: Advance
) -> tuple[dict[int, PairStatistics], list[tuple[TensorPair, PairStatistics | None]]]:
    """Statistics of the outputs of all pairs, and of the graphs' outputs."""
    nodes = {a: TensorPair(old.output_of(a), new.output_of(b)) for a, b in pairs.items()}
    ends = [TensorPair(one, two) for one, two in zip(old.side.graph.outputs, new.side.graph.outputs, strict=False)]
    fitting = dict.fromkeys(pair for pair in (*nodes.values(), *ends) if _fits(old, new, pair))
    ranges = {pair.old: max(abs(old.signatures[pair.old].low), abs(old.signatures[pair.old].high)) for pair in fitting}
    found = compare_values(old, new, list(fitting), ranges, advance)
    return {a: found[pair] for a, pair in nodes.items() if pair in found}, [(pair, found.get(pair)) for pair in ends]


def _fits(old: Described, new: Described, pair: TensorPair) -> bool:
    first, second = old.signatures.get(pair.old), new.signatures.get(pair.new)
    return first is not None and second is not None and first.size == second.size


def _resolve_permuted(
    match: Match, statuses: Mapping[int, str], outputs: list[tuple[TensorPair, PairStatistics | None]]
) -> dict[int, str]:
    """Permuted channels are another layout where the outputs or all readers undo it, else a departure and what follows it."""
    if bool(outputs) and all(found is not None and found.relative <= match.limit for _, found in outputs):
        return {a: "relaid" if status == "permuted" else status for a, status in statuses.items()}
    found = _spread_permuted(match, statuses, list_undone(match, statuses))
    return found if "departs" in found.values() else _spread_permuted(match, statuses, set())


def _spread_permuted(match: Match, statuses: Mapping[int, str], undone: Set[int]) -> dict[int, str]:
    """Permuted channels that readers undo are relaid, others depart, and what they reach is behind them."""
    found, side = dict(statuses), match.old.side
    reached: set[int] = set()
    for a in sorted(found):
        fed = any(side.graph.producer.get(side.roots[name]) in reached for name in side.reads_of(a))
        if found[a] == "permuted":
            found[a] = "relaid" if a in undone else "downstream" if fed else "departs"
            if found[a] != "relaid":
                reached.add(a)
    return found


def find_precision(old: Described, new: Described) -> str:
    """The lowest precision in which one of both networks computes: `int8`, `half` or `single`."""
    types = {signature.dtype for one in (old, new) for signature in one.signatures.values()}
    operators = {node.op_type for one in (old, new) for node in one.side.graph.nodes}
    stored = {layer.stored for one in (old, new) for layer in one.layers.values()}
    if any("QLinear" in name or name.endswith("Integer") for name in operators) or {"int8", "uint8"} & stored:
        return "int8"
    if operators & {"DequantizeLinear", "DynamicQuantizeLinear", "MatMulNBits", "DynamicQuantizeMatMul"}:
        return "int8"
    return "half" if {"float16", "bfloat16"} & (types | stored) else "single"
