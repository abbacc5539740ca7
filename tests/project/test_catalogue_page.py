"""docs/catalogue.md: its commands work in the order in which they stand there, and its words are the program's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxspace.cli.commands.space import space
from onnxspace.inputs.config import load_config
from onnxspace.inputs.labels import KEYS
from onnxspace.workflows.space import Space
from tests.helpers.commands import save_classifiers
from tests.helpers.paths import REPOSITORY
from tests.helpers.widths import WIDTH, list_wide_lines

PAGE = (REPOSITORY / "docs/catalogue.md").read_text("utf-8")


def block(name: str) -> str:
    return re.findall(rf"<!-- {re.escape(name)} -->\n```[a-z]+\n(.*?)```", PAGE, re.S)[0]


@pytest.fixture
def shell(tmp_path: Path, warm_children: None) -> Callable[..., str]:
    """Runs commands in a folder with models and photos, where `onnxspace` is the program under test."""
    (tmp_path / "models").mkdir()
    save_classifiers(tmp_path / "models", "abc")
    for seed, name in enumerate(("streets", "task")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.random.default_rng([seed, number]).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "programs").mkdir()
    program = tmp_path / "programs/onnxspace"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m onnxspace "$@"\n')
    program.chmod(0o755)

    def run(text: str, **environment: str) -> str:
        path = f"{tmp_path / 'programs'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euc", text], cwd=tmp_path, env={**os.environ, "PATH": path, "COLUMNS": str(WIDTH), **environment}, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stderr}"
        assert list_wide_lines(done.stdout + done.stderr) == [], text
        return done.stdout + done.stderr

    return run


def test_the_commands_work(shell: Callable[..., str], tmp_path: Path) -> None:
    shell(block("create"))
    (tmp_path / "models.txt").write_text("models/a.onnx\nmodels/b.onnx\n")
    (tmp_path / "fingerprint.sh").write_text(block("fingerprint.sh"))
    for task in ("1", "2"):
        shell("bash fingerprint.sh", SLURM_ARRAY_TASK_ID=task)
    assert sorted(path.name for path in (tmp_path / "prints").iterdir()) == ["a.fp", "b.fp"]
    assert "added a" in shell(block("add"))
    (tmp_path / "Makefile").write_text(block("Makefile"))
    for print_ in (tmp_path / "prints").iterdir():
        os.utime(print_)  # newer than their models
    out = shell("make --silent")
    assert ("added c" in out, "already in the space, as a" in out) == (True, True)
    shell(block("labels"))
    opened = Space.open(tmp_path / "zoo.space")
    assert {entry.name: entry.labels.tags for entry in opened.entries()} == {
        "a": ("ours", "detector", "checked", "team=vision"), "b": ("detector",), "c": (),
    }  # fmt: skip
    out = shell(block("where"))
    assert "apache-2.0, ours, detector" in out
    assert (tmp_path / "page.html").is_file()
    out = shell(block("sets"))
    assert "streets  12 images of 40 pixels (streets); 2 models" in out
    assert "Probe set streets, the nearest" in out
    assert opened.verify().clean


def test_words_of_the_page_are_those_of_the_program(tmp_path: Path) -> None:
    part = PAGE.split("## Some of the models")[1].split("\n## ")[0]
    assert all(f"`{key}`" in part for key in KEYS)
    commands = {name for name in re.findall(r"`([a-z]+)`", part.split("take a condition")[0]) if name in space.commands}
    takers = {name for name, command in space.commands.items() if any("--where" in p.opts for p in command.params)}
    assert commands == takers
    part = PAGE.split("## Several sets")[1].split("\n### ")[0]
    sentence = (
        next(line for line in part.split("\n") if "use the first set" in line)
        .split("use the first set")[0]
        .split(". `list`")[1]
    )
    named = {"list", *re.findall(r"`([a-z]+)`", sentence)}
    takers = {name for name, command in space.commands.items() if any("--set" in p.opts for p in command.params)}
    assert named == takers - {"add"}
    (tmp_path / "onnxspace.toml").write_text(re.findall(r"```toml\n(.*?)```", PAGE, re.S)[0])
    assert load_config(tmp_path / "onnxspace.toml").models["resnet50"].tags == ("team=vision", "detector")
