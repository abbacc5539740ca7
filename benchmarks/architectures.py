"""Do the vision families of today convert? timm's networks through PyTorch's exporters, checked against ONNX Runtime.

    pip install timm onnxscript && python benchmarks/architectures.py [--only NAME] [--exporters script17,dynamo18,dynamo20]

Weights are random, with some noise so that equal tensors are not merged. For each file: converted or refused, the largest
relative difference from ONNX Runtime at batch 1 and 8, and the share of gradient values that are finite and not zero. For
each network and method: the smallest per-image cosine between the maps of any two of its files, which must be .9999 or more.
"""

from __future__ import annotations

import argparse
import io
import logging
import warnings
from contextlib import redirect_stdout
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace import Probes, attribute, to_torch
from onnxspace.attribution.maps import Method
from onnxspace.model import runtime
from onnxspace.model.reader import read_model
from onnxspace.torchgraph.verify import difference

FAMILIES = {
    "resnet18": 96, "mobilenetv3_small_050": 96, "efficientnet_b0": 96, "densenet121": 96, "inception_v3": 128, "vgg11": 224,
    "regnetx_002": 96, "convnext_atto": 96, "vit_tiny_patch16_224": 224, "deit_tiny_patch16_224": 224,
    "swin_tiny_patch4_window7_224": 224, "mixer_s16_224": 224, "mobilevit_xxs": 128, "coatnet_nano_rw_224": 224,
    "maxvit_rmlp_pico_rw_256": 256, "unet": 64,
}  # fmt: skip
EXPORTERS = {"script17": (False, 17), "dynamo18": (True, 18), "dynamo20": (True, 20)}
COMPARED: tuple[Method, ...] = ("elrp", "saliency", "attnlrp")
Maps = dict[Method, NDArray[np.float32]]


