"""What all tests share: fixtures, the marker of tests that start processes, one thread for each of the workers.

`pyproject.toml` runs tests in as many processes as there are processors. So that they don't get in each other's way, libraries
take one thread each, in the processes that tests start as well; whoever sets OMP_NUM_THREADS has another number.
"""

from __future__ import annotations

import gc
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy and Torch are imported
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # which container images set: see pytest_configure

from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from threadpoolctl import ThreadpoolController

from onnxspace.checking.sandbox import run_in_child
from onnxspace.sandbox.worker import borrow_worker, start_workers
from tests.helpers.commands import Run, drawn_once, runner, save_classifiers, sketch_result
from tests.helpers.direct import borrow_direct, check_directly
from tests.helpers.warm import interpreter

#: Fixtures by which a test starts a process or mounts a disk.
PROCESSES = {"sandboxed", "warm_python", "warm_children", "cluster", "small_disk"}


def pytest_configure() -> None:
    """Let Python keep what it compiles: compiling all tests again takes each process longer than importing Torch.

    Garbage is collected after more objects than usual, as most of what tests create is freed without it.
    """
    sys.dont_write_bytecode = False
    gc.set_threshold(20_000, 10, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts processes by a fixture; what starts them itself says so."""
    for item in items:
        if PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker("process")


@pytest.fixture(scope="module", autouse=True)
def frozen_objects() -> None:
    """What is there before a module's tests, libraries above all, is left out of garbage collection, which would look through it all.

    It is frozen for each module: what libraries and pytest keep grows from one to the next, and conversions collect each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An interpreter that has imported everything: see tests/helpers/warm."""
    with interpreter(tmp_path_factory.mktemp("warm")) as path:
        yield path


@pytest.fixture
def warm_children(warm_python: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started by `sys.executable` has imported everything already."""
    monkeypatch.setattr("sys.executable", str(warm_python))


@pytest.fixture(scope="session", autouse=True)
def no_lines_of_progress() -> Iterator[None]:
    """What a command prints does not depend on how long a busy machine takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnxspace.cli.console.INTERVAL", float("inf"))
        yield


@pytest.fixture(scope="session", autouse=True)
def models_in_this_process() -> Iterator[None]:
    """Models are read and run in the tests' own process, except where a test asks for `sandboxed`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnxspace.workflows.session.borrow_worker", borrow_direct)
        patch.setattr("onnxspace.workflows.session.start_workers", lambda *arguments: None)
        patch.setattr("onnxspace.checking.observe.run_in_child", check_directly)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Files are not synchronised in the tests' own process: no test ends the machine, and each wait takes milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda number: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def versions_read_once() -> Iterator[None]:
    """Versions of libraries, which each run notes, are read from their metadata once in a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onnxspace.inputs.protocol.version", cache(version))
        yield


@pytest.fixture(scope="session", autouse=True)
def libraries_listed_once() -> Iterator[None]:
    """Libraries that have threads, which each limit looks for among all that are loaded, are listed anew after imports only."""

    @lru_cache(1)
    def list_libraries(loaded: int, controller: type[ThreadpoolController] = ThreadpoolController) -> ThreadpoolController:
        return controller()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("threadpoolctl.ThreadpoolController", lambda: list_libraries(len(sys.modules)))
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_pictures() -> Iterator[None]:
    """PNG files have the same pixels, and are less compressed: that took most of the time of a small picture."""
    Image.preinit()
    write = Image.SAVE["PNG"]

    def write_quickly(image: Image.Image, *arguments: Any) -> None:
        image.encoderinfo.setdefault("compress_level", 1)
        write(image, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Image.SAVE, "PNG", write_quickly)
        yield


@pytest.fixture
def sandboxed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are read and run in worker processes, as a user has it."""
    monkeypatch.setattr("onnxspace.workflows.session.borrow_worker", borrow_worker)
    monkeypatch.setattr("onnxspace.workflows.session.start_workers", start_workers)
    monkeypatch.setattr("onnxspace.checking.observe.run_in_child", run_in_child)


@pytest.fixture(autouse=True)
def shared_conversions() -> Iterator[None]:
    """A model is converted once for all tests: see tests/helpers/shared_conversions.py, which imports Torch."""
    if "onnxspace.torchgraph.encoder_graph" not in sys.modules:
        yield
        return
    from tests.helpers.shared_conversions import sharing_conversions

    with sharing_conversions():
        yield


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are not wrapped, wherever the tests run."""
    monkeypatch.delenv("COLUMNS", raising=False)
    os.unsetenv("COLUMNS")  # which the library readline sets for child processes, past os.environ


@pytest.fixture(autouse=True)
def drawn_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each generated image is drawn once in a process; tests/inputs, which test the drawing, override this."""
    monkeypatch.setattr("onnxspace.inputs.probes.render", drawn_once)


@pytest.fixture
def drawn_results() -> None:
    """Pictures of affinities are drawn, in folders of tests whose results are sketched."""


@pytest.fixture
def sketched_results(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of affinities are text, unless a test asks for `drawn_results`."""
    if "drawn_results" in request.fixturenames:
        return
    monkeypatch.setattr("onnxspace.report.heatmap.draw_affinity", sketch_result)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the small classifiers a.onnx, b.onnx, … that the module names: `CLASSIFIERS = "ab"`.

    `CLASSIFIER_OPTIONS` of the module are those of `tests.helpers.nets.classifier`.
    """
    monkeypatch.chdir(tmp_path)
    return save_classifiers(tmp_path, request.module.CLASSIFIERS, **getattr(request.module, "CLASSIFIER_OPTIONS", {}))


@pytest.fixture
def run(request: pytest.FixtureRequest, place: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """`onnxspace ARGUMENTS…` in that folder → exit code, standard output, standard error.

    A module that tests one command names it: `COMMAND = "evaluate"`.
    """
    command = getattr(request.module, "COMMAND", None)
    return runner(capfd, *([command] if command else []))
