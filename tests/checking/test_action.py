"""The shell lines of the GitHub Action, run as they stand in a fresh folder."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from tests.helpers.nets import classifier, save
from tests.helpers.paths import REPOSITORY

pytestmark = pytest.mark.process
ACTION = (REPOSITORY / "action.yml").read_text("utf-8")
CACHE, INSTALL, CHECK = (
    textwrap.dedent(block) for block in re.findall(r"^      run: \|\n((?:        .*\n?|\n)+)", ACTION, re.M)
)
#: Folder of programs of an environment, on Linux and macOS and on Windows.
PROGRAMS = ["bin", "Scripts"]


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


@pytest.mark.parametrize("programs", PROGRAMS)
def test_it_installs_its_own_checkout_and_torch_for_processors(tmp_path: Path, programs: str) -> None:
    """`python` writes an environment whose `python` notes what it is told, and runs the rest itself."""
    note = f'mkdir -p "$4/{programs}"; printf \'#!/bin/sh\\necho "$@" >> "%s/told"\\n\' "$4" > "$4/{programs}/python"; chmod +x "$4/{programs}/python"'
    script(tmp_path / "path/python", f'[ "$3" != venv ] && exec {shlex.quote(sys.executable)} "$@"\n{note}')
    (tmp_path / "venv.py").write_text("raise SystemExit('imported from the current folder')")
    (tmp_path / "tomllib.py").write_text("raise SystemExit('imported from the current folder')")
    path = f"{tmp_path / 'path'}{os.pathsep}{os.environ['PATH']}"
    done = step(INSTALL, tmp_path, ACTION=str(REPOSITORY), PATH=path)
    assert done.returncode == 0, done.stderr
    torch, own = (tmp_path / "temp/onnxspace/told").read_text().splitlines()
    required = [
        one
        for one in tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
        if one.startswith("torch")
    ]
    assert torch == f"-P -m pip install --quiet --index-url https://download.pytorch.org/whl/cpu {required[0]}"
    assert own == f"-P -m pip install --quiet {REPOSITORY}"


def test_nothing_is_installed_by_name_from_an_index() -> None:
    named = [word for line in INSTALL.splitlines() if "pip install" in line for word in shlex.split(line)[5:]]
    assert [word for word in named if not word.startswith(("--", "$", "https://download.pytorch.org/whl/cpu"))] == []
    hook = (REPOSITORY / ".pre-commit-hooks.yaml").read_text("utf-8")
    assert "language: system" in hook
    assert not re.search(r"^\s*(additional_dependencies|language: python)", hook, re.M)


def test_its_cache_depends_on_what_is_required(tmp_path: Path) -> None:
    script(tmp_path / "path/python", f'exec {shlex.quote(sys.executable)} "$@"')
    path = f"{tmp_path / 'path'}{os.pathsep}{os.environ['PATH']}"
    keys = []
    for text in ("one", "two"):
        (tmp_path / "pyproject.toml").write_text(text)
        done = step(CACHE, tmp_path, ACTION=str(tmp_path), PATH=path)
        assert done.returncode == 0, done.stderr
        told = dict(line.split("=", 1) for line in (tmp_path / "out").read_text().splitlines())
        assert told["folder"]
        keys.append(told["key"])
    assert keys == [hashlib.sha256(text).hexdigest() for text in (b"one", b"two")]
    assert "steps.cache.outputs.key" in ACTION.split("actions/cache@")[1].split("- name:")[0]


def test_pictures_are_uploaded_also_where_the_check_fails() -> None:
    last = ACTION.split("      id: check")[1].split("- name: ")[1]
    assert "actions/upload-artifact@" in last
    assert "if: always()" in last
    assert "path: ${{ inputs.working-directory }}/${{ inputs.pictures }}" in last
    assert "if-no-files-found: ignore" in last


@pytest.mark.parametrize("programs", [PROGRAMS[0], pytest.param(PROGRAMS[1], marks=pytest.mark.exhaustive)])
def test_it_checks_and_leaves_its_reports(tmp_path: Path, warm_python: Path, programs: str) -> None:
    """A copy passes, another network fails the step; both are told in all forms."""
    save(classifier(), tmp_path / "good.onnx")
    save(classifier(seed=1), tmp_path / "other.onnx")
    command = shlex.join([str(warm_python), "-m", "onnxspace"])
    script(tmp_path / f"temp/onnxspace/{programs}/onnxspace", f'PYTHONPATH={shlex.quote(str(REPOSITORY))} exec {command} "$@"')
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