class UNet(torch.nn.Module):
    """Two levels down and up, with skips, group normalisation, transposed convolution and bilinear resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.down = torch.nn.ModuleList(block(a, b) for a, b in ((3, 16), (16, 32), (32, 64)))
        self.up = torch.nn.ConvTranspose2d(64, 32, 2, stride=2)
        self.merge = torch.nn.ModuleList(block(a, b) for a, b in ((64, 32), (48, 16)))
        self.head = torch.nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.down[0](x)
        second = self.down[1](torch.nn.functional.max_pool2d(first, 2))
        third = self.down[2](torch.nn.functional.avg_pool2d(second, 2))
        y = self.merge[0](torch.cat([self.up(third), second], dim=1))
        y = torch.nn.functional.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        logits: torch.Tensor = self.head(self.merge[1](torch.cat([y, first], dim=1)))
        return logits


class ResidualU(torch.nn.Module):
    """A U of `depth` levels with a residual connection around it (Qin et al., "U²-Net", 2020); flat: dilation in place of pooling."""

    def __init__(self, depth: int, inputs: int, middle: int, outputs: int, *, flat: bool = False) -> None:
        super().__init__()
        self.flat, self.enter = flat, rectified(inputs, outputs)
        rates = [2**level if flat else 1 for level in range(depth - 1)]
        self.down = torch.nn.ModuleList(
            rectified(middle if level else outputs, middle, rate) for level, rate in enumerate(rates)
        )
        self.bottom = rectified(middle, middle, 2 ** (depth - 1) if flat else 2)
        self.up = torch.nn.ModuleList(
            rectified(2 * middle, middle if level else outputs, rate) for level, rate in enumerate(rates)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        entered = self.enter(x)
        y, skips = entered, []
        for level, down in enumerate(self.down):
            y = down(halve(y) if level and not self.flat else y)
            skips.append(y)
        y = self.bottom(y)
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            y = up(torch.cat([resize(y, skip), skip], dim=1))
        out: torch.Tensor = y + entered
        return out


class ISNet(torch.nn.Module):
    """A network of the form of IS-Net (Qin et al., "Highly accurate dichotomous image segmentation", 2022): a U of U's, 44 million weights.

    `width` divides the numbers of channels.
    """

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 64 // width, 3, stride=2, padding=1)
        down = [
            (7, 64, 32, 64),
            (6, 64, 32, 128),
            (5, 128, 64, 256),
            (4, 256, 128, 512),
            (4, 512, 256, 512),
            (4, 512, 256, 512),
        ]
        up = [(7, 128, 16, 64), (6, 256, 32, 64), (5, 512, 64, 128), (4, 1024, 128, 256), (4, 1024, 256, 512)]
        self.down, self.up = (
            torch.nn.ModuleList(
                ResidualU(depth, *(channels // width for channels in sizes), flat=level > 3)
                for level, (depth, *sizes) in enumerate(stages)
            )
            for stages in (down, up)
        )
        sides = (64, 64, 128, 256, 512, 512)
        self.sides = torch.nn.ModuleList(torch.nn.Conv2d(channels // width, 1, 3, padding=1) for channels in sides)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, skips = self.stem(x), []
        for level, down in enumerate(self.down):
            y = down(halve(y) if level else y)
            skips.append(y)
        found = [skips.pop()]
        for up, skip in zip(reversed(self.up), reversed(skips), strict=True):
            found.append(up(torch.cat([resize(found[-1], skip), skip], dim=1)))
        return tuple(torch.sigmoid(resize(side(y), x)) for side, y in zip(self.sides, reversed(found), strict=True))


def rectified(inputs: int, outputs: int, rate: int = 1) -> torch.nn.Sequential:
    convolution = torch.nn.Conv2d(inputs, outputs, 3, padding=rate, dilation=rate)
    return torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU())


def halve(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.max_pool2d(x, 2, stride=2, ceil_mode=True)


def resize(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    size = like.shape[2:]
    return x if x.shape[2:] == size else torch.nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def block(inputs: int, outputs: int) -> torch.nn.Sequential:
    convolution = torch.nn.Conv2d(inputs, outputs, 3, padding=1)
    return torch.nn.Sequential(convolution, torch.nn.GroupNorm(4, outputs), torch.nn.SiLU())


def network(name: str) -> torch.nn.Module:
    import timm

    torch.manual_seed(0)
    made: torch.nn.Module = UNet() if name == "unet" else timm.create_model(name, pretrained=False)
    with torch.no_grad():
        for tensor in (*made.parameters(), *made.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * 0.01)
    return made.eval()


def export(made: torch.nn.Module, size: int, path: Path, *, dynamo: bool, opset: int) -> None:
    example = (torch.randn(2, 3, size, size),)
    backend = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with backend, redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            axes = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                made, example, path, dynamo=True, opset_version=opset, dynamic_shapes=axes, external_data=False, verbose=False
            )
        else:
            names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "batch"}}}
            torch.onnx.export(made, example, path, dynamo=False, opset_version=opset, **names)


def judged(path: Path, size: int) -> str:
    graph, (written, _) = to_torch(path), read_model(path)
    gaps = []
    for batch in (1, 8):
        x = np.random.default_rng(batch).standard_normal((batch, 3, size, size)).astype(np.float32)
        tensor = torch.from_numpy(x).requires_grad_(True)
        found = graph(tensor)
        gaps.append(difference([found.detach().numpy()], runtime.run(written, {written.graph.inputs[0].name: x})))
    (gradient,) = torch.autograd.grad(found.sum(), tensor)
    alive = (torch.isfinite(gradient) & (gradient != 0)).float().mean()
    return f"converted, differences {gaps[0]:.1e} and {gaps[1]:.1e}, gradient {alive:.0%}"


def maps_of(path: Path, size: int) -> Maps:
    """Maps of two generated images by each method: float32 [2, size, size]."""
    probes = Probes.generate(2, size)
    return {method: attribute(path, probes, method, device="cpu") for method in COMPARED}


def worst(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The smallest per-image cosine."""
    a, b = (maps.reshape(len(maps), -1).astype(np.float64) for maps in (first, second))
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def tried(name: str, size: int, exporter: str) -> tuple[str, Maps | None]:
    """One network through one exporter: what came of it, and its maps."""
    dynamo, opset = EXPORTERS[exporter]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        try:
            export(network(name), size, path, dynamo=dynamo, opset=opset)
            return judged(path, size), maps_of(path, size)
        except Exception as error:
            return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--exporters", default=",".join(EXPORTERS))
    chosen = parser.parse_args()
    logging.disable(logging.ERROR)
    for name, size in FAMILIES.items():
        if chosen.only not in name:
            continue
        found: dict[str, Maps] = {}
        for exporter in chosen.exporters.split(","):
            result, maps = tried(name, size, exporter)
            print(f"{name:32} {exporter:9} {result}", flush=True)
            if maps is not None:
                found[exporter] = maps
        for method in COMPARED if len(found) > 1 else ():
            least, pair = min((worst(found[a][method], found[b][method]), f"{a} {b}") for a, b in combinations(found, 2))
            print(f"{name:32} {method:9} smallest cosine {least:.6f} ({pair})", flush=True)


if __name__ == "__main__":
    main()
