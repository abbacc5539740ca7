"""`--threads` in the processes that compute: what Torch, ONNX Runtime and BLAS have there, whatever the environment says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onnxspace.finetuning.race import Rung
from onnxspace.sandbox import process, worker
from onnxspace.sandbox.processors import count_threads
from onnxspace.sandbox.worker import close_idle_workers
from onnxspace.scores.threads import map_in_threads
from onnxspace.workflows.finetuning_task import Training
from tests.helpers.commands import exit_code, save_classifiers
from tests.helpers.paths import REPOSITORY
from tests.helpers.trainable import draw_pictures
from tests.sandbox.measured_tasks import LOG, MEASURED

pytestmark = pytest.mark.process
MODELS = ("a.onnx", "b.onnx")
FINETUNE = ("--by", "finetune")
SCORE_FINETUNE = ("score", *MODELS, *FINETUNE, "--target", "a", "--probe", "photos")
#: What is computed. The environment says two threads, the command one.
COMMANDS: dict[str, Sequence[str]] = {
    "score": ("score", *MODELS, "--images", "4", "--by", "cka", "--by", "attribution"),
    "score --by finetune": SCORE_FINETUNE,
}
EXHAUSTIVE: dict[str, Sequence[str]] = {
    "explain": ("explain", "a.onnx", "photos/0/0.png", "-o", "maps.png"),
    "fingerprint": ("fingerprint", "a.onnx", "-o", "a.fp", "--images", "2"),
    "space add": ("space", "add", "zoo.space", *MODELS),
    "check": ("check", "a.onnx", "--against", "b.onnx", "--images", "2"),
    "diff": ("diff", *MODELS),
    "layers": ("layers", *MODELS, "--images", "4"),
    "transfer": ("transfer", *MODELS, "--data", "photos"),
    "transfer --by finetune": ("transfer", *MODELS, "--data", "photos", *FINETUNE, "--workers", "2"),
}


def save_photos(folder: Path) -> None:
    for number, image in enumerate(draw_pictures(16)):
        place = folder / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image // 3 if number % 2 else image).save(place / f"{number}.png")


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandboxed: None) -> Path:
    """A folder with models, photos and a space; all workers note in the file `log` how many threads they have."""
    monkeypatch.chdir(save_classifiers(tmp_path, "ab"))
    save_photos(tmp_path / "photos")
    assert exit_code("space", "create", "zoo.space", "--images", "2", "--quiet") == 0
    start = process.start_process

    def start_measuring(arguments: Sequence[str], environment: dict[str, str], *rest: Any) -> Any:
        return start(["tests.sandbox.measured_tasks", *arguments[1:]], {**environment, MEASURED: arguments[0]}, *rest)

    close_idle_workers()
    monkeypatch.setattr(worker, "start_process", start_measuring)
    monkeypatch.setattr("onnxspace.workflows.finetune.RUNGS", (Rung(1, 1.0),))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return tmp_path / "log"


def read_log(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def run_measured(command: Sequence[str], log: Path, threads: int = 1) -> list[dict[str, Any]]:
    """What the workers of the command have noted."""
    try:
        assert exit_code(*command, "--threads", str(threads), "--quiet") in (0, 1)
    finally:
        close_idle_workers()
    return read_log(log)


def check(command: Sequence[str], log: Path) -> None:
    found = run_measured(command, log)
    assert found
    for one in found:
        assert (one["torch"], one["session"], set(one["libraries"])) == (1, 1, {1}), one


@pytest.mark.parametrize("name", COMMANDS)
def test_threads_reach_each_process(name: str, measured: Path) -> None:
    check(COMMANDS[name], measured)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_threads_reach_each_process_of_other_commands(name: str, measured: Path) -> None:
    check(EXHAUSTIVE[name], measured)


@pytest.mark.exhaustive
def test_a_single_process_that_trains_has_all_threads(measured: Path) -> None:
    command = ("transfer", *MODELS, "--data", "photos", *FINETUNE, "--workers", "1")
    assert {(one["torch"], one["session"]) for one in run_measured(command, measured, 3)} == {(3, 3)}


@pytest.mark.parametrize(
    ("workers", "threads", "expected"), [(0, 3, (3, 1)), (2, 0, (2, 1)), (2, 6, (2, 3)), (4, 2, (4, 1)), (1, 3, (1, 3))]
)
def test_processes_that_train_share_the_threads(workers: int, threads: int, expected: tuple[int, int]) -> None:
    assert Training(Path(), workers=workers, threads=threads).processes == expected


def test_one_thread_is_one_busy_process(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No second one prepares the next model, and scores are computed in one thread."""
    seen: list[int] = []

    def note(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        seen.append(count_threads())
        return map_in_threads(function, items)

    monkeypatch.setattr("onnxspace.workflows.ahead.count_processors", lambda: 8)
    monkeypatch.setattr("onnxspace.scores.directed.map_in_threads", note)
    command = ("score", *MODELS, "--images", "8", "--by", "predictivity", "--by", "attribution")
    assert len({one["process"] for one in run_measured(command, measured)}) == 1
    assert set(seen) == {1}
