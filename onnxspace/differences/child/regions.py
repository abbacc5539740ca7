"""Which unpaired nodes belong to which pair: those whose values lead to it alone, or to it first."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnxspace.differences.child.alignment import ALIKE, Described
from onnxspace.differences.child.extension import list_readers
from onnxspace.differences.child.signatures import measure_distance


def absorb(one: Described, paired: Collection[int]) -> dict[int, list[int]]:
    """The unpaired nodes of a side by the paired node that their values reach first, in ascending order."""
    owners: dict[int, int] = {i: i for i in paired}
    found: dict[int, list[int]] = {}
    for i in reversed(one.side.core):
        if i in owners:
            continue
        reached = [owners[reader] for reader in list_readers(one, i) if reader in owners]
        if reached:
            owners[i] = min(reached)
            found.setdefault(owners[i], []).insert(0, i)
    return found


def attach_outputs(old: Described, new: Described, pairs: Mapping[int, int]) -> tuple[dict[int, int], dict[int, int]]:
    """Unpaired nodes of both sides that compute a further output of a paired node of the other side, by that node's partner."""
    backwards = {b: a for a, b in pairs.items()}
    return _find_hosts(old, new, backwards), _find_hosts(new, old, dict(pairs))


def _find_hosts(one: Described, other: Described, partners: Mapping[int, int]) -> dict[int, int]:
    """The partner of the node with several outputs of `other` of which each unpaired node of `one` computes one."""
    paired = set(partners.values())
    further = [
        (signature, partners[i])
        for i in partners
        for name in other.side.graph.nodes[i].output[1:]
        if (signature := other.signatures.get(name)) is not None and not signature.is_blank
    ]
    found: dict[int, int] = {}
    for i in one.side.core if further else ():
        own = one.signature_of(i) if i not in paired else None
        host = None if own is None else next((host for one, host in further if measure_distance(own, one) <= ALIKE), None)
        if host is not None:
            found[i] = host
    return found
