"""What became of each pair of nodes: equal, in another layout, departing from the old values, or merely downstream of such a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from onnxspace.differences.child.alignment import ALIKE, Described
from onnxspace.differences.child.definitions import is_defined_alike
from onnxspace.differences.child.extension import list_readers
from onnxspace.differences.child.quantised import Scale, find_scales
from onnxspace.differences.child.rounding_bounds import MOST, bound_rounding, share_step
from onnxspace.differences.child.signatures import Signature, measure_distance
from onnxspace.differences.child.statistics import PairStatistics
from onnxspace.differences.child.weight_records import WeightChange

#: Kinds of weights that make a node another one, and those that may leave what the network computes as it is.
CHANGING = frozenset({
    "trained", "pruned", "replaced", "resized", "bias", "unread", "folded_wrongly", "permuted_trained", "shifted", "clustered", "adapted",
    "swapped", "factorised", "edited", "transposed", "regrouped", "clipped", "exchanged", "statistics", "neutral",
})  # fmt: skip
#: Relative errors up to which values are equal, by the precision of the networks.
LIMITS = {"single": 1e-3, "half": 2e-2, "int8": 0.2}
#: Relative error that a node with other attributes may add where both networks compute in single precision.
_JUMP = 1e-5


@dataclass(frozen=True)
class Match:
    """All that is known of corresponding nodes.

    `pairs` has the node of the new network by that of the old one, `values` the statistics of their outputs by the old node,
    `local` the signatures of new tensors where their readers got old values, `changes` what became of weights by the old node.
    `absorbed` has, for each side, the unpaired nodes by the paired node that they lead to. `own` has the relative error of a new tensor where
    the node gets old values.
    """

    old: Described
    new: Described
    pairs: Mapping[int, int]
    values: Mapping[int, PairStatistics]
    local: Mapping[str, Signature]
    changes: Mapping[int, WeightChange]
    absorbed: tuple[Mapping[int, list[int]], Mapping[int, list[int]]]
    precision: str = "single"
    own: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def partners(self) -> Mapping[str, str]:
        """The outputs of the new network's nodes by those of the old network's that correspond to them."""
        return {self.old.output_of(a): self.new.output_of(b) for a, b in self.pairs.items()}

    @cached_property
    def errors(self) -> Mapping[str, float]:
        """Relative errors of the outputs of old nodes, by tensor."""
        return {self.old.output_of(a): found.relative for a, found in self.values.items()}

    @property
    def limit(self) -> float:
        return LIMITS[self.precision]

    def extras(self, a: int) -> tuple[list[int], list[int]]:
        """The unpaired nodes of both sides that lead to the pair of the old node `a`."""
        return self.absorbed[0].get(a, []), self.absorbed[1].get(self.pairs[a], [])

    def is_same(self, a: int) -> bool:
        """Whether both nodes have one definition and no changed weights."""
        change = self.changes.get(a)
        alike = is_defined_alike((self.old.side.graph, a), (self.new.side.graph, self.pairs[a]))
        return alike and (change is None or change.kind in ("equal", "requantised", "permuted", "folded", "unfolded"))

    def has_equal_values(self, a: int) -> bool:
        found = self.values.get(a)
        return found is not None and not found.bad and found.relative <= self.limit + self.own_step(a) and self.is_rounding(a)

    def is_rounding(self, a: int) -> bool:
        """Whether eight bits explain what the new node adds to old values; True in other precisions, and where that is not known."""
        return self.precision != "int8" or self.measure_own(a) <= self.bound(a)

    def measure_own(self, a: int) -> float:
        """The relative error of the new node where it gets old values, 0 where it is not known."""
        return self.own.get(self.new.output_of(self.pairs[a]), 0.0)

    def bound(self, a: int) -> float:
        """The relative error that rounding to eight bits explains."""
        first = self.old.signature_of(a)
        bounds = [MOST if first is None else bound_rounding(first, one, nodes, scales) for one, nodes, scales in self._both(a)]
        return max(bounds) + self.own_step(a)

    def own_step(self, a: int) -> float:
        """Half of the step between two integers that either node computes, relative to their numbers, in eight bits; elsewhere 0."""
        first = self.old.signature_of(a) if self.precision == "int8" else None
        return 0.0 if first is None else max(share_step(first, one, nodes, scales) for one, nodes, scales in self._both(a))

    def _both(self, a: int) -> Iterator[tuple[Described, list[int], Mapping[str, Scale]]]:
        """For either network, the nodes of a pair and the scales of integers."""
        places = a, self.pairs[a]
        for k, one in enumerate((self.old, self.new)):
            yield one, sorted([*self.extras(a)[k], places[k]]), self.scales[k]

    @cached_property
    def scales(self) -> tuple[Mapping[str, Scale], Mapping[str, Scale]]:
        """The scales of integers of both networks."""
        return find_scales(self.old.side.graph), find_scales(self.new.side.graph)

    def is_permuted(self, a: int) -> bool:
        """Whether both hold the same values at other places."""
        first, second = self.old.signature_of(a), self.new.signature_of(self.pairs[a])
        if first is None or second is None or first.is_blank or self.has_equal_values(a):
            return False
        found = self.values.get(a)
        return measure_distance(first, second) <= ALIKE and found is not None and found.relative > 20 * ALIKE

    def agrees(self, a: int) -> bool:
        """Whether the new node computes the old values, be it from old values only."""
        return self.has_equal_values(a) or self.is_equal_locally(a)

    def is_equal_locally(self, a: int) -> bool:
        """Whether the new node computes the old values from old values."""
        first, second = self.old.signature_of(a), self.local.get(self.new.output_of(self.pairs[a]))
        near = first is not None and second is not None and measure_distance(first, second) <= max(self.limit, ALIKE)
        return near and self.is_rounding(a)


def judge_pairs(match: Match) -> dict[int, str]:
    """The status of each pair by its old node: `equal`, `relaid`, `permuted`, `departs` or `downstream`."""
    found: dict[int, str] = {}
    tainted, moved = _list_resized_inputs(match), set[str]()
    backwards = {b: a for a, b in match.pairs.items()}
    roots = match.new.side.roots
    for b in match.new.side.core:
        fed = any(roots[name] in tainted for name in match.new.side.reads_of(b))
        a = backwards.get(b)
        status = "" if a is None else _judge(match, a, fed=fed)
        if status == "permuted" or any(roots[name] in moved for name in match.new.side.reads_of(b)):
            moved.update(match.new.side.graph.nodes[b].output)
            status = "downstream" if status == "departs" and a is not None and _follows_order(match, a) else status
        if a is not None:
            found[a] = status
        if status in ("departs", "downstream", "permuted") or ((a is None or status == "relaid") and fed):
            tainted.update(match.new.side.graph.nodes[b].output)
    return found


def _list_resized_inputs(match: Match) -> set[str]:
    """The inputs of the new network that have another number of values than those of the old one at their places."""
    pairs = zip(match.old.side.graph.inputs, match.new.side.graph.inputs, strict=False)
    sizes = [(b.name, match.old.signatures.get(a.name), match.new.signatures.get(b.name)) for a, b in pairs]
    return {name for name, one, two in sizes if one is not None and two is not None and one.size != two.size}


def _judge(match: Match, a: int, *, fed: bool) -> str:
    change = match.changes.get(a)
    if _is_regrouped(match, a):
        return "equal"
    if change is not None and change.kind in CHANGING and not _is_explained(match, a, change):
        return "departs"
    if match.has_equal_values(a):
        return "departs" if _jumps(match, a) else _name_layout(match, a)
    if match.is_permuted(a):
        return "permuted"
    if match.is_equal_locally(a):
        return "departs" if _jumps(match, a) else "downstream" if fed else _name_layout(match, a)
    if any(match.extras(a)) and match.is_same(a):
        return "downstream"
    if not match.is_same(a):
        return "departs"
    return "downstream" if fed or _is_fed_otherwise(match, a) or _amplifies(match, a) else "departs"


def _amplifies(match: Match, a: int) -> bool:
    """Whether a node without another definition reads values that are not quite the old ones, in single precision."""
    old = match.old.side
    errors = (match.errors.get(old.roots[name], 0.0) for name in old.reads_of(a))
    return match.precision == "single" and max(errors, default=0.0) > _JUMP


def _is_regrouped(match: Match, a: int) -> bool:
    """Whether several layers compute parts of what one did, or the reverse, and all that reads them computes the old values."""
    change = match.changes.get(a)
    if change is None or change.kind not in ("regrouped", "resized"):
        return False
    owners = {owned: owner for owner, all_owned in match.absorbed[0].items() for owned in all_owned}
    readers = {owners.get(reader, reader) for reader in list_readers(match.old, a)} & match.pairs.keys() - {a}
    if change.kind == "resized":
        return bool(readers) and all(_is_regrouped(match, reader) for reader in readers)
    return bool(readers) and all(match.has_equal_values(reader) for reader in readers)


def _is_explained(match: Match, a: int, change: WeightChange) -> bool:
    """Whether values are equal although weights differ: other nodes have the rest, or only a bias moved to another node."""
    moved = (
        bool(any(match.extras(a)))
        or match.old.side.graph.nodes[a].op_type != match.new.side.graph.nodes[match.pairs[a]].op_type
    )
    if change.kind == "factorised":
        return match.agrees(a)
    return match.has_equal_values(a) and change.kind != "folded_wrongly" and (moved or change.kind in ("resized", "unread"))


def _jumps(match: Match, a: int) -> bool:
    """Whether a node with other attributes or constants adds an error that rounding does not explain."""
    found = match.values.get(a)
    if match.precision != "single" or found is None or found.relative <= _JUMP or any(match.extras(a)) or match.is_same(a):
        return False
    same_operator = match.old.side.graph.nodes[a].op_type == match.new.side.graph.nodes[match.pairs[a]].op_type
    return same_operator and _measure_jump(match, a) > _JUMP


def _measure_jump(match: Match, a: int) -> float:
    """What the node adds to old values; where that was not measured, its error if it is ten times that of what it reads."""
    if (own := match.own.get(match.new.output_of(match.pairs[a]))) is not None:
        return own
    found = match.values[a].relative
    before = max((match.errors.get(match.old.side.roots[name], 0.0) for name in match.old.side.reads_of(a)), default=0.0)
    return found if found > 10 * max(before, _JUMP / 10) else 0.0


def _follows_order(match: Match, a: int) -> bool:
    """Whether a node is the same, and reads the old values in another order of axes."""
    old = match.old.side
    sources = [old.graph.producer.get(old.roots[name], -1) for name in old.reads_of(a)]
    return match.is_same(a) and any(i in match.values and match.values[i].order is not None for i in sources)


def _name_layout(match: Match, a: int) -> str:
    first, second = match.old.signature_of(a), match.new.signature_of(match.pairs[a])
    found = match.values.get(a)
    turned = found is not None and found.order is not None
    same_shape = first is None or second is None or first.shape == second.shape
    return "relaid" if turned or not same_shape else "equal"


def _is_fed_otherwise(match: Match, a: int) -> bool:
    """Whether the new node reads other tensors than those that correspond to what the old one reads."""
    old, new = match.old.side, match.new.side
    mine = [match.partners.get(old.roots[name], "") for name in old.reads_of(a) if old.roots[name] in old.graph.producer]
    theirs = [new.roots[name] for name in new.reads_of(match.pairs[a]) if new.roots[name] in new.graph.producer]
    return sorted(mine) != sorted(theirs)


def list_undone(match: Match, statuses: Mapping[int, str]) -> set[int]:
    """Permuted pairs all of whose readers compute the old values, or are permuted pairs of that kind themselves."""
    undone = set[int]()
    backwards = {b: a for a, b in match.pairs.items()}
    for b in reversed(match.new.side.core):
        a = backwards.get(b)
        if a is None or statuses.get(a) != "permuted":
            continue
        readers = [backwards.get(reader) for reader in list_readers(match.new, b)]
        if readers and all(k is not None and (k in undone or match.has_equal_values(k)) for k in readers):
            undone.add(a)
    return undone


def list_doubtful(match: Match) -> list[int]:
    """Pairs by position of nodes without weights that compute other values, by other operators or of other tensors, where all readers agree."""
    doubtful = set[int]()
    backwards = {b: a for a, b in match.pairs.items()}
    for b in reversed(match.new.side.core):
        a = backwards.get(b)
        if a is None or a in match.old.layers or match.agrees(a):
            continue
        readers = [backwards.get(reader) for reader in list_readers(match.new, b)]
        settled = all(k is not None and (k in doubtful or match.agrees(k)) for k in readers)
        operators = match.old.side.graph.nodes[a].op_type, match.new.side.graph.nodes[b].op_type
        if readers and settled and (operators[0] != operators[1] or _is_fed_otherwise(match, a)):
            doubtful.add(a)
    return sorted(doubtful)


def is_justified(match: Match, a: int) -> bool:
    """Whether the old node `a` is rightly without a partner: the nodes that it leads to compute the old values."""
    owner = next((owner for owner, owned in match.absorbed[0].items() if a in owned), None)
    return a in match.pairs or (owner is not None and match.agrees(owner))
