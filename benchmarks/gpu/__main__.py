"""What a GPU gives: the same maps as the CPU, and how fast, in at most eight minutes.

`python -m benchmarks.gpu` runs on the first CUDA device and writes docs/gpu.md and docs/gpu.json; `--device cpu --small` runs the same
parts on a CPU in about a minute, with small networks, and prints the page. Every part has a time; what no longer fits into `--seconds` is skipped, and
the page says so. Networks are those of `models/` and, where torchvision is installed, larger ones with random weights. captum and
zennit are measured where they are installed. `--reads FOLDER` prints something else, on any machine: what the graph of each ONNX file of a
folder reads from tensors and copies from the host, for which a GPU would be waited for.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.gpu.agreement import check_determinism, compare_devices, halve_batches
from benchmarks.gpu.bench import ROOT, Bench, Row
from benchmarks.gpu.features import compare_features
from benchmarks.gpu.page import describe, render
from benchmarks.gpu.reads import count_folder, render_reads
from benchmarks.gpu.recordings import compare_recordings
from benchmarks.gpu.speed import compare_precisions, explain_many, measure_speed
from onnxspace.errors import OnnxspaceError

PAGE = ROOT / "docs/gpu.md"
#: For each part its line on the page, the seconds that it may take, and what computes its rows.
PARTS: dict[str, tuple[str, float, Callable[[Bench], Iterator[Row]]]] = {
    "Maps of CPU and GPU": ("In float32: the least cosine of an image's map; at least 0.9999", 100, compare_devices),
    "Determinism": ("The same maps, computed twice", 40, check_determinism),
    "Memory": ("A batch that does not fit is halved", 30, halve_batches),
    "CUDA graphs": (
        "Maps of passes that are recorded, beside usual ones; on a CPU by a stand-in, whose speed says nothing",
        50,
        compare_recordings,
    ),
    "Features": ("Relative to the largest value of ONNX Runtime on the CPU; at most 0.002", 40, compare_features),
    "Speed": ("Images per second at one batch", 70, measure_speed),
    "Precisions": ("ε-LRP, cosine with float32", 80, compare_precisions),
    "Many models": ("Without the time of conversion", 70, explain_many),
}


def run_parts(bench: Bench) -> None:
    end = bench.until
    for name, (_, seconds, part) in PARTS.items():
        if end - time.monotonic() < 10:
            bench.skipped.append(f"{name}: no time was left")
            continue
        bench.until = min(end, time.monotonic() + seconds)
        begin, rows = time.monotonic(), bench.rows.setdefault(name, [])
        try:
            for row in part(bench):
                rows.append(row)
                if bench.left < 0:
                    bench.skipped.append(f"the rest of {name} after {len(rows)} rows: its {seconds:.0f} s were over")
                    break
        except (RuntimeError, OnnxspaceError, ValueError) as error:
            rows.append(
                {"network": "", "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:120]}", "passed": False}
            )
        print(f"{name}: {len(rows)} rows in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    bench.until = end


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="small networks and few images, and no page is written")
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument(
        "--reads", type=Path, metavar="FOLDER", help="print what the graphs of its ONNX files read, and nothing else"
    )
    parser.add_argument(
        "--outputs", action="store_true", help="with --reads: of the graph up to the outputs, not to the encoder"
    )
    chosen = parser.parse_args()
    if chosen.reads is not None:
        return print_reads(chosen.reads, outputs=chosen.outputs)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("Torch sees no CUDA device here; --device cpu --small tries the script without one")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(torch.device(chosen.device), chosen.small, time.monotonic() + chosen.seconds, Path(folder))
        run_parts(bench)
    page = render(bench, {name: title for name, (title, _, _) in PARTS.items()})
    print(page)
    if not chosen.small:
        PAGE.write_text(page, "utf-8")
        found = {"device": describe(bench.device), "parts": bench.rows, "skipped": bench.skipped}
        PAGE.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return int(any(row.get("passed") is False for rows in bench.rows.values() for row in rows))


def print_reads(folder: Path, *, outputs: bool = False) -> int:
    """Print the table of what graphs read; 1 where an operator does that is not in the table of docs/operators.md."""
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in count_folder(folder, outputs=outputs):
            print(f"{row.name}: {row.error or f'{row.reads + row.nonzero} reads'}", file=sys.stderr)
            rows.append(row)
    print(render_reads(rows))
    return int(any(row.odd for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
