"""Small networks with batch normalisation, trained on pixels of every preset, for `benchmarks/pixels.py`.

`python benchmarks/pixels_trained.py OUT NAME=FOLDER…` trains one network for each folder of photos and each candidate, and one for
each candidate on drawn text, to tell by how many quarter turns an image was rotated; writes them to `OUT` with normalisation kept;
and prints their rows of `benchmarks/data/pixels.csv`. Weights differ between machines, and digests with them.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from onnxspace.inputs.pixel_presets import PRESETS
from onnxspace.inputs.probes import Probes
from onnxspace.model.pixel_images import CANDIDATES

SIDE, CROP, STEPS, BATCH = 96, 64, 150, 24
LAYERS = ((12, 2), (24, 1), (32, 2), (48, 2))  # channels and stride


def draw_text(count: int) -> NDArray[np.uint8]:
    """Dark letters on bright pages: images unlike photos."""
    rng, pages = np.random.default_rng(1), []
    for _ in range(count):
        page = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in rng.integers(190, 256, 3)))
        pen = ImageDraw.Draw(page)
        for y in range(0, SIDE, 11):
            word = "".join(chr(code) for code in rng.integers(97, 123, 14))
            pen.text((int(rng.integers(-3, 6)), y), word, fill=tuple(int(v) for v in rng.integers(0, 90, 3)))
        pages.append(np.asarray(page))
    return np.stack(pages)


def build() -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    channels = 3
    for outputs, stride in LAYERS:
        convolution = torch.nn.Conv2d(channels, outputs, 3, stride, 1, bias=False)
        layers += [convolution, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU()]
        channels = outputs
    return torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(channels, 4))


def feed(images: NDArray[np.uint8], name: str) -> torch.Tensor:
    preset = PRESETS[name]
    ordered = images[..., ::-1] if preset.color == "BGR" else images
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preset.mean, preset.std))
    return (torch.from_numpy(ordered.astype(np.float32)).permute(0, 3, 1, 2) * preset.scale - mean) / std


def train(images: NDArray[np.uint8], preset: str, seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    rng, net = np.random.default_rng(seed), build()
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.01)
    for _ in range(STEPS):
        rows, turns = rng.integers(0, len(images), BATCH), rng.integers(0, 4, BATCH)
        corners = rng.integers(0, SIDE - CROP + 1, (BATCH, 2))
        crops = [images[i, y : y + CROP, x : x + CROP] for i, (y, x) in zip(rows, corners, strict=True)]
        turned = np.stack([np.rot90(crop, turn) for crop, turn in zip(crops, turns, strict=True)])
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(feed(turned, preset)), torch.from_numpy(turns)).backward()
        optimiser.step()
    return net.eval()


def export(net: torch.nn.Sequential, path: Path) -> None:
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(net, (torch.zeros(1, 3, CROP, CROP),), str(path), opset_version=17, dynamo=False, **kept)


def main(out: Path, folders: dict[str, str]) -> None:
    sets = {name: Probes.from_folder(folder, 400, SIDE).images for name, folder in folders.items()} | {"texts": draw_text(300)}
    out.mkdir(parents=True, exist_ok=True)
    for name, images in sets.items():
        for preset in CANDIDATES:
            path = out / f"{name}-{preset}.onnx"
            export(train(images, preset, zlib.crc32(path.name.encode())), path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(f"{digest},{path.name},trained-{name},judged,{preset},benchmarks/pixels_trained.py", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)  # the layers are too small to divide
    main(Path(sys.argv[1]), dict(argument.split("=", 1) for argument in sys.argv[2:]))
