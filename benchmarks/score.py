"""What `onnxspace score` costs: start, three files, ten models, twelve models beside another installation, and its own estimate.

    python -m benchmarks.score [twelve] [estimate] [parts] [--rounds 3] [--before OTHER/bin/onnxspace] [--probe DIR] [--write]

`twelve`: the models of models/ on 300 pictures, with a result folder; with `--before`, the program of another installation takes turns
with this one, and the bytes of both results are compared. The bar is at most .75 of the time of commit 64ccc8d, with the same bytes.
`estimate`: what `--dry-run` says of that run beside what it takes; the bar is a factor of two in time and memory. `parts`: three files
beside plain forward and backward passes of the same converted graphs, and the memory of ten. Each figure is the median of some rounds
in fresh processes; processor time is that of all processes. Run it on an idle machine. `--write` puts the figures of `twelve` and
`estimate` into docs/commands/score.md.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnx

MODELS = Path(__file__).parent.parent / "models"
PAGE = Path(__file__).parent.parent / "docs/commands/score.md"
_FIGURES = re.compile(r"(<!-- figures: benchmarks\.score -->\n).*?(\n<!-- end of figures -->)", re.DOTALL)
THREE = [MODELS / name for name in ("shapes-torch.onnx", "shapes-keras.onnx", "segment-torch.onnx")]
TWELVE = [str(path) for path in sorted(MODELS.glob("*.onnx"))]
BAR, FACTOR, PICTURES = 0.75, 2.0, 300
HERE = (sys.executable, "-m", "onnxspace")
PASSES = """
import sys, time
import torch
import onnxspace as ox
from onnxspace.attribution.maps import engines_for
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.protocol import Setup
from onnxspace.torchgraph.encoder_graph import convert
probes = ox.Probes.generate(64)
models = [ox.open_model(path) for path in sys.argv[1:]]
ready = [(model, convert(model, probes.images[:2])) for model in models]
start = time.perf_counter()
for model, converted in ready:
    for _ in engines_for(model, converted, Setup(probes), Execution.on("cpu")).maps():
        pass
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Taken:
    """What a command took: wall and processor time in seconds, and the peak of resident memory of all its processes in bytes."""

    wall: float
    processor: float
    memory: int
    printed: str


def take(command: Sequence[str], *arguments: str) -> Taken:
    """Run a command line and measure it."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        peak = [0]
        watcher = threading.Thread(target=watch, args=(process, peak), daemon=True)
        watcher.start()
        out = process.communicate()[0]
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} {arguments[0]} failed with exit code {process.returncode}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(wall, processor, peak[0], out)


def watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """Note the largest sum of the resident memory of a process and its children."""
    while process.poll() is None:
        children = [process.pid]
        with suppress(OSError):
            children += map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
        peak[0] = max(peak[0], sum(map(resident, children)))
        time.sleep(0.1)


def resident(process: int) -> int:
    """Resident memory of a process in bytes, 0 where it has ended."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def show_twelve(rounds: int, before: str | None, probe: str) -> str:
    """Both installations in turn, and whether their results are the same."""
    times: dict[str, list[Taken]] = {"before": [], "now": []}
    same = True
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            for name, command in (("before", [before] if before else []), ("now", HERE)):
                if command:
                    to = f"{folder}/{name}-{number}"
                    times[name].append(take(command, "score", *TWELVE, "--probe", probe, "--json", "--output", to))
            if before:
                same &= times["before"][-1].printed == times["now"][-1].printed
                same &= are_same(Path(f"{folder}/before-{number}"), Path(f"{folder}/now-{number}"))
    now = median(times["now"], lambda one: one.wall), median(times["now"], lambda one: one.processor)
    line = f"Twelve models of `models/`, {PICTURES} pictures: {now[0]:.1f} s, {now[1]:.1f} s of processor time"
    if not before:
        return f"{line}."
    old = median(times["before"], lambda one: one.wall), median(times["before"], lambda one: one.processor)
    bytes_ = "the same bytes" if same else "OTHER BYTES"
    return (
        f"{line}; before the pipeline {old[0]:.1f} s and {old[1]:.1f} s: {now[0] / old[0]:.2f} of the time (goal ≤ {BAR}), "
        f"{now[1] / old[1]:.2f} of the processor time, {bytes_}."
    )


