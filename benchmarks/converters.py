"""Which networks convert, by which route, how closely and how fast: writes docs/converters.md.

    pip install timm && python benchmarks/converters.py [--only NAME] [--write]

Those of other frameworks are in benchmarks/frameworks.py, and run where these are installed: `--only keras:`, `--only tflite:`,
`--only int8:`, `--only jax:`. `--write` puts the rows that were measured into the page, and leaves the others there.

Every network has random weights, with some noise so that equal tensors are not merged, and a process of its own. Seconds are
those of the framework's exporter; the ratio is the whole conversion, verification left out, to that.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from architectures import FAMILIES, network
from frameworks import NAMES
from frameworks import loaded as of_framework

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/converters.md"
_HEAD = """# Which networks convert

From `python benchmarks/converters.py --write`: networks with random weights, each verified against its framework on random and on generated
images, within 1e-5 of the largest output, or 3e-2 for int8, which rounds elsewhere. The difference is what was found; maps is the smallest cosine
of saliency and gradient × input of the whole network with the framework's own gradients, on two generated images; seconds are the exporter's own,
on a machine with other work to do, in memory; the ratio is the whole conversion without verification, the file's writing included, to that.

An int8 file has no gradient in its own framework. What its maps are is tested on a small network: TensorFlow's gradient through the file's whole
weights as real numbers, with the file's steps between layers passed straight through (1 within a step's range, 0 outside). Those are
the maps to within 1e-9. The network it was made from has other maps, by as much as quantisation changed it (a cosine above .9 there).

| framework | network | image | route | opset | difference | maps | seconds | ratio |
|---|---|---|---|---|---|---|---|---|
"""


def measure(name: str) -> str:
    """One row of the table."""
    import logging

    from onnxspace.exporters import Request
    from onnxspace.inputs.config import ModelOptions
    from onnxspace_converters.deliver import deliver
    from onnxspace_converters.torch_routes import adapt_module as loaded

    sys.path.insert(0, str(ROOT))
    from tests.helpers.slopes import last, nearest, of_torch

    logging.disable(logging.ERROR)
    with TemporaryDirectory() as folder:
        target = Path(folder, "net.onnx")
        if name in NAMES:
            ready, slopes = of_framework(name, Path(folder))
        else:
            made, size = (_resnet50(), 224) if name == "resnet50" else (network(name), FAMILIES[name])
            ready, slopes = loaded(made, (3, size, size), ModelOptions()), partial(of_torch, made)
        facts = deliver(ready, name, target, Request())
        cosine = "" if slopes is None else f"{nearest(target, last(target), slopes, max(ready.shape), 2):.6f}"
    took, whole = facts.seconds["export"], facts.seconds["convert"]
    cells = (
        ready.framework,
        _said(name),
        "×".join(map(str, sorted(ready.shape)[1:])),
        facts.route,
        facts.opset,
        f"{facts.difference:.1e}",
        cosine,
        f"{took:.0f}",
        f"{whole / took:.2f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _said(name: str) -> str:
    """`int8 ResNet50` of `int8:ResNet50`, `ResNet50` of `keras:ResNet50`."""
    kind, _, short = name.rpartition(":")
    return f"int8 {short}" if kind == "int8" else short


def _resnet50() -> object:
    import torch
    from torchvision import models

    torch.manual_seed(0)
    return models.resnet50(weights=None).eval()


def row(name: str) -> str:
    """The same from a process of its own; a row that says why where it fails."""
    done = subprocess.run([sys.executable, __file__, "--measure", name], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"| {name.rpartition(':')[0] or 'PyTorch'} | {_said(name)} | | no route: {(done.stderr.splitlines() or ['?'])[-1][:160]} | | | | | |"
    return done.stdout.splitlines()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--measure")
    chosen = parser.parse_args()
    if chosen.measure:
        print(measure(chosen.measure))
        return
    rows = []
    for name in ("resnet50", *FAMILIES, *NAMES):
        if chosen.only in name:
            rows.append(row(name))
            print(rows[-1], flush=True)
    if chosen.write:
        PAGE.write_text(_HEAD + "\n".join(_merged(rows)) + "\n", "utf-8")


def _merged(rows: list[str]) -> list[str]:
    """The page's rows, with those that were measured now in their places or at the end."""
    before = re.findall(r"^\| (?!framework|---).*$", PAGE.read_text("utf-8"), re.M) if PAGE.exists() else []
    kept = {_key(line): line for line in before} | {_key(line): line for line in rows}
    return list(kept.values())


def _key(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.split("|")[1:3])


if __name__ == "__main__":
    main()
