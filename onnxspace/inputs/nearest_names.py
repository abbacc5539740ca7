"""The names nearest to one that is unknown, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from onnxspace.storage.printable import shorten

#: Names that are listed where none is near, and characters of a name.
_FEW, _LONG = 12, 80
#: Files of a folder that are compared with one that is not there.
_MOST_FILES = 1_000


def find_nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to two of the `known` names that are near to `name`: written much alike, whatever the capitals, or continuing it.

    >>> find_nearest("shapes", ["edges-torch", "shapes-torch"])
    ['shapes-torch']
    """
    lower: dict[str, str] = {}
    for one in known:
        lower.setdefault(one.lower(), one)
    word = name.lower()
    near = get_close_matches(word, lower, 2, 0.6) or [one for one in lower if word and one.startswith(word)][:2]
    return [lower[one] for one in near or get_close_matches(word, lower, 2, 0.5)]


def suggest(name: str, known: Iterable[str], *, listed: bool = True) -> str:
    """Words that follow the statement that `name` is unknown: the nearest of the `known` names, else the names if they are few.

    Nothing where none is near and they are not to be `listed`.

    >>> suggest("shapes", ["shapes-torch", "edges-torch"])
    'did you mean shapes-torch?'
    >>> suggest("x", ["a", "b"])
    'there are a, b.'
    """
    names = list(dict.fromkeys(known))
    if near := find_nearest(name, names):
        return f"did you mean {' or '.join(shorten(one, _LONG) for one in near)}?"
    if not listed:
        return ""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"there are {', '.join(shorten(one, _LONG) for one in names[:_FEW]) or 'none'}{more}."


def describe_unknown(kind: str, name: str, known: Iterable[str], *, listed: bool = True) -> str:
    """The words for a `name` that none of the `known` ones of its `kind` is, the same for names of everything.

    >>> describe_unknown("method", "elpr", ["saliency", "elrp"])
    "there is no method 'elpr'; did you mean elrp?"
    >>> describe_unknown("tensor", "x", ["a"], listed=False)
    "there is no tensor 'x'."
    """
    words = suggest(name, known, listed=listed)
    return f"there is no {kind} {shorten(name, _LONG)!r}" + (f"; {words}" if words else ".")


def describe_missing_file(path: Path, way_out: str = "Check the path.") -> str:
    """The words for a `path` where there is no file, with the nearest names of its folder, or the `way_out` where none is near.

    >>> describe_missing_file(Path("no-folder/model.onnx"))
    'no such file. Check the path.'
    """
    near = _list_near_files(path)
    return f"no such file; did you mean {' or '.join(near)}?" if near else f"no such file. {way_out}"


def describe_missing_folder(path: Path) -> str:
    """The words for a `path` where there is no folder, with the nearest names beside it.

    >>> describe_missing_folder(Path("no-folder/zoo.space"))
    'does not exist.'
    """
    near = _list_near_files(path)
    return f"does not exist; did you mean {' or '.join(near)}?" if near else "does not exist."


def _list_near_files(path: Path) -> list[str]:
    try:
        names = [one.name for one in islice(path.parent.iterdir(), _MOST_FILES)]
    except (OSError, ValueError):
        names = []
    return [shorten(str(path.parent / one), _LONG) for one in find_nearest(path.name, names)]
