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
from pathlib import Path
from tempfile import TemporaryDirectory

from architectures import FAMILIES, network
from frameworks import NAMES
from frameworks import loaded as of_framework

PAGE = Path(__file__).parent.parent / "docs/converters.md"
_HEAD = """# Which networks convert

From `python benchmarks/converters.py --write`: networks with random weights, each verified against its framework on random and on generated
images, within 1e-5 of the largest output, or 3e-2 for int8, which rounds elsewhere. The difference is what was found; seconds are the exporter's own, on a machine with other work
to do; the ratio is the whole conversion without verification to that.

| framework | network | image | route | opset | difference | seconds | ratio |
|---|---|---|---|---|---|---|---|
"""


def measure(name: str) -> str:
    """One row of the table."""
    import logging

    from onnxspace.config import ModelOptions
    from onnxspace.exporters import Request
    from onnxspace_converters.deliver import deliver
    from onnxspace_converters.torchroutes import network as loaded

    logging.disable(logging.ERROR)
    with TemporaryDirectory() as folder:
        if name in NAMES:
            ready = of_framework(name, Path(folder))
        else:
            made, size = (_resnet50(), 224) if name == "resnet50" else (network(name), FAMILIES[name])
            ready = loaded(made, (3, size, size), ModelOptions())
        facts = deliver(ready, name, Path(folder, "net.onnx"), Request())
    took, whole = facts.seconds["export"], facts.seconds["convert"]
    cells = (
        ready.framework,
        _said(name),
        "×".join(map(str, sorted(ready.shape)[1:])),
        facts.route,
        facts.opset,
        f"{facts.difference:.1e}",
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
        return f"| {name.rpartition(':')[0] or 'PyTorch'} | {_said(name)} | | no route: {(done.stderr.splitlines() or ['?'])[-1][:160]} | | | | |"
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
