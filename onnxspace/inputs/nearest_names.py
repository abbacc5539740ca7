"""The names nearest to one that is unknown, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_FEW = 12


def suggest(name: str, known: Iterable[str]) -> str:
    """Words that follow the statement that `name` is unknown: the nearest of the `known` names, else the names if they are few.

    >>> suggest("shapes", ["shapes-torch", "edges-torch"])
    'did you mean shapes-torch?'
    >>> suggest("x", ["a", "b"])
    'there are a, b.'
    """
    names = list(dict.fromkeys(known))
    near = get_close_matches(name, names, 2, 0.5) or [one for one in names if name and one.startswith(name)][:2]
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"there are {', '.join(names[:_FEW]) or 'none'}{more}."
