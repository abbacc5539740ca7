"""What the parts of the benchmark share: the device, the networks, the time that is left, and how a time is measured."""

from __future__ import annotations

import importlib.util
import statistics
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
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import Method
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert

ROOT = Path(__file__).parents[2]
LARGE = ("resnet50", "vit_b_16", "mobilenet_v3_large", "convnext_tiny", "efficientnet_b0", "swin_t")
#: A row of a part's table; `passed` is False where something is not as it must be.
Row = dict[str, Any]


@dataclass
class Bench:
    """The device, how much is computed, when to stop, and what was found so far."""

    device: torch.device
    small: bool
    until: float
    folder: Path
    rows: dict[str, list[Row]] = field(default_factory=dict)
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
