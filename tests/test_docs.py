"""What the README says is what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from onnxspace.cli.inspect import inspect
from onnxspace.cli.score import score
from onnxspace.config import load_config
from tests.networks import classifier, save

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def long_options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def test_the_table_lists_every_option_of_score() -> None:
    listed = set(re.findall(r"^\| `(--[a-z-]+)", README, re.M))
    assert listed == long_options(score)


def test_the_options_named_for_inspect_exist() -> None:
    sentence = README.split("`onnxspace inspect MODEL.onnx` shows")[1].split("\n")[0]
    assert set(re.findall(r"`(--[a-z]+)`", sentence)) == long_options(inspect)


@pytest.mark.parametrize("option", ["method", "device"])
def test_the_choices_in_the_table_are_those_of_the_library(option: str) -> None:
    from onnxspace.attribution import DEVICES, METHODS

    choices = {"method": METHODS, "device": DEVICES}[option]
    declared = next(p for p in score.params if p.name == option)
    assert isinstance(declared.type, click.Choice)
    assert tuple(declared.type.choices) == choices
    row = next(line for line in README.splitlines() if line.startswith(f"| `--{option}`"))
    assert set(choices) <= set(re.findall(r"`([a-z-]+)`", row))


def test_the_configuration_example_is_valid_and_complete(tmp_path: Path) -> None:
    from dataclasses import fields

    (tmp_path / "onnxspace.toml").write_text(blocks("toml")[0], "utf-8")
    options = load_config(tmp_path / "onnxspace.toml").models["resnet50"]
    assert [f.name for f in fields(options) if getattr(options, f.name) is None] == ["input"]
    assert options.scale == pytest.approx(1 / 255)


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        save(classifier(seed=seed), tmp_path / f"{name}.onnx")
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "photos/black.png")
    names: dict[str, Any] = {}
    exec(blocks("python")[0], names)
    assert names["maps"].shape == (64, 224, 224)
    assert names["result"].names == ("a", "b")
    assert len(names["result"].rank("a").sources) == 1


def test_both_labelled_blocks_are_there_for_ci() -> None:
    for label in ("main job", "tests"):
        assert len(re.findall(rf"<!-- {label} -->\s*```sh\n", README)) == 1


def test_links_lead_to_files() -> None:
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if "://" not in t]
    assert len(targets) >= 3
    for target in targets:
        assert (ROOT / target).exists(), target


def test_the_sample_is_what_the_program_prints(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Same words; numbers within a hundredth, since another processor rounds otherwise."""
    from onnxspace.cli import main

    monkeypatch.chdir(ROOT)
    sample = blocks("text")[0].split("\n")
    names = re.findall(r"score models/\{([a-z,-]+)\}\.onnx", README)[0].split(",")
    with pytest.raises(SystemExit) as stopped:
        main(["score", *(f"models/{name}.onnx" for name in names), "--quiet"])
    assert not stopped.value.code
    number = re.compile(r"-?\d\.\d{3}")
    for said, printed in zip(sample, capsys.readouterr().out.split("\n"), strict=False):
        if "." not in said[:6]:  # ranks of equals may change places
            assert number.sub("", said).split() == number.sub("", printed).split()
            np.testing.assert_allclose(
                [float(n) for n in number.findall(printed)], [float(n) for n in number.findall(said)], atol=0.01
            )


def test_the_table_of_operators_is_the_registrys() -> None:
    from onnxspace.convert.support import page

    assert (ROOT / "docs/operators.md").read_text("utf-8") == page()
