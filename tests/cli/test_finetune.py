"""`--by finetune` of `transfer` and `score`: what is printed, what is written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from onnxspace.cli.commands.finetuning import parse_budget
from onnxspace.cli.commands.score import score
from onnxspace.cli.commands.transfer import transfer
from onnxspace.finetuning.race import Rung
from tests.helpers.nets import classifier, save
from tests.helpers.trainable import draw_pictures


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.workflows.finetune.RUNGS", (Rung(1, 1.0), Rung(2, 0.5)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, image in enumerate(draw_pictures(16)):
        place = tmp_path / "photos" / ("dark" if number % 2 else "light")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image // 3 if number % 2 else image).save(place / f"{number}.png")
    for seed, name in enumerate("abc"):
        save(classifier(seed=seed), tmp_path / f"{name}.onnx")
    return tmp_path


def _models(folder: Path) -> list[str]:
    return [str(folder / f"{name}.onnx") for name in "abc"]


def test_transfer_prints_a_table_and_writes_files(folder: Path, warm_children: None) -> None:
    table, winner = folder / "table.csv", folder / "winner.onnx"
    found = CliRunner().invoke(
        transfer, [*_models(folder), "--data", str(folder / "photos"), "--by", "finetune", "--workers", "1", "--quiet",
                   "--output", str(table), "--save", str(winner)], standalone_mode=False,
    )  # fmt: skip
    assert found.return_value == 0, found.output
    assert "evidence: finetuned" in found.output
    assert "a constant answer  0.500" in " ".join(found.output.split()).replace("answer 0", "answer  0")
    assert len(table.read_text().splitlines()) == 4
    assert winner.is_file()
    assert (folder / "winner.onnxspace.toml").is_file()


@pytest.mark.parametrize(("name", "start"), [("curves.png", b"\x89PNG"), ("curves.svg", b"<?xml")])
def test_transfer_draws_learning_curves(folder: Path, name: str, start: bytes, warm_children: None) -> None:
    found = CliRunner().invoke(
        transfer, [*_models(folder), "--data", str(folder / "photos"), "--by", "finetune", "--workers", "1", "--quiet",
                   "--output", str(folder / name)], standalone_mode=False,
    )  # fmt: skip
    assert found.return_value == 0, found.output
    assert (folder / name).read_bytes().startswith(start)
    assert not list(folder.glob(".*partial"))


def test_score_ranks_the_sources_of_a_target(folder: Path, warm_children: None) -> None:
    found = CliRunner().invoke(
        score, [*_models(folder), "--target", "a", "--probe", str(folder / "photos"), "--by", "finetune", "--quiet", "--json"],
        standalone_mode=False,
    )  # fmt: skip
    assert found.return_value == 0, found.output
    document = json.loads(found.output)
    assert sorted(row["source"] for row in document["ranking"]) == ["b", "c"]
    assert document["data"]["target"] == "a"
    assert document["evidence"] == "finetuned"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--by", "finetune", "--by", "knn"], "ranks on its own"),
        (["--by", "finetune", "--known", "missing.csv"], "missing.csv: no such file"),
        (["--by", "finetune", "--pool", "none"], "does not take --pool none"),
        (["--budget", "10m"], "--budget needs --by finetune"),
        (["--save", "x.onnx"], "--save needs --by finetune"),
        (["--by", "finetune", "--budget", "soon"], "is not a length of time"),
    ],
)
def test_transfer_refuses(folder: Path, options: list[str], sentence: str) -> None:
    found = CliRunner().invoke(transfer, [*_models(folder), "--data", str(folder / "photos"), *options])
    assert found.exit_code in (1, 2)
    assert sentence in " ".join([*found.output.split(), *str(found.exception).split()])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--by", "finetune"], "needs --target"),
        (["--by", "finetune", "--target", "a"], "needs --target"),
        (["--by", "finetune", "--target", "a", "--probe", "photos", "--by", "cka"], "ranks on its own"),
        (["--budget", "10m"], "--budget needs --by finetune"),
    ],
)
def test_score_refuses(folder: Path, options: list[str], sentence: str) -> None:
    found = CliRunner().invoke(score, [*_models(folder), *options])
    assert found.exit_code == 2
    assert sentence in " ".join(found.output.split())


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_budgets(text: str, seconds: float) -> None:
    assert parse_budget(None, None, text) == seconds  # type: ignore[arg-type]
