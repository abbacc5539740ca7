"""The calls to Torch's CUDA graphs, with a driver that stands in for one: streams, the mode of recording, and what a failure leaves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from onnxspace.attribution.cuda_graphs import RECORDING, CudaRecorder, _list_checks
from onnxspace.attribution.gradients import DifferentiableGraph
from onnxspace.attribution.recorded_pass import RecordedPass
from tests.helpers.tape import Tape

DEVICE = torch.device("cuda", 1)
#: What `torch.cuda.graph` takes, beside itself: read before it is replaced.
TAKEN = set(inspect.signature(torch.cuda.graph.__init__).parameters)


class Stream:
    def __init__(self, name: str) -> None:
        self.name, self.waited = name, list[str]()

    def wait_stream(self, other: Stream) -> None:
        self.waited.append(other.name)


class Driver:
    """The current stream and device of one thread, and a recording that a tape makes."""

    def __init__(self) -> None:
        self.main, self.current, self.log = Stream("main"), Stream("main"), list[str]()
        self.current = self.main
        self.options: dict[str, Any] = {}
        self.refuses = False

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.log.append(f"device {device.index}")
        yield

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph: Graph, **options: Any) -> Iterator[None]:
        """As Torch's, it stays on the stream that records where recording ends with an error."""
        assert set(options) <= TAKEN
        assert RECORDING.locked()
        self.options, before, self.current = options, self.current, options["stream"]
        with graph.tape:
            yield
        if self.refuses:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        graph.tape.forget()
        self.current = before


class Graph:
    def __init__(self) -> None:
        self.tape = Tape()

    def replay(self) -> None:
        self.tape.replay()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    found = Driver()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", found.graph)
    monkeypatch.setattr(torch.cuda, "device", found.device)
    monkeypatch.setattr(torch.cuda, "stream", found.stream)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream(f"of {device}"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device=None: found.current)
    monkeypatch.setattr(Tensor, "record_stream", lambda _values, stream: found.log.append(f"used on {stream.name}"))
    return found


def test_the_functions_of_torch_exist() -> None:
    assert {"cuda_graph", "stream", "capture_error_mode"} <= TAKEN
    assert {"replay", "capture_begin", "capture_end"} <= set(dir(torch.cuda.CUDAGraph))
    assert {"wait_stream", "record_event"} <= set(dir(torch.cuda.Stream))


def test_addresses_that_a_recording_has_are_checked_where_torch_can() -> None:
    assert set(_list_checks()) == TAKEN & {"check_input_liveness"}


def test_a_pass_is_warmed_up_on_the_stream_that_records_it(driver: Driver) -> None:
    recorder, x, streams = CudaRecorder(DEVICE), torch.ones(2, 3), list[str]()

    def compute() -> Tensor:
        streams.append(driver.current.name)
        return x * 2

    assert torch.equal(recorder.warm_up(compute), torch.full((2, 3), 2.0))
    recording = recorder.record(compute)
    assert streams == ["of cuda:1", "of cuda:1"]
    assert driver.current is driver.main
    assert driver.main.waited == ["of cuda:1"]
    assert driver.log == ["device 1", "used on main", "device 1"]
    assert driver.options["capture_error_mode"] == "thread_local"
    assert driver.options["stream"].waited == ["main"]
    assert bool(recording.output.isnan().all())  # nothing is computed before a replay
    x.fill_(5)
    recording.replay()
    assert torch.equal(recording.output, torch.full((2, 3), 10.0))
    assert not RECORDING.locked()


def differentiate(driver: Driver, graph: Callable[[Tensor], Tensor]) -> tuple[list[Tensor], str]:
    network = DifferentiableGraph("net.onnx", graph, 1, recorded=RecordedPass(CudaRecorder(DEVICE)))
    found = [network.gradient(torch.full((1, 1, 1, 2), float(k))) for k in range(1, 5)]
    assert driver.current is driver.main
    assert not RECORDING.locked()
    assert network.recorded is not None
    return found, network.recorded.remark


def test_gradients_are_replayed_through_it(driver: Driver) -> None:
    found, remark = differentiate(driver, lambda x: x.square())
    assert [one.flatten().tolist() for one in found] == [[2.0 * k] * 2 for k in range(1, 5)]
    assert remark == ""


def test_a_driver_that_refuses_leaves_the_stream_as_it_was(driver: Driver) -> None:
    driver.refuses = True
    found, remark = differentiate(driver, lambda x: x.square())
    assert [one.flatten().tolist() for one in found] == [[2.0 * k] * 2 for k in range(1, 5)]
    assert remark == (
        "its gradients are computed without CUDA graphs: a pass can't be recorded (CUDA error: operation failed due to a previous "
        "error during capture)."
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: passes are recorded")
def test_a_machine_without_a_gpu_says_so() -> None:
    with pytest.raises((RuntimeError, AssertionError)):
        CudaRecorder(torch.device("cuda", 0)).warm_up(lambda: torch.ones(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_gradients_are_replayed_on_a_gpu() -> None:
    """What the stand-in claims, where it can be tried."""
    place = torch.device("cuda", 0)
    weight = torch.linspace(-1, 1, 4 * 3 * 3 * 3, device=place).reshape(4, 3, 3, 3)

    def graph(x: Tensor) -> Tensor:
        return torch.conv2d(x, weight).relu().square()

    plain = DifferentiableGraph("net.onnx", graph, 1)
    own = DifferentiableGraph("net.onnx", graph, 1, recorded=RecordedPass(CudaRecorder(place)))
    values = [torch.randn(2, 3, 8, 8, device=place) for _ in range(5)]
    found = [own.gradient(one) for one in values]
    for one, given in zip(found, values, strict=True):
        torch.testing.assert_close(one, plain.gradient(given))
    assert own.recorded is not None
    assert own.recorded.remark == ""
