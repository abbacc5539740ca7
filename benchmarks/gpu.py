"""What a GPU gives: the same maps as the CPU, and how fast, in at most eight minutes.

`python -m benchmarks.gpu` runs on the first CUDA device and writes docs/gpu.md and docs/gpu.json; `--device cpu --small` runs the same
parts on a CPU in about a minute, with small networks, and prints the page. Every part has a time; what no longer fits into `--seconds` is skipped, and
the page says so. Networks are those of `models/` and, where torchvision is installed, larger ones with random weights. captum and
zennit are measured where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import onnxspace as ox
from onnxspace.attribution.batches import compute_in_order
from onnxspace.attribution.devices import configure_torch
from onnxspace.attribution.explainer import Explainer, make_explainer
from onnxspace.attribution.precision import worst_cosine
from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import Method
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/gpu.md"
LARGE = ("resnet50", "vit_b_16", "mobilenet_v3_large", "convnext_tiny", "efficientnet_b0", "swin_t")
METHODS: tuple[Method, ...] = ("elrp", "saliency", "attnlrp", "lrp-composite", "smoothgrad")
LEAST_COSINE = 0.9999


@dataclass
class Bench:
    """The device, how much is computed, when to stop, and what was found so far."""

    device: torch.device
    small: bool
    until: float
    folder: Path
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    _opened: dict[Path, tuple[Model, EncoderGraph]] = field(default_factory=dict)

    @property
    def left(self) -> float:
        return self.until - time.monotonic()

    @property
    def images(self) -> int:
        return 8 if self.small else 64

    def open(self, path: Path) -> tuple[Model, EncoderGraph]:
        if path not in self._opened:
            model = ox.open_model(path)
            self._opened[path] = model, convert(model, ox.Probes.generate(2).images)
        return self._opened[path]

    def explainer(self, path: Path, method: Method, compute: Compute, device: torch.device | None = None) -> Explainer:
        model, converted = self.open(path)
        return make_explainer(model, converted, Setup(ox.Probes.generate(2), method), device or self.device, compute)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], Any], rounds: int = 5) -> float:
        """The median time of `run`, after two rounds that do not count."""
        taken = []
        for turn in range(rounds + 2):
            self.wait()
            begin = time.perf_counter()
            run()
            self.wait()
            taken += [time.perf_counter() - begin] if turn > 1 else []
        return statistics.median(taken)


def trained(bench: Bench) -> list[Path]:
    names = ("shapes-torch", "colour-tflite") if bench.small else ()
    return [path for path in sorted((ROOT / "models").glob("*.onnx")) if not names or path.stem in names]


def large(bench: Bench) -> list[Path]:
    """Networks of torchvision with random weights as ONNX files; none with `--small` or where it is not installed."""
    if bench.small or importlib.util.find_spec("torchvision") is None:
        bench.skipped.append(f"larger networks: {'--small' if bench.small else 'torchvision is not installed'}")
        return []
    return list(_export(bench, LARGE))


def _export(bench: Bench, names: tuple[str, ...]) -> Iterator[Path]:
    import torchvision

    for name in names:
        path = bench.folder / f"{name}.onnx"
        if not path.exists():
            torch.manual_seed(0)
            net = torchvision.models.get_model(name, weights=None).eval()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    net, (torch.zeros(1, 3, 224, 224),), path, opset_version=17, dynamo=False,
                    input_names=["x"], dynamic_axes={"x": {0: "N"}},
                )  # fmt: skip
        yield path


def maps_of(explainer: Explainer, images: Any, size: int) -> Any:
    with configure_torch(explainer.compute):
        return np.concatenate([found.maps for _, found in compute_in_order([explainer], images, size)])


def compare_devices(bench: Bench) -> Iterator[dict[str, Any]]:
    """Maps of the CPU and of the device in float32: the least cosine, at least .9999."""
    probes = ox.Probes.generate(2 if bench.small else 4)
    for path in (*trained(bench), *large(bench)):
        for method in METHODS[:2] if bench.small else METHODS:
            pair = [
                maps_of(bench.explainer(path, method, Compute(), place), probes.images, 4)
                for place in (torch.device("cpu"), bench.device)
            ]
            cosine = worst_cosine(*pair)
            yield {"network": path.stem, "method": method, "cosine": cosine, "passed": cosine >= LEAST_COSINE}


def check_determinism(bench: Bench) -> Iterator[dict[str, Any]]:
    """The same maps twice: bit for bit with `--deterministic`, and their cosine without."""
    probes = ox.Probes.generate(bench.images)
    for path in (*trained(bench)[:1], *large(bench)[:2]):
        for strict in (True, False):
            compute = Compute(deterministic=strict)
            first, second = (maps_of(bench.explainer(path, "elrp", compute), probes.images, 16) for _ in range(2))
            same = bool((first == second).all())
            yield {"network": path.stem, "deterministic": strict, "same bits": same, "passed": same or not strict}


def halve_batches(bench: Bench) -> Iterator[dict[str, Any]]:
    """Maps of a batch that does not fit: halved until it does, with the same result."""
    path, count = trained(bench)[0], 16 if bench.small else 256
    images = np.concatenate([ox.Probes.generate(8).images] * (count // 8))
    explainer = bench.explainer(path, "elrp", Compute())
    expected = maps_of(explainer, images, 8)
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(bench.device).total_memory
        room = torch.cuda.memory_allocated(bench.device) + bench.open(path)[1].bytes_per_image * 24
        torch.cuda.set_per_process_memory_fraction(min(1.0, room / total), bench.device)
    try:
        with _refusing(explainer, 8 if bench.device.type == "cpu" else None) as sizes:
            found = maps_of(explainer, images, count)
    finally:
        if bench.device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    cosine = worst_cosine(expected, found)
    halved = min(sizes) < count
    yield {"network": path.stem, "batch": count, "smallest": min(sizes), "cosine": cosine,
           "passed": halved and cosine >= LEAST_COSINE}  # fmt: skip


class _refusing:  # noqa: N801
    """Notes the sizes of batches; on a CPU, refuses those above `most` as a full GPU does."""

    def __init__(self, explainer: Explainer, most: int | None) -> None:
        self.kind, self.most, self.sizes = type(explainer), most, list[int]()

    def __enter__(self) -> list[int]:
        self.genuine = self.kind.compute_maps

        def compute(explainer: Explainer, batch: Any) -> Any:
            self.sizes.append(len(batch.values))
            if self.most is not None and len(batch.values) > self.most:
                raise torch.OutOfMemoryError("out of memory")
            return self.genuine(explainer, batch)

        self.kind.compute_maps = compute  # type: ignore[method-assign]
        return self.sizes

    def __exit__(self, *_: object) -> None:
        self.kind.compute_maps = self.genuine  # type: ignore[method-assign]


def compare_precisions(bench: Bench) -> Iterator[dict[str, Any]]:
    """Each precision, and compiled: the least cosine with float32, and images per second."""
    modes = [Compute(), Compute(precision="bf16")]
    if bench.device.type == "cuda":
        modes += [
            Compute(precision="tf32"),
            Compute(precision="fp16"),
            Compute(compiled=True),
            Compute(precision="bf16", compiled=True),
        ]
    probes = ox.Probes.generate(bench.images)
    for path in (*large(bench)[:3], *trained(bench)[:1]):
        reference = None
        for compute in modes:
            if bench.left < 20:
                bench.skipped.append(f"{compute.precision} of {path.stem}: no time was left")
                continue
            explainer = bench.explainer(path, "elrp", compute)
            maps = maps_of(explainer, probes.images, bench.images)
            reference = maps if reference is None else reference
            batch = explainer.prepare_batch(probes.images)
            with configure_torch(compute):
                taken = bench.seconds(lambda: explainer.compute_maps(batch), 3)  # noqa: B023
            yield {"network": path.stem, "precision": compute.precision, "compiled": compute.compiled,
                   "cosine": worst_cosine(reference, maps), "images per second": bench.images / taken}  # fmt: skip


def measure_speed(bench: Bench) -> Iterator[dict[str, Any]]:
    """Maps beside two forward passes of the same graph, captum and zennit: images per second."""
    probes = ox.Probes.generate(bench.images)
    for path in (*large(bench)[:4], *trained(bench)[:1]):
        if bench.left < 30:
            bench.skipped.append(f"speed of {path.stem}: no time was left")
            continue
        explainer = bench.explainer(path, "elrp", Compute())
        batch = explainer.prepare_batch(probes.images)
        with configure_torch(Compute()):
            maps = bench.seconds(lambda: explainer.compute_maps(batch))  # noqa: B023
            forward = bench.seconds(lambda: explainer.network.forward(batch.values))  # noqa: B023
        row = {"network": path.stem, "maps": bench.images / maps, "two forward passes": bench.images / (2 * forward),
               "ratio": maps / (2 * forward)}  # fmt: skip
        yield {**row, **measure_peers(bench, path, batch.values)}


def measure_peers(bench: Bench, path: Path, x: torch.Tensor) -> dict[str, float | str]:
    """captum's and zennit's ε-LRP or gradient of the native network, in images per second; a word where one fails."""
    if path.stem not in LARGE:
        return {}
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.get_model(path.stem, weights=None).eval().to(bench.device)
    found: dict[str, float | str] = {}
    for name, make in (("captum", _captum), ("zennit", _zennit)):
        if importlib.util.find_spec(name) is None:
            found[name] = "not installed"
            continue
        try:
            run = make(net, x)
            found[name] = len(x) / bench.seconds(run, 3)
        except Exception as error:  # of another library, on a network that it does not support
            found[name] = f"fails ({type(error).__name__})"
    return found


def _captum(net: torch.nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    import captum.attr

    return lambda: captum.attr.InputXGradient(lambda image: net(image).sum(dim=1)).attribute(x.detach().requires_grad_(True))


def _zennit(net: torch.nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    import zennit.attribution
    import zennit.composites
    import zennit.rules
    import zennit.types

    rules = [*zennit.composites.layer_map_base(), (zennit.types.Linear, zennit.rules.Epsilon(1e-6))]

    def run() -> Any:
        composite = zennit.composites.LayerMapComposite(rules)
        with zennit.attribution.Gradient(net, composite, attr_output=torch.ones_like) as attributor:
            return attributor(x)

    return run


def explain_many(bench: Bench) -> Iterator[dict[str, Any]]:
    """20 ResNet-50 × 1,000 images, each batch preprocessed beside the one before; in `--small`, two small networks × 32 images."""
    paths, count, models = (trained(bench)[:1], 32, 2) if bench.small else (large(bench)[:1], 1000, 20)
    images = np.concatenate([ox.Probes.generate(8).images] * (count // 8))
    for path in paths:
        begin, done = time.perf_counter(), 0
        for _ in range(models):
            if bench.left < 15:
                bench.skipped.append(f"{models - done} of {models} × {path.stem}: no time was left")
                break
            maps_of(bench.explainer(path, "elrp", Compute()), images, 64)
            done += 1
        taken = time.perf_counter() - begin
        yield {
            "network": path.stem,
            "models": done,
            "images": count,
            "seconds": taken,
            "images per second": done * count / taken,
        }


PARTS: dict[str, tuple[str, float, Callable[[Bench], Iterator[dict[str, Any]]]]] = {
    "Maps of CPU and GPU": ("In float32: the least cosine of an image's map; at least 0.9999", 120, compare_devices),
    "Determinism": ("The same maps, computed twice", 40, check_determinism),
    "Memory": ("A batch that does not fit is halved", 30, halve_batches),
    "Speed": ("Images per second at one batch", 90, measure_speed),
    "Precisions": ("ε-LRP, cosine with float32", 100, compare_precisions),
    "Many models": ("Without the time of conversion", 100, explain_many),
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


def describe(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return f"{name}, torch {torch.__version__}"


def render(bench: Bench) -> str:
    lines = ["# On a GPU", "", f"Measured by `python -m benchmarks.gpu` on {describe(bench.device)}.", ""]
    for name, rows in bench.rows.items():
        lines += [f"## {name}", "", f"{PARTS[name][0]}.", ""]
        keys = list(dict.fromkeys(key for row in rows for key in row))
        lines += [f"| {' | '.join(keys)} |", f"|{'---|' * len(keys)}"] if rows else ["Nothing was measured."]
        lines += [f"| {' | '.join(_cell(row.get(key, '')) for key in keys)} |" for row in rows] + [""]
    skipped = [f"- {one}" for one in dict.fromkeys(bench.skipped)] or ["Nothing was skipped."]
    return "\n".join([*lines, "## Skipped", "", *skipped, ""])


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        f"{value:.5f}"
        if isinstance(value, float) and abs(value) <= 1
        else f"{value:.1f}"
        if isinstance(value, float)
        else str(value)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="small networks and few images, and no page is written")
    parser.add_argument("--seconds", type=float, default=480)
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("Torch sees no CUDA device here; --device cpu --small tries the script without one")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(torch.device(chosen.device), chosen.small, time.monotonic() + chosen.seconds, Path(folder))
        run_parts(bench)
    page = render(bench)
    print(page)
    if not chosen.small:
        PAGE.write_text(page, "utf-8")
        found = {"device": describe(bench.device), "parts": bench.rows, "skipped": bench.skipped}
        PAGE.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return int(any(row.get("passed") is False for rows in bench.rows.values() for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
