"""What `onnxspace diff` takes for large networks: python -m benchmarks.diff [--only long] [--runs 5]

Writes a network like ResNet-152 and one like ViT-B with random weights, each once as it is and once folded or with another operator
set and one layer trained further, compares both in a process of its own, and prints seconds and memory. `long` are longer forms, of
3,909 and 1,089 nodes: batch normalisations written out, sizes computed in the graph, and constants not folded. Of the page of each comparison, its size is
printed, and the time until a browser shows something and until all is there; that needs Playwright and Chromium. Needs 3 GB of disk.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx
import torch
from torch import nn


class WrittenNorm(nn.BatchNorm2d):
    """A batch normalisation as the formula that it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var, weight, bias = (
            one[None, :, None, None] for one in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        return (x - mean) / torch.sqrt(var + self.eps) * weight + bias


def write_out(network: nn.Module) -> None:
    """Replace all batch normalisations by written ones of the same values."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = WrittenNorm


class Bottleneck(nn.Module):
    """A residual block of three convolutions."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        nn.init.constant_(self.body[-1].weight, 0.3)
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = shortcut if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def make_resnet() -> nn.Module:
    """A network with the blocks of ResNet-152."""
    layers, inputs = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)], 64
    for stage, (width, count) in enumerate(((64, 3), (128, 8), (256, 36), (512, 3))):
        for block in range(count):
            layers.append(Bottleneck(inputs, width, 2 if stage and not block else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)).eval()


class Attention(nn.Module):
    """A block of a vision transformer, written out as exporters write it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read, self.write = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, tokens, width = x.shape
        parts = self.read(self.first(x)).reshape(images, tokens, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        shares = (query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5).softmax(-1)
        x = x + self.write((shares @ value).transpose(1, 2).reshape(images, tokens, width))
        return x + self.down(nn.functional.gelu(self.up(self.second(x))))


class Transformer(nn.Module):
    """A network of the size of ViT-B/16."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 16, 16)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 768)), nn.Parameter(torch.randn(1, 197, 768))
        self.blocks = nn.Sequential(*(Attention(768, 12) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(768), nn.Linear(768, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


def write(network: nn.Module, path: Path, opset: int, *, folded: bool, sizes: bool = False) -> None:
    """Write a network by the exporter of TorchScript; with `sizes`, the number of images is open, and computed in the graph."""
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        network,
        (torch.randn(1, 3, 224, 224),),
        str(path),
        dynamo=False,
        opset_version=opset,
        do_constant_folding=folded,
        training=mode,
        input_names=["image"],
        dynamic_axes={"image": {0: "images"}} if sizes else None,
    )


def train(layer: nn.Module) -> None:
    """Move the weights of a layer by a tenth of their size."""
    with torch.no_grad():
        weight = next(layer.parameters())
        weight += 0.1 * weight.std() * torch.randn_like(weight)


def measure(old: Path, new: Path, page: Path) -> str:
    """Compare two files; the seconds, those of processors, the largest memory of a process so far, and what was found."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-m",
        "onnxspace",
        "diff",
        str(old),
        str(new),
        "--top",
        "0",
        "--quiet",
        "--no-maps",
        "-o",
        str(page),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, usage = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
    nodes = " and ".join(str(len(onnx.load(path, load_external_data=False).graph.node)) for path in (old, new))
    return f"{old.name} → {new.name}: {nodes} nodes, {seconds:.0f} s ({processor:.0f} s of processors), {usage.ru_maxrss / 2**20:.1f} GiB\n{found.stdout}{found.stderr}"


def paint(page: Path, runs: int) -> str:
    """The size of a page, and medians of the times of its first paint and until its script has run, each time in a new browser."""
    from playwright.sync_api import sync_playwright

    times = []
    for _ in range(runs):
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri(), wait_until="commit")
            tab.wait_for_selector("html[data-drawn=yes]", timeout=120_000)
            first = tab.evaluate("Math.min(...performance.getEntriesByType('paint').map(entry => entry.startTime))")
            times.append((first, tab.evaluate("performance.now()")))
            browser.close()
    first, drawn = (statistics.median(column) for column in zip(*times, strict=True))
    return f"page {page.stat().st_size / 1e6:.2f} MB, first paint {first:.0f} ms, complete {drawn:.0f} ms"


def compare(old: Path, new: Path, runs: int) -> None:
    page = old.with_suffix(".html")
    print(measure(old, new, page), flush=True)
    print(paint(page, runs), flush=True)


def compare_long(place: Path, runs: int) -> None:
    """Long forms, before and after a layer was trained further."""
    for name, network, layer in (("resnet152", make_resnet(), "24.body.3"), ("vit_b", Transformer().eval(), "blocks.5.up")):
        write_out(network)
        write(network, place / f"{name}-long.onnx", 11, folded=False, sizes=True)
        train(network.get_submodule(layer))
        write(network, place / f"{name}-long-trained.onnx", 11, folded=False, sizes=True)
        compare(place / f"{name}-long.onnx", place / f"{name}-long-trained.onnx", runs)


def compare_plain(place: Path, runs: int) -> None:
    """Forms as exporters write them, against folded ones of another operator set."""
    for name, network, layer in (("resnet152", make_resnet(), "24.body.3"), ("vit_b", Transformer().eval(), "blocks.5.up")):
        write(network, place / f"{name}.onnx", 13, folded=False)
        write(network, place / f"{name}-folded.onnx", 17, folded=True)
        train(network.get_submodule(layer))
        write(network, place / f"{name}-trained.onnx", 17, folded=True)
        for other in ("folded", "trained"):
            compare(place / f"{name}.onnx", place / f"{name}-{other}.onnx", runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("plain", "long"), help="the forms to compare; all")
    parser.add_argument("--runs", type=int, default=5, help="browsers that open each page")
    given = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, run in (("plain", compare_plain), ("long", compare_long)):
            if given.only in (None, name):
                run(Path(folder), given.runs)


if __name__ == "__main__":
    main()
