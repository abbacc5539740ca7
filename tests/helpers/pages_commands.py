"""The commands that documentation shows, and how tests run them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import click

from onnxspace.cli import cli
from tests.helpers.paths import REPOSITORY

#: Pages whose shell blocks are for users; CONTRIBUTING.md and docs/architecture.md have tests of their own.
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (REPOSITORY / "README.md", REPOSITORY / "converters/README.md", *(REPOSITORY / "docs").rglob("*.md"))
    if "```sh" in path.read_text("utf-8") and path.name != "architecture.md"
)
#: What begins or is part of a command that tests don't run, and why. Commands of onnxspace are parsed all the same.
NOT_RUN = {
    "python3 -m venv": ".ci/run runs README's labelled blocks",
    "pip install": "installs from an index",
    ".venv/bin/": ".ci/run runs README's labelled blocks, and CONTRIBUTING.md names the other",
    "source ": "the tests' own environment is active",
    "timm:": "needs timm: .ci/frameworks",
    "hf:": "needs a connection",
    "net.pt2": "needs a network of the user: tests/converters",
    "package.module:": "needs code of the user: tests/converters",
    "--cluster": "needs a scheduler: tests/workflows/cluster",
    "dask ": "needs several machines",
    "srun ": "needs Slurm",
    "export DASK": "needs certificates of the user",
    "helm ": "needs Kubernetes",
    "npm ": "installs from an index",
}


@dataclass(frozen=True)
class Line:
    """A command as it is shown, without its comment, and the file that takes its output."""

    text: str
    output: str = ""

    @property
    def reason(self) -> str:
        """Why it is not run, or nothing."""
        return next((why for part, why in NOT_RUN.items() if part in self.text), "")

    def words(self, folder: Path) -> list[str]:
        """Its words, with braces and wildcards expanded in `folder` by the shell."""
        done = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {self.text}"], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.split("\0")[:-1]


def list_lines(page: str) -> list[Line]:
    """The commands of a page's shell blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / page).read_text("utf-8"), re.S)
    lines = [re.sub(r"\s+#.*$", "", line).strip() for block in blocks for line in block.splitlines()]
    return [split_output(line) for line in lines if line and not line.startswith("#")]


def split_output(line: str) -> Line:
    text, _, output = line.partition(" > ")
    return Line(text, output.strip())


def parse(words: list[str]) -> click.Context:
    """Parse `onnxspace WORDS…` as the program does. Raises click's errors for what it does not have."""
    command = cli.get_command(click.Context(cli), words[0])
    if command is None:
        raise click.UsageError(f"no such command {words[0]!r}")
    if isinstance(command, click.Group):
        return command.commands[words[1]].make_context(words[1], list(words[2:]))
    return command.make_context(words[0], list(words[1:]))