def median(taken: Sequence[Taken], key: Callable[[Taken], float]) -> float:
    return statistics.median(map(key, taken))


def are_same(first: Path, second: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) for folder in (first, second)]
    return names[0] == names[1] and all(filecmp.cmp(first / name, second / name, shallow=False) for name in names[0])


def show_estimate(rounds: int, probe: str) -> str:
    """The estimate beside what the command takes."""
    told = json.loads(take(HERE, "score", *TWELVE, "--probe", probe, "--dry-run", "--json").printed)
    taken = [take(HERE, "score", *TWELVE, "--probe", probe, "--json") for _ in range(rounds)]
    wall, memory = median(taken, lambda one: one.wall), median(taken, lambda one: one.memory)
    ratios = told["seconds"] / wall, told["memory"] / memory
    within = all(1 / FACTOR <= ratio <= FACTOR for ratio in ratios)
    return (
        f"`--dry-run` estimates {told['seconds']:.1f} s and {told['memory'] / 2**30:.1f} GiB for it in {told['measured']:.1f} s; it takes "
        f"{wall:.1f} s and {memory / 2**30:.1f} GiB: ratios {ratios[0]:.2f} and {ratios[1]:.2f} "
        f"({'within' if within else 'NOT within'} a factor of two)."
    )


def show_parts(rounds: int) -> None:
    """Start, three files beside their passes alone, and the memory of ten models."""
    start = statistics.median(take(HERE, "--help").wall for _ in range(rounds))
    pairs = [(take(HERE, "score", *map(str, THREE)).wall, passes()) for _ in range(rounds)]
    whole, alone = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"onnxspace --help                            {start:6.2f} s")
    print(f"score, three files of models/, 64 images    {whole:6.2f} s")
    print(f"  attribution passes of these alone         {alone:6.2f} s, ratio {whole / alone:.1f}")
    print(f"peak memory, ten models x 256 images        {peak_of_ten(256):6.2f} GB")


def passes() -> float:
    """Wall time of the attribution passes alone for the three files, everything loaded before."""
    done = subprocess.run([sys.executable, "-c", PASSES, *map(str, THREE)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def peak_of_ten(images: int) -> float:
    """Peak resident memory, in GB, of all processes that score ten different files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [different(source, Path(folder)) for source in sorted(MODELS.glob("*.onnx"))[:10]]
        return take(HERE, "score", *paths, "--images", str(images)).memory / 1e9


def different(source: Path, folder: Path) -> str:
    """A copy with another digest, so that no maps are shared."""
    model = onnx.load(source)
    model.producer_version = f"{model.producer_version} {source.stem}"
    onnx.save(model, folder / source.name)
    return str(folder / source.name)


def draw_pictures(folder: Path) -> str:
    """Write generated scenes as pictures, where no folder of photos is named."""
    from PIL import Image

    from onnxspace.inputs.scenes import render

    for number in range(PICTURES):
        Image.fromarray(render(1, number, 224)).save(folder / f"{number:03}.png")
    return str(folder)


def write_page(lines: Sequence[str], rounds: int) -> None:
    """Put the figures into the page, with the machine."""
    from benchmarks.attribution import machine

    text = f"{' '.join(lines)} (Medians of {rounds} rounds; {machine()}.)"
    PAGE.write_text(_FIGURES.sub(lambda found: found[1] + text + found[2], PAGE.read_text("utf-8")), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=["twelve", "estimate", "parts", []], default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", metavar="PROGRAM", help="the program of another installation")
    parser.add_argument("--probe", metavar="DIR", help="pictures [default: 300 generated scenes]")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    parts, lines = given.parts or ("twelve", "estimate", "parts"), []
    with tempfile.TemporaryDirectory() as folder:
        probe = given.probe or draw_pictures(Path(folder))
        for name, show in (("twelve", lambda: show_twelve(given.rounds, given.before, probe)),
                           ("estimate", lambda: show_estimate(given.rounds, probe))):  # fmt: skip
            if name in parts:
                lines.append(show())
                print(lines[-1], flush=True)
    if "parts" in parts:
        show_parts(given.rounds)
    if given.write and lines:
        write_page(lines, given.rounds)


if __name__ == "__main__":
    main()
