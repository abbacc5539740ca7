"""What a map costs where a machine is busy, and in a container with a quota: python -m benchmarks.busy [busy] [quota].

`busy`: ε-LRP and saliency of a ResNet-50 with random weights, one image of 224 × 224, beside `--processes` others that compute
without end; with threads that wait as the libraries have them (they spin), and as in a worker of this project (they soon sleep).
`quota`: the same in a control group with a quota of one processor (version 1, needs root), with as many threads as a worker takes
and with as many as the libraries take. Medians of interleaved rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

GROUP = Path("/sys/fs/cgroup/cpu/onnxspace-benchmark")
SPIN = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["busy", "quota", []], default=[])
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.model is not None:
        print(json.dumps(measure(given.model, given.rounds)))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = write_network(Path(folder) / "resnet50.onnx")
        for part in given.parts or ("busy", "quota"):
            show_busy(model, given.rounds, given.processes) if part == "busy" else show_quota(model, given.rounds)


def show_busy(model: Path, rounds: int, processes: int) -> None:
    """Print the times with and without other processes, both ways of waiting in turn."""
    from onnxspace.sandbox.processors import thread_environment

    bare = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    }
    for count in (0, processes):
        with keep_busy(count):
            for words, more in (("threads soon sleep", thread_environment(bare)), ("threads spin", {})):
                show(f"{count} other processes, {words}", ask({**bare, **more}, model, rounds))


def show_quota(model: Path, rounds: int) -> None:
    """Print the times in a control group that may keep one processor busy."""
    try:
        GROUP.mkdir()
        (GROUP / "cpu.cfs_quota_us").write_text("100000")
    except OSError as error:
        print(f"quota: left out, no control group can be made ({error.strerror})")
        return
    try:
        show("quota of 1, threads as a worker has them", ask(dict(os.environ), model, rounds, quota=True))
        show("quota of 1, one thread by hand", ask({**os.environ, "OMP_NUM_THREADS": "1"}, model, rounds, quota=True))
        both = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())}
        show(f"quota of 1, {os.cpu_count()} threads by hand", ask(both, model, rounds, quota=True))
    finally:
        with suppress(OSError):
            GROUP.rmdir()


def show(words: str, times: Mapping[str, float]) -> None:
    shown = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in times.items())
    print(f"{words}: {shown}; ε-LRP / saliency {times['elrp'] / times['saliency']:.2f}", flush=True)


def ask(environment: Mapping[str, str], model: Path, rounds: int, *, quota: bool = False) -> dict[str, float]:
    """Measure in a process with this environment, which joins the control group first where `quota` says so."""
    command = [sys.executable, "-m", "benchmarks.busy", "--model", str(model), "--rounds", str(rounds)]

    def join() -> None:
        (GROUP / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run(command, env=dict(environment), check=True, capture_output=True, preexec_fn=join if quota else None)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(model: Path, rounds: int) -> dict[str, float]:
    """Seconds of each contestant, medians."""
    from onnxspace.sandbox.processors import thread_environment

    if GROUP.exists():  # as a worker is started, before its libraries are loaded
        os.environ |= thread_environment(os.environ)
    import benchmarks.attribution as attribution

    attribution.BATCH = 1
    runs: dict[str, Callable[[], object]] = {m: attribution.ours(model, m, "cpu")[0] for m in ("saliency", "elrp")}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:  # the first warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


@contextmanager
def keep_busy(processes: int) -> Iterator[None]:
    """Run so many processes that compute without end while the block runs."""
    started = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


def write_network(path: Path) -> Path:
    """Write a ResNet-50 with random weights, up to its pooled features."""
    import torch
    from torch import nn

    from benchmarks.diff import Bottleneck

    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for middle, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            layers.append(Bottleneck(inputs, middle, 1 if number else stride))
            inputs = 4 * middle
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    torch.onnx.export(
        network, (torch.zeros(1, 3, 224, 224),), str(path), opset_version=17, dynamo=False, input_names=["x"],
        output_names=["features"], dynamic_axes={"x": {0: "N"}},
    )  # fmt: skip
    return path


if __name__ == "__main__":
    main()
