"""Commands that rank, where nothing has a value to be ranked by: one sentence with the reasons, and exit code 2."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxspace.cli.text.unranked import describe_unranked
from onnxspace.similarity.affinity import Affinity
from onnxspace.workflows.space import Space
from tests.helpers.commands import Run, runner
from tests.helpers.nets import Net, classifier, save

SMALL = ("--images", "4")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Two networks without classes (dense), two whose features are zero (dead), one whose outputs never vary, a usual one, photos."""
    monkeypatch.chdir(tmp_path)
    save(classifier(), tmp_path / "usual.onnx")
    for seed in range(2):
        net = Net(seed=seed)
        save(net.model([net.conv(net.add("Relu", net.conv("image", 3, 6)), 6, 5)]), tmp_path / f"dense{seed}.onnx")
        save(dead(seed), tmp_path / f"dead{seed}.onnx")
        save(constant(seed), tmp_path / f"constant{seed}.onnx")
    for number in range(12):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    return runner(capsys)


def dead(seed: int) -> onnx.ModelProto:
    net = Net(seed=seed)
    x = net.add("Relu", net.add("Sub", net.add("Relu", net.conv("image", 3, 8)), net.weight([1e6])))
    return net.model([net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 8, 3)])


def constant(seed: int) -> onnx.ModelProto:
    """Features as usual, and an output that is the same for all images."""
    net = Net(seed=seed)
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4))))
    return net.model([net.add("Mul", net.dense(x, 8, 3), net.weight([0.0]))])


def failed(found: tuple[int, str, str], message: str) -> None:
    code, out, err = found
    assert (code, out) == (2, "")
    assert [line for line in err.splitlines() if message in line]
    assert len([line for line in err.splitlines() if line.startswith("onnxspace:")]) == 1


def test_transfer(run: Run) -> None:
    words = ("transfer", "dense0.onnx", "dense1.onnx", "--data", "photos", "--by", "leep")
    failed(run(*words), "onnxspace: No model has a value of leep: dense0: dense0 has no output with a value per class")
    code, out, err = run(*words, "--json", "--quiet")
    assert (code, json.loads(out)["ranking"]) == (2, [])
    assert len(err.splitlines()) == 1
    code, out, _ = run(*words[:2], "usual.onnx", *words[3:], "--quiet")
    assert (code, out[:14]) == (0, "Ranked by leep")


def test_transfer_names_a_model_without_usable_features_and_ranks_nothing(run: Run) -> None:
    code, out, err = run("transfer", "dead0.onnx", "--data", "photos")
    assert (code, out) == (2, "")
    assert "onnxspace: dead0: The features are the same for every image, so there is nothing to score. Name another" in err
    assert "This ranking" not in err


@pytest.mark.parametrize("words", [("inspect",), ("transfer", "--data", "photos")])
def test_a_fingerprint_where_a_model_is_meant(run: Run, words: tuple[str, ...]) -> None:
    run("fingerprint", "usual.onnx", "-o", "usual.fp", *SMALL)
    code, out, err = run(*words, "usual.fp")
    assert (code, out) == (2, "")
    assert "onnxspace: usual.fp is a fingerprint, which this command can't use. Give the model itself." in err


def test_the_prose_of_transfer_fits_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, err = run("transfer", "usual.onnx", "--data", "photos")
    table = out.split("\n\n")[1]
    assert max(map(len, out.replace(table, "").splitlines())) <= 80
    assert "This ranking doesn't use results" in err


def test_score_by(run: Run) -> None:
    failed(run("score", "dead0.onnx", "dead1.onnx", "--by", "cka", *SMALL, "--quiet"), "No pair of models has a value of cka: ")
    _, out, _ = run("score", "dead0.onnx", "dead1.onnx", "usual.onnx", "--by", "predictivity", *SMALL, "--quiet")
    assert "Most alike to usual" in out


def test_score_by_what_predicts_transfer(run: Run) -> None:
    words = ("score", "constant0.onnx", "constant1.onnx", "--probe", "photos", "--by", "predictivity", "--quiet")
    failed(run(*words), "No pair of models has a value of predictivity")
    failed(run(*words, "--certainty"), "No pair of models has a value of predictivity")


def test_space_rank(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("space", "create", "z.space", "--probe", "photos", "--images", "12")[0] == 0
    assert run("space", "add", "z.space", "constant0.onnx", "constant1.onnx", "--quiet")[0] == 0
    code, out, _ = run("space", "rank", "z.space", "--quiet")
    assert (code, "best first by dds" in out) == (0, True)  # outputs never vary, but features do
    compare = Space.compare

    def without_values(*args: Any, **named: Any) -> Affinity:
        found = compare(*args, **named)
        empty = np.full_like(found.matrix, np.nan)
        return replace(found, matrix=empty, scores=dict.fromkeys(found.scores, empty))

    monkeypatch.setattr(Space, "compare", without_values)
    failed(run("space", "rank", "z.space", "--quiet"), "onnxspace: No pair of models has a value of ")
    assert run("space", "rank", "z.space", "--json")[0] == 2


def test_layers(run: Run) -> None:
    words = ("layers", "dead0.onnx", "usual.onnx", *SMALL)
    failed(run(*words), "onnxspace: No layer of dead0 can be compared with usual: t")
    code, out, _ = run(*words, "--json", "--quiet")
    assert (code, json.loads(out)["best"]) == (2, None)


def test_finetune(run: Run) -> None:
    code, out, err = run("transfer", "missing.onnx", "--data", "photos", "--by", "finetune", "--budget", "2s", "--quiet")
    assert (code, out) == (2, "")
    assert "missing.onnx" in err


def test_more_reasons_than_are_shown() -> None:
    found = describe_unranked("Nothing", [f"reason {k}." for k in range(5)])
    assert found == "Nothing: reason 0; reason 1; reason 2; and 2 more reasons."
