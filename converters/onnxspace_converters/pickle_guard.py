"""Forbid unpickling of code while a file is read, whatever library reads it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from onnxspace.errors import ModelError

_state = threading.local()
_hooked: list[bool] = []


class PickleError(ModelError):
    """A file that would have been unpickled."""


@contextmanager
def forbid_pickle() -> Iterator[None]:
    """Raise PickleError within the block where pickled code would be loaded; Torch's restricted reader of weights still works."""
    if not _hooked:  # an audit hook can't be removed
        sys.addaudithook(_audit)
        _hooked.append(True)
    before = getattr(_state, "guarded", False)
    _state.guarded = True
    try:
        yield
    finally:
        _state.guarded = before


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "pickle.find_class" and getattr(_state, "guarded", False):
        raise PickleError(f"it contains pickled code ({'.'.join(map(str, arguments))})")
