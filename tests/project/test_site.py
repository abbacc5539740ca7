"""The documentation site: tables of options from the commands, links, navigation, and scripts for trackers."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
import yaml

from docs.hooks.commands import MARK, list_options, render_options
from docs.hooks.notebooks import list_notebooks
from docs.hooks.offline import list_requests
from onnxspace.cli import cli
from tests.helpers.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
GROUP = click.Context(cli)


def list_commands() -> list[tuple[str, click.Command]]:
    """Every command with its words, those of groups one by one."""
    found = []
    for name in cli.list_commands(GROUP):
        command = cli.get_command(GROUP, name)
        assert command is not None
        several = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        found += [(f"{name} {one}".strip(), sub) for one, sub in several]
    return found


@pytest.mark.parametrize(("words", "command"), list_commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_option_has_a_row_with_a_meaning(words: str, command: click.Command) -> None:
    text = render_options(words.split()[0])
    part = text.split(f"`onnxspace {words}`\n")[1].split("\n### ")[0] if " " in words else text
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines() if line.startswith("| <code>")]
    listed = {option for row in rows for option in re.findall(r"-[a-z-]+", re.sub("</?code>", "", row[0]).split("[")[0])}
    declared = {option for one in command.params for option in (*one.opts, *one.secondary_opts) if option.startswith("-")}
    assert declared <= listed
    assert len(rows) == len(list(list_options(command)))
    assert all(len(row[1].strip()) > 10 for row in rows)


def test_every_command_has_a_page_with_its_options() -> None:
    marks = {path.stem: MARK.findall(path.read_text("utf-8")) for path in (DOCS / "commands").glob("*.md")}
    assert marks.pop("index") == []
    assert marks == {name: [name] for name in cli.list_commands(GROUP)}


def test_every_page_is_in_the_navigation() -> None:
    """And in one place; pages from outside docs/ are those that the hook adds."""
    hook = (DOCS / "hooks/site.py").read_text("utf-8")
    outside = dict(re.findall(r'^    "([\w/-]+\.md)": "([\w/]+\.md)",$', hook, re.M))
    listed = re.findall(r"[:-] ([\w/-]+\.md)$", (REPOSITORY / "mkdocs.yml").read_text("utf-8"), re.M)
    pages = [*(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")), *list_notebooks(DOCS)]
    assert sorted(listed) == sorted([*pages, *outside])
    assert all((REPOSITORY / path).is_file() for path in outside.values())


def test_the_site_is_strict_and_has_no_fonts_of_others() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text("utf-8")
    content = yaml.safe_load(text)
    assert content["theme"]["font"] is False
    assert {*content["validation"]["links"].values(), *content["validation"]["nav"].values()} == {"warn"}
    assert 'mkdocs" build --strict' in (REPOSITORY / ".ci/docs").read_text("utf-8")


def test_requests_to_other_servers_are_listed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<link rel="canonical" href="https://a.example/"><script src="https://b.example/x.js"></script><img src="x.png">'
    )
    assert list_requests(page) == ["https://b.example/x.js"]


def read_scripts() -> dict[str, str]:
    return dict(
        re.findall(r"<!-- tracker: (\w+) -->\n```python\n(.*?)```", (DOCS / "howto/tracking.md").read_text("utf-8"), re.S)
    )


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `score --json` and `check --json` print, in short."""
    monkeypatch.chdir(tmp_path)
    sources = [
        {"source": "a", "value": 0.9, "place": 1, "bracket": 1},
        {"source": "b", "value": None, "place": 2, "bracket": 2},
    ]
    score = {"evidence": "pictures", "ranked_by": "mean_rank", "rankings": {"shapes-jax": {"sources": sources}}}
    Path("score.json").write_text(json.dumps(score))
    Path("check.json").write_text(json.dumps({"verdicts": [{"name": "net", "measures": {"affinity": 0.5}}]}))


@pytest.mark.usefixtures("results")
def test_metrics_for_dvc_are_flat() -> None:
    exec(read_scripts()["dvc"], {})
    assert json.loads(Path("metrics.json").read_text()) == {"net": {"affinity": 0.5}}


class Recorder(ModuleType):
    """In the place of a tracker: calls by name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, arguments))
            return Context(self) if name in ("start_run", "init") else SimpleNamespace(name=name, **options)

        return call


class Context:
    """A run of a tracker, which is a context in MLflow and an object in Weights & Biases."""

    def __init__(self, recorder: Recorder) -> None:
        self.log, self.finish = recorder.log, recorder.finish

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@pytest.mark.usefixtures("results")
def test_trackers_get_values_of_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow, wandb = Recorder("mlflow"), Recorder("wandb")
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name in ("mlflow", "wandb"):
        exec(read_scripts()[name], {})
    assert ("log_metric", ("mean_rank/a", 0.9)) in mlflow.calls
    assert len([name for name, _ in mlflow.calls if name == "log_metric"]) == 1  # none for a source without a value
    (table,) = (arguments[0]["sources"] for name, arguments in wandb.calls if name == "log")
    assert table.data == [[1, 1, "a", 0.9], [2, 2, "b", None]]
