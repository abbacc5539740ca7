"""Runs of `score` that are stopped on the way, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxspace.storage.map_file import MapWriter
from tests.helpers.commands import exit_code as run

IMAGES, BATCH = 5, 2


#: Sampled units give a standard error, Elu a warning, and a bright-only network zero maps.
SCORE = ("score", "a.onnx", "b.onnx", "--images", str(IMAGES), "--batch-size", str(BATCH), "--json", "--output", "kept")


Content = dict[str, bytes]


def content(folder: Path | str) -> Content:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def stop_after(monkeypatch: pytest.MonkeyPatch, appends: int) -> None:
    """Ctrl-C right after so many batches were stored."""
    append, count = MapWriter.append, 0

    def stopped(self: MapWriter, *arguments: Any) -> None:
        nonlocal count
        append(self, *arguments)
        count += 1
        if count == appends:
            raise KeyboardInterrupt

    monkeypatch.setattr(MapWriter, "append", stopped)


def interrupt(appends: int, *command: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, appends)
        assert run(*command) == 130


#: Runs the command line, models in the same process; kills the process when the function that is named first is called for the given time.
CHILD = """
import importlib, os, signal, sys
sys.path.append("ROOT")
from onnxspace.attribution import cache_key
from onnxspace.workflows import session
from tests.helpers.direct import borrow_direct
session.borrow_worker, session.start_workers = borrow_direct, lambda *arguments: None
from onnxspace.cli import main
cache_key._hash_code = lambda: "unchanged"
module, *path, name = sys.argv.pop(1).split("/")
left = int(sys.argv.pop(1))
place = importlib.import_module(module)
for step in path:
    place = getattr(place, step)
called = getattr(place, name)
def die(*arguments, **options):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return called(*arguments, **options)
setattr(place, name, die)
main()
""".replace("ROOT", str(Path(__file__).parents[2]))
