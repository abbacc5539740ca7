"""What a large image costs: a network of the form of IS-Net at 1024 × 1024, one image, by `python benchmarks/attribution.py --large`.

Memory is the peak of the worker of `onnxspace explain` in a process of its own, from opening the file over conversion and verification
to the maps. Time is that of the pass alone: with all activations kept and with those computed again that the bound requires, in turn in
one process; medians of processor time and of time by the clock.
"""

from __future__ import annotations

import contextlib
import io
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

SIDE = 1024
#: The limit of the worker, which is near the least that suffices, and that of the pass alone in bytes.
LIMIT, ROOM = "1.5G", 650 * 2**20
Seconds = tuple[float, float]


def write_network(path: Path, width: int, side: int) -> Path:
    """Write the network with random weights, as after training."""
    from architectures import ISNet

    torch.manual_seed(0)
    network = ISNet(width).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.zeros(1, 3, side, side),), str(path), opset_version=17, dynamo=False, input_names=["image"],
            output_names=[f"side{place}" for place in range(6)], dynamic_axes={"image": {0: "N"}},
        )  # fmt: skip
    return path


def measure_peak(path: Path, image: Path, method: str, limit: str) -> float:
    """GiB that the largest process of `onnxspace explain` takes."""
    command = [sys.executable, "-m", "onnxspace", "explain", str(path), str(image), "--method", method, "--pixels", "unit"]
    command += ["-o", str(path.with_suffix(".png")), "--limits", f"memory={limit},wall=3600,cpu=7200"]
    subprocess.run(command, check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def measure_times(path: Path, method: str, rounds: int, side: int, room: int) -> dict[str, list[Seconds]]:
    """Seconds of processor time and by the clock of one map, with all activations kept and with those that fit into `room` bytes."""
    import onnxspace
    from onnxspace.attribution.checkpointing import SegmentedGraph, plan_segments, profile_graph
    from onnxspace.attribution.explainer import make_explainer
    from onnxspace.inputs.protocol import Setup
    from onnxspace.sandbox.memory import LARGE_BLOCKS, SMALL_BLOCKS, keep_blocks, return_memory
    from onnxspace.torchgraph.encoder_graph import convert

    model, probes = onnxspace.open_model(path), onnxspace.Probes.generate(1, side)
    explainer = make_explainer(model, convert(model, probes.images), Setup(probes, method), torch.device("cpu"))
    values, graph = explainer.prepare_batch(probes.images).values, explainer.network.graph
    profile = profile_graph(graph, values)
    plan = plan_segments(profile, room)
    print(
        f"estimates: {plan_segments(profile, 2**60).peak / 2**20:.0f} MiB with all activations kept, {plan.peak / 2**20:.0f} with those computed again"
    )
    bounded = SegmentedGraph(graph, profile.units, plan.segments)
    runs: dict[str, tuple[int, Callable[[], torch.Tensor]]] = {
        "kept": (LARGE_BLOCKS, lambda: _differentiate(graph, values)),
        "computed again": (SMALL_BLOCKS, lambda: _differentiate(bounded, values)),
    }
    times: dict[str, list[Seconds]] = {name: [] for name in runs}
    maps: dict[str, torch.Tensor] = {}
    for turn in range(rounds + 1):
        for name, (blocks, run) in runs.items():
            keep_blocks(blocks)
            return_memory()
            clock, work = time.perf_counter(), time.process_time()
            maps[name] = run()
            if turn:  # the first warms up
                times[name].append((time.process_time() - work, time.perf_counter() - clock))
    assert torch.equal(maps["kept"], maps["computed again"])
    return times


def _differentiate(graph: Callable[[torch.Tensor], tuple[torch.Tensor, ...]], values: torch.Tensor) -> torch.Tensor:
    point = values.detach().requires_grad_(True)
    explained = torch.stack([output.sum() for output in graph(point)]).sum()
    return torch.autograd.grad(explained, point)[0]


def show_large(folder: Path, rounds: int, width: int, methods: tuple[str, ...] = ("elrp",)) -> None:
    """Print both."""
    from PIL import Image

    import onnxspace

    path, image = write_network(folder / "isnet.onnx", width, SIDE), folder / "image.png"
    Image.fromarray(onnxspace.Probes.generate(1, SIDE).images[0]).save(image)
    for method in methods:  # the peak first: a process begins with that of the one that starts it
        print(f"{method}: {measure_peak(path, image, method, LIMIT):.2f} GiB with --limits memory={LIMIT}", flush=True)
        times = measure_times(path, method, rounds, SIDE, ROOM)
        medians = {name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in times.items()}
        work, clock = (medians["computed again"][place] / medians["kept"][place] for place in (0, 1))
        shown = ", ".join(f"{name} {seconds[0]:.1f} s ({seconds[1]:.1f} s by the clock)" for name, seconds in medians.items())
        print(f"{method}: {shown}; {work:.2f} times the work, {clock:.2f} times the time", flush=True)
