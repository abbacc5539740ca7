"""What the tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace.cli import main
from tests.helpers import nets
from tests.helpers.sentences import Cli, Outcome
from tests.helpers.widths import WIDTH


@pytest.fixture(autouse=True)
def results_are_sketched(sketched_results: None) -> None:
    """Tests of commands do not look at the picture of the affinities, but for those that ask for `drawn_results`."""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """The command line in a folder with two good models."""
    monkeypatch.chdir(tmp_path)
    nets.save(nets.plain_classifier(5), tmp_path / "good.onnx")
    nets.save(nets.plain_classifier(7), tmp_path / "fine.onnx")

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        return Outcome(int(end.value.code or 0), *capfd.readouterr())

    return run
