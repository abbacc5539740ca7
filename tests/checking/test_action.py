"""The shell lines of the GitHub Action, run as they stand in a fresh folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.nets import classifier, save
from tests.helpers.paths import REPOSITORY

pytestmark = pytest.mark.process
INSTALL, CHECK = (
    textwrap.dedent(block)
    for block in re.findall(r"^      run: \|\n((?:        .*\n?|\n)+)", (REPOSITORY / "action.yml").read_text("utf-8"), re.M)
)


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)


def step(lines: str, folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """As a runner does it: bash with -e and -o pipefail, and files for what a step tells."""
    known = {
        "RUNNER_TEMP": str(folder / "temp"),
        "GITHUB_OUTPUT": str(folder / "out"),
        "GITHUB_STEP_SUMMARY": str(folder / "sum"),
    }
    (folder / "temp").mkdir(exist_ok=True)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", lines], cwd=folder, env=os.environ | known | given,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("package", "version", "asked"),
    [("", "", "onnxspace"), ("", "0.1.0", "onnxspace==0.1.0"), ("git+https://x/y", "0.1.0", "git+https://x/y")],
)
def test_it_installs_what_is_asked_for(tmp_path: Path, package: str, version: str, asked: str) -> None:
    """`python` writes an environment whose pip notes what it is told."""
    pip = 'mkdir -p "$3/bin"; printf \'#!/bin/sh\\necho "$@" > "%s/told"\\n\' "$3" > "$3/bin/pip"; chmod +x "$3/bin/pip"'
    script(tmp_path / "bin/python", pip)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = step(INSTALL, tmp_path, PACKAGE=package, VERSION=version, PATH=path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "temp/onnxspace/told").read_text() == f"install --quiet {asked}\n"


def test_it_checks_and_leaves_its_reports(tmp_path: Path, warm_python: Path) -> None:
    """A copy passes, another network fails the step; both are told in all forms."""
    save(classifier(), tmp_path / "good.onnx")
    save(classifier(seed=1), tmp_path / "other.onnx")
    command = shlex.join([str(warm_python), "-m", "onnxspace"])
    script(tmp_path / "temp/onnxspace/bin/onnxspace", f'PYTHONPATH={shlex.quote(str(REPOSITORY))} exec {command} "$@"')
    words = "good.onnx other.onnx --against good.onnx --images 2"
    done = step(CHECK, tmp_path, ARGUMENTS=words, PICTURES="pictures of it")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("::error file=other.onnx,")
    told = dict(line.split("=", 1) for line in (tmp_path / "out").read_text().splitlines())
    assert set(told) == {"junit", "sarif"}
    assert all(Path(path).stat().st_size > 100 for path in told.values())
    assert "| other |" in (tmp_path / "sum").read_text()
    assert [path.name for path in (tmp_path / "pictures of it").iterdir()] == ["other.png"]


def test_a_check_that_can_not_run_fails_with_its_own_code(tmp_path: Path) -> None:
    script(tmp_path / "temp/onnxspace/bin/onnxspace", f'exec {shlex.join([sys.executable, "-m", "onnxspace"])} "$@"')
    done = step(CHECK, tmp_path, ARGUMENTS="", PICTURES="pictures")
    assert (done.returncode, "There is nothing to check" in done.stderr) == (2, True)
    assert not (tmp_path / "sum").exists()
