"""Are maps of a class those of the native network? Grad-CAM beside pytorch-grad-cam, the methods beside it, and Torch's own autograd.

    pip install grad-cam torchvision timm && python benchmarks/class_maps.py [--only NAME] [--write]

Networks have random weights and statistics. Each is exported to ONNX, and the maps of the file are compared with those of the network
in Torch, by the smallest cosine of four images. pytorch-grad-cam's maps are taken before it stretches each from 0 to 1, which subtracts
a constant, and after. Its Grad-CAM++ adds 10⁻⁶ to a denominator. The bar is .9999 for Grad-CAM and for the image's gradient.
`--write` puts the table into docs/howto/class_maps.md.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace import Probes, attribute, open_model
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.methods import Method

PAGE = Path(__file__).parent.parent / "docs/howto/class_maps.md"
BEGIN, END = "<!-- table: benchmarks/class_maps.py -->", "<!-- end of the table -->"
IMAGES, NUMBER, BAR = 4, 3, 0.9999
COLUMNS = ("grad-cam", "stretched", "grad-cam++", "layer-cam", "gradient")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Native:
    """A network in Torch, the side of its images, its last layer with positions, and the grid of its tokens behind a class token."""

    make: Callable[[], torch.nn.Module]
    side: int
    layer: Callable[[Any], torch.nn.Module]
    tokens: int = 0


def _make_torchvision(name: str) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        import torchvision

        return getattr(torchvision.models, name)(weights=None)  # type: ignore[no-any-return]

    return make


def _make_timm(name: str, **options: Any) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, **options)  # type: ignore[no-any-return]

    return make


NETWORKS = {
    "resnet18": Native(_make_torchvision("resnet18"), 128, lambda net: net.layer4[-1]),
    "vgg11_bn": Native(_make_torchvision("vgg11_bn"), 224, lambda net: net.features[-1]),
    "mobilenet_v3_small": Native(_make_torchvision("mobilenet_v3_small"), 128, lambda net: net.features[-1]),
    "squeezenet1_1": Native(_make_torchvision("squeezenet1_1"), 128, lambda net: net.features[-1]),
    "convnext_atto": Native(_make_timm("convnext_atto", num_classes=10), 128, lambda net: net.stages[-1]),
    "vit_tiny_patch16": Native(
        _make_timm("vit_tiny_patch16_224", num_classes=10, img_size=96), 96, lambda net: net.blocks[-1].norm1, tokens=6
    ),
}


def main() -> int:
    """Compare each network, print the table, and return whether a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(NETWORKS), help="compare this network only")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = {name: compare(native) for name, native in NETWORKS.items() if given.only in (None, name)}
    lines = ["| network | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    lines += [f"| {name} | " + " | ".join(f"{row[column]:.6f}" for column in COLUMNS) + " |" for name, row in rows.items()]
    print("\n".join(lines))
    if given.write:
        _write("\n".join(lines))
    return int(any(min(row["grad-cam"], row["gradient"]) < BAR for row in rows.values()))


def compare(native: Native) -> dict[str, float]:
    """Return the smallest cosines of the maps of one network and those of its ONNX file, by column of the table."""
    torch.manual_seed(0)
    net = _shake(native.make().eval())
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        _export(net, native.side, path)
        model, probes = (
            open_model(path, None, ModelOptions(scale=1 / 64, mean=(2.0,), std=(1.0,))),
            Probes.generate(IMAGES, native.side),
        )
        images = torch.from_numpy(model.preprocess(probes.images))
        found: dict[str, float] = {}
        for method in ("grad-cam", "grad-cam++", "layer-cam"):
            ours = attribute(model, probes, method, target=NUMBER)  # type: ignore[arg-type]
            peer = run_peer(method, net, native, images)
            found[method] = find_worst(ours, peer)
            if method == "grad-cam":
                found["stretched"] = find_worst(_stretch(ours), run_peer(method, net, native, images, stretched=True))
        gradient: Method = "gradient-x-input"
        found["gradient"] = find_worst(attribute(model, probes, gradient, target=NUMBER), _differentiate(net, images))
    return found


def _shake(net: torch.nn.Module) -> torch.nn.Module:
    """Give normalisations statistics, and layers scales, as training does: fresh ones leave many gradients equal."""
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if tensor.is_floating_point():
            spread = 0.3 if name.endswith(("running_var", "gamma")) else 0.05
            tensor.data += spread * torch.rand_like(tensor)
    return net


def _export(net: torch.nn.Module, side: int, path: Path) -> None:
    example = (torch.zeros(2, 3, side, side),)
    names = {"input_names": ["image"], "output_names": ["logits"], "dynamic_axes": {"image": {0: "batch"}}}
    torch.onnx.export(net, example, str(path), dynamo=False, opset_version=17, **names)  # type: ignore[arg-type]


def run_peer(method: str, net: torch.nn.Module, native: Native, images: torch.Tensor, *, stretched: bool = False) -> Array:
    """Return the maps of pytorch-grad-cam, [images, side, side]; `stretched` each from 0 to 1."""
    import cv2
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, base_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def resize(cam: Any, size: Any = None) -> Any:
        return np.float32([one if size is None else cv2.resize(np.float32(one), size) for one in cam])

    kind = {"grad-cam": GradCAM, "grad-cam++": GradCAMPlusPlus, "layer-cam": LayerCAM}[method]
    genuine = base_cam.scale_cam_image
    base_cam.scale_cam_image = genuine if stretched else resize
    try:
        cam = kind(net, [native.layer(net)], reshape_transform=_to_planes(native.tokens) if native.tokens else None)
        found: Array = cam(images, [ClassifierOutputTarget(NUMBER)] * len(images)).astype(np.float64)
    finally:
        base_cam.scale_cam_image = genuine
    return found


def _to_planes(side: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tokens: tokens[:, 1:].reshape(len(tokens), side, side, -1).movedim(3, 1)


def _stretch(maps: NDArray[np.float32]) -> Array:
    """Each map from 0 to 1."""
    low, high = (end(maps, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    return np.asarray((maps - low) / np.where(high > low, high - low, 1), np.float64)


def _differentiate(net: torch.nn.Module, images: torch.Tensor) -> Array:
    """The input times the gradient of the class, by Torch's own autograd."""
    point = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(net(point)[:, NUMBER].sum(), point)
    return np.asarray((gradient * images).mean(dim=1).detach().numpy(), np.float64)


def find_worst(ours: NDArray[Any], peer: NDArray[Any]) -> float:
    """The smallest cosine of the maps of one image; of two zero maps it is 1."""
    a, b = (maps.reshape(len(maps), -1).astype(np.float64) for maps in (ours, peer))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both = (np.abs(a).max(axis=1) == 0) & (np.abs(b).max(axis=1) == 0)
    return float(np.where(both, 1.0, (a * b).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)).min())


def _write(table: str) -> None:
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
