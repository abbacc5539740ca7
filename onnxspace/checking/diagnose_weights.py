"""Which stored tensors of two files differ, and what that says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxspace.checking.file_facts import FileFacts

#: Relative difference of weights below which storage in eight bits can be the reason.
_FEW_BITS = 0.02
#: Relative difference of weights from which on they count as unrelated.
_APART = 0.5
#: Relative difference of weights below which they count as the same, stored in half precision.
_ROUNDING = 1e-3
_NAMED = 4


@dataclass(frozen=True)
class WeightChanges:
    """The stored floating-point tensors of a file (`count`), by what became of them.

    `changed` are name and relative difference (None where only checksums are known) of those with a partner of their size in the
    old file; `alone` have none, and `gone` tensors of the old file have none in the new one.
    """

    count: int
    changed: tuple[tuple[str, float | None], ...]
    alone: int
    gone: int

    @property
    def all_equal(self) -> bool:
        """Whether the new file holds all tensors of the old one and no other."""
        return not (self.changed or self.alone or self.gone)

    @property
    def rest(self) -> int:
        """The number of tensors that are equal."""
        return self.count - len(self.changed) - self.alone

    @property
    def sizes(self) -> list[float]:
        """The relative differences that are known."""
        return [size for _, size in self.changed if size is not None]


def changes_of_values(content: Mapping[str, Any] | None) -> WeightChanges | None:
    """The answer of `child.layers.weight_changes`; None where most tensors have no partner."""
    if content is None:
        return None
    changed = tuple((str(one["name"]), float(one["difference"])) for one in content["changed"])
    return WeightChanges(content["of"], changed, content["alone"], content["gone"])


def changes_of_digests(new: FileFacts, old: FileFacts) -> WeightChanges | None:
    """The tensors that differ by their checksums, for a baseline without its model file; None where that says nothing."""
    if not old.weights or not new.weights:
        return None
    numbers = new.scalars is not None and old.scalars is not None
    mine, theirs = (((*one.weights, *(one.scalars or ())) if numbers else one.weights) for one in (new, old))
    left = Counter(digest for _, digest in theirs)
    others = []
    for name, digest in mine:
        if left[digest] > 0:
            left[digest] -= 1
        else:
            others.append(name)
    gone = sum(left.values())
    paired = min(len(others), gone)
    if len(others) == len(mine) and len(mine) != len(theirs):
        return None
    return WeightChanges(len(mine), tuple((name, None) for name in others[:paired]), len(others) - paired, gone - paired)


def describe_weights(weights: WeightChanges | None, biases: Collection[str], *, explained: bool) -> Iterator[str]:
    """Sentences on the weights that changed; nothing where they are equal or that says nothing.

    `biases` names the biases and the parameters of normalisations; `explained` says that a reason was found before.
    """
    if weights is None or weights.all_equal:
        return
    if weights.alone and np.median(weights.sizes or [0.0]) >= _APART:
        return  # sizes that are alike by accident
    if not weights.changed:
        yield f"{_describe_unpaired(weights)}, all {weights.rest} others are equal."
        return
    tail = f" {_describe_unpaired(weights)}." if weights.alone or weights.gone else ""
    yield f"{_describe_changed(weights, biases, explained=explained)}{tail}"


def _describe_unpaired(weights: WeightChanges) -> str:
    alone, gone = weights.alone, weights.gone
    if alone and gone:
        return "One weight tensor has another size" if alone == 1 else f"{alone} weight tensors have other sizes"
    count, words = (alone, "new") if alone else (gone, "gone")
    return f"One weight tensor is {words}" if count == 1 else f"{count} weight tensors are {words}"


def _describe_changed(weights: WeightChanges, biases: Collection[str], *, explained: bool) -> str:
    """A sentence on the tensors that have partners."""
    changed, count, sizes = weights.changed, weights.count, weights.sizes
    if sizes and max(sizes) < _ROUNDING:
        return f"The same weights up to rounding: {len(changed)} of {count} tensors differ, by {max(sizes):.2%} at most."
    if all(name in biases for name, _ in changed):
        return f"{_name_changed(weights)} {_describe_biases(len(changed))}"
    if len(changed) <= max(2, count // 10):
        return _name_changed(weights)
    words = f"The same architecture with other weights: {len(changed)} of {count} tensors differ"
    if not sizes:
        return f"{words}." if explained else f"{words}, as after training, or in another precision."
    median = float(np.median(sizes))
    how = f"{words}, by {median:.1%} (median)"
    if explained:
        return f"{how}."
    if median >= _APART:
        return f"{how}, as where both were trained separately."
    few = ", or stored with fewer bits" if median < _FEW_BITS else ""
    return f"{how}, as where it was trained further{few}."


def _name_changed(weights: WeightChanges) -> str:
    shown = [f"{name} (by {percent(size)})" if size is not None else name for name, size in weights.changed[:_NAMED]]
    more = f" and {len(weights.changed) - _NAMED} more" if len(weights.changed) > _NAMED else ""
    rest = f"{weights.rest} are equal" if weights.alone or weights.gone or not weights.rest else "all others are equal"
    return f"{len(weights.changed)} of {weights.count} weight tensors differ, {rest}: {', '.join(shown)}{more}."


def percent(share: float) -> str:
    """A share in percent, with as many digits as show that it is not 0.

    >>> percent(0.0004), percent(1.4)
    ('0.04%', '140%')
    """
    if share >= 10:
        return f"{share:.0f} times its length"
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def _describe_biases(count: int) -> str:
    what = "It is a bias or a parameter" if count == 1 else f"{'Both' if count == 2 else 'All'} are biases or parameters"
    return f"{what} of a normalisation, as where a batch normalisation was folded wrongly."
