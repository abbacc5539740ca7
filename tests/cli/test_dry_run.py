"""`score --dry-run`: an estimate, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxspace.cli.text.estimate import estimate_lines
from onnxspace.sandbox.peak_memory import take_peak_memory
from onnxspace.workflows.score_estimate import Line, ModelEstimate, ScoreEstimate
from tests.helpers.commands import Run, runner, save_classifiers


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd, "score")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(save_classifiers(tmp_path, "ab"))
    return tmp_path


def list_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_models_are_measured_on_few_images_and_nothing_is_written(place: Path, run: Run) -> None:
    before = list_files(place)
    code, out, _ = run("a.onnx", "b.onnx", "missing.onnx", "--images", "40", "--output", "kept", "--dry-run", "--json")
    found = json.loads(out)
    assert (code, found["schema"], found["kept"], found["sample"]) == (2, "onnxspace/score-estimate/1", "kept", [2, 8])
    assert [one["name"] for one in found["models"]] == ["a", "b"]
    assert [one["path"] for one in found["failed"]] == ["missing.onnx"]
    maps = 40 * 224 * 224 * 2
    assert all(maps <= one["disk"] < maps + 40 * 128 and one["seconds"] > 0 for one in found["models"])
    assert list_files(place) == before


def test_pictures_that_rank_sources_are_measured_with_their_scores(place: Path, run: Run) -> None:
    (place / "photos").mkdir()
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(place / "photos" / f"{number}.png")
    code, out, _ = run("a.onnx", "b.onnx", "--probe", "photos", "--dry-run", "--json")
    found = json.loads(out)
    assert (code, found["sample"], found["kept"], found["probe"]["images"]) == (0, [8, 12], None, 12)
    assert found["comparing"] > 0
    code, out, _ = run("a.onnx", "b.onnx", "--probe", "photos", "--dry-run")
    assert (code, out.splitlines()[0].split()) == (0, ["model", "time", "memory", "disk"])
    assert "temporary files; estimated from 8 and 12 of the images" in out


def test_fingerprints_take_nothing_and_broken_ones_are_named(place: Path, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert runner(capfd)("fingerprint", "a.onnx", "--images", "8", "-o", "print.fp")[0] == 0
    (place / "broken.fp").write_bytes(b"no print")
    code, out, err = run("print.fp", "broken.fp", "b.onnx", "--dry-run")
    assert (code, out.splitlines()[1].split()[0]) == (2, "b")
    assert "all: 1 model, 8 images" in out
    assert "broken.fp" in err
    assert "different probe images" not in err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--cluster", "local:2"), "leave out --cluster"),
        (("--by", "finetune", "--target", "a", "--probe", "photos"), "does not take --dry-run"),
    ],
)
def test_what_can_not_be_measured_is_refused(place: Path, run: Run, more: tuple[str, ...], sentence: str) -> None:
    assert (place / "a.onnx").exists()
    code, out, err = run("a.onnx", "b.onnx", "--dry-run", *more)
    assert (code, out) == (2, "")
    assert sentence in err


def test_a_line_goes_through_both_measurements_and_never_falls() -> None:
    line = Line((2, 1.2), (8, 1.8))
    assert (line(2), line(8), line(58), line.start) == pytest.approx((1.2, 1.8, 6.8, 1.0))
    assert Line((2, 3.0), (8, 1.0))(100) == 1.0
    assert Line((4, 1.0), (4, 2.0))(4) == 2.0


def estimate(*models: ModelEstimate, pipelined: bool) -> ScoreEstimate:
    probe = {"name": "generated-0", "images": 64, "size": 224, "sha256": "0" * 64}
    return ScoreEstimate("elrp", probe, None, models, (), 2.0, 3.0, 2**28, pipelined, None, (2, 8), 1.0)


def test_a_pipeline_hides_conversions_and_takes_two_workers() -> None:
    models = [ModelEstimate(name, f"{name}.onnx", 5.0, 2**30, 2**20, conversion=2.0) for name in "abc"]
    assert estimate(*models, pipelined=False).seconds == 20.0
    assert estimate(*models, pipelined=True).seconds == 16.0
    assert estimate(*models, pipelined=False).memory == 2**28 + 2**30
    assert estimate(*models, pipelined=True).memory == 2**28 + 2**31
    assert "about 16.0 s, 2.2 GiB of memory, 3 MiB of disk" in "\n".join(estimate_lines(estimate(*models, pipelined=True)))


def test_the_peak_of_memory_is_of_the_time_since_it_was_asked() -> None:
    take_peak_memory()
    held = np.ones(2**26, np.uint8)
    first = take_peak_memory()
    size = held.nbytes
    del held
    assert take_peak_memory() <= first
    assert first - take_peak_memory() > size // 2
