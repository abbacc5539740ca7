"""Short names of layers: the module that a tensor comes from, without what all names share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from onnxspace.storage.printable import shorten

LONGEST = 30
#: What exporters append to the name of the node that computes a tensor.
_ENDING = re.compile(r"(_output_\d+|:\d+|__\d+)$")


def shorten_layers(tensors: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Return a name of at most `longest` characters for each tensor, with its module and operator where its name has them.

    >>> shorten_layers(["/net/layer1/layer1.0/relu_2/Relu_output_0", "/net/layer1/layer1.1/Add_output_0"])
    ['layer1.0/relu_2', 'layer1.1/Add']
    """
    parts = [_split(tensor) for tensor in tensors]
    shared = _count_shared(parts)
    names = ["/".join(one[shared:] if len(one) > shared else one) for one in parts]
    often = Counter(names)
    return [shorten(name if often[name] == 1 else tensor, longest) for name, tensor in zip(names, tensors, strict=True)]


def _split(tensor: str) -> list[str]:
    """The modules of a tensor's name, each without those that its successor repeats, and the operator unless its module says it."""
    found = [part for part in _ENDING.sub("", tensor).split("/") if part] or [tensor]
    kept = [part for part, after in zip(found, [*found[1:], ""], strict=True) if not after.startswith(f"{part}.")]
    repeats = len(kept) > 1 and kept[-2].lower().startswith(kept[-1].lower())
    return kept[:-1] if repeats else kept


def _count_shared(parts: Sequence[Sequence[str]]) -> int:
    """The number of leading modules that all names with modules share, and after which something is left of each."""
    within = [one for one in parts if len(one) > 1]
    fewest = min((len(one) for one in within), default=1) - 1 if len(within) > 1 else 0
    same = [len({one[place] for one in within}) == 1 for place in range(fewest)]
    return same.index(False) if False in same else fewest
