"""The command line in the tests' own process."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from onnxspace.cli import main
from onnxspace.inputs.scenes import render
from onnxspace.similarity.affinity import Affinity
from tests.helpers.nets import classifier, save

#: Arguments → exit code, standard output, standard error.
Run = Callable[..., tuple[int, str, str]]
#: In the place of `onnxspace.inputs.probes.render`: each probe image is drawn once for all tests.
drawn_once = cache(render)


def runner(capture: pytest.CaptureFixture[str], *first: str) -> Run:
    """Runs `onnxspace FIRST… ARGUMENTS…`; no error may come as a traceback."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capture.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([*first, *arguments])
        out, err = capture.readouterr()
        assert "Traceback" not in err
        return int(stopped.value.code or 0), out, err

    return call


def exit_code(*arguments: str) -> int:
    """Run `onnxspace ARGUMENTS…`; what it prints is left to whoever captures it."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def save_classifiers(folder: Path, names: str, **options: Any) -> Path:
    """Write a small classifier of another seed for each letter into the folder: `a.onnx`, `b.onnx`, …"""
    for seed, name in enumerate(names):
        save(classifier(seed=seed, **options), folder / f"{name}.onnx")
    return folder


def sketch_result(result: Affinity, path: Path) -> None:
    """In the place of `onnxspace.report.heatmap.draw_affinity`, which takes longer than all of a small run."""
    path.write_text(f"{result.title} {result.names}")


def without_table(err: str) -> str:
    """What a command wrote to stderr, without the table of what models see and the warning about what is guessed."""
    table = re.compile(r"model +size +order|\S.* \d+×\d+\?? +N|warning: the range of pixels |    \S")
    return "".join(line for line in err.splitlines(keepends=True) if not table.match(line))
