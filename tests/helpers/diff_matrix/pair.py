"""A pair of models with what was done to them by construction: what a comparison must say, and which nodes were not touched."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from tests.helpers import diff_pairs as pairs

Make = Callable[[Path], tuple[ModelProto, ModelProto]]
#: Kinds of changes that are true of a file as well as of what was done to it.
FORMS = frozenset({
    "re-export", "opset", "same-graph", "folded", "fused", "split", "replaced", "layout", "shape", "moving-nodes-added",
    "moving-nodes-removed", "input-size",
})  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two models (`make` writes what it needs to a folder), and what must be found.

    `verdict` and one of `kinds` (each text of `says` in a sentence) are right; `also` are other kinds that are true as well. `touched` names the
    nodes of the old file that compute something else or are gone: all others must be recognised.
    """

    make: Make
    verdict: str
    kinds: Set[str]
    says: tuple[str, ...] = ()
    touched: Set[str] = frozenset()
    also: Set[str] = frozenset()


def of(old: Callable[[], ModelProto], change: Callable[[ModelProto], ModelProto], verdict: str, kinds: Set[str] | str, *says: str,
        touched: Set[str] | str = frozenset(), also: Set[str] = frozenset()) -> Pair:  # fmt: skip
    def make(_: Path) -> tuple[ModelProto, ModelProto]:
        return old(), change(old())

    kinds, touched = ({one} if isinstance(one, str) else one for one in (kinds, touched))
    return Pair(make, verdict, kinds, says, touched, also)


def of_files(
    make: Make, verdict: str, kinds: Set[str] | str, *says: str, touched: Set[str] = frozenset(), also: Set[str] = frozenset()
) -> Pair:
    return Pair(make, verdict, {kinds} if isinstance(kinds, str) else kinds, says, touched, also)


BLOCK = "/blocks/blocks.0"
ALL_LAYERS = frozenset(node.name for node in pairs.base().graph.node if node.op_type in ("Conv", "Gemm"))
