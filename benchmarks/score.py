"""What `onnxspace score` costs: start, three files, ten models, and the share that is not attribution.

    python benchmarks/score.py [--rounds 3]

Each line is the median of some rounds in fresh processes. The ratio compares the whole command with plain forward and
backward passes of the same converted graphs on the same images in the same run (set-up, reading, checking, storing and
comparing come on top of those). Run it on an idle machine; absolute seconds mean little elsewhere.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx

MODELS = Path(__file__).parent.parent / "models"
THREE = [MODELS / name for name in ("shapes-torch.onnx", "shapes-keras.onnx", "segment-torch.onnx")]
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


def seconds(*arguments: str) -> float:
    """Wall time of one run of the command line."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "onnxspace", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def passes() -> float:
    """Wall time of the attribution passes alone for the three files, everything loaded before."""
    done = subprocess.run([sys.executable, "-c", PASSES, *map(str, THREE)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def peak_of_ten(images: int) -> float:
    """Peak resident memory, in GB, of scoring ten different files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [different(source, Path(folder)) for source in sorted(MODELS.glob("*.onnx"))[:10]]
        seconds("score", *paths, "--images", str(images))
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def different(source: Path, folder: Path) -> str:
    """A copy with another digest, so that no maps are shared."""
    model = onnx.load(source)
    model.producer_version = f"{model.producer_version} {source.stem}"
    onnx.save(model, folder / source.name)
    return str(folder / source.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = range(parser.parse_args().rounds)
    peak = peak_of_ten(256)
    start = statistics.median(seconds("--help") for _ in rounds)
    pairs = [(seconds("score", *map(str, THREE)), passes()) for _ in rounds]
    whole, alone = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"onnxspace --help                            {start:6.2f} s")
    print(f"score, three files of models/, 64 images    {whole:6.2f} s")
    print(f"  attribution passes of these alone         {alone:6.2f} s, ratio {whole / alone:.1f}")
    print(f"peak memory, ten models x 256 images        {peak:6.2f} GB")


if __name__ == "__main__":
    main()
