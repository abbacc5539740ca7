"""What each network of the zoo is: its task, its data and how well it does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

import scenes

FOLDER = Path(__file__).parent
WORK = FOLDER / ".work"  # weights and drawn scenes, kept between runs
CLASSES = {
    "shape": len(scenes.SHAPES),
    "count": scenes.MOST_OBJECTS,
    "light": scenes.LIGHTS,
    "colour": len(scenes.COLOURS),
    "texture": len(scenes.TEXTURES),
    "digits": 10,
}
NOISE, SPARSE = 0.4, 0.02  # of the training images; weight of the encoder's mean in the loss
MAPS = {"mask": "IoU", "edges": "F1", "depth": "R2"}  # label of one value per pixel -> metric


@dataclass(frozen=True)
class Input:
    """How a pixel (0-255) becomes a number: `(pixel * scale - mean) / std`."""

    size: tuple[int, int] = (64, 64)
    layout: str = "NCHW"
    color: str = "rgb"
    scale: str = "1/255"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8[images, height, width, (3)] to float32, in this layout and size."""
        pixels = np.stack([self._fit(image) for image in images]).astype(np.float32)
        top, _, bottom = self.scale.partition("/")
        scaled = pixels * np.float32(float(top) / float(bottom or 1))
        x = (scaled - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if self.layout == "NCHW" else x

    def _fit(self, image: np.ndarray) -> np.ndarray:
        """One image of the right size and number of channels, height first."""
        picture = Image.fromarray(image)
        picture = picture.convert("L" if self.color == "gray" else "RGB")
        if picture.size != self.size[::-1]:
            picture = picture.resize(self.size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
        return pixels[..., None] if pixels.ndim == 2 else pixels


IMAGENET = Input(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
NHWC = Input(layout="NHWC")
RAW = Input(layout="NHWC", scale="1", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
GRAY = Input(size=(32, 32), color="gray", mean=(0.5,), std=(0.5,))


@dataclass(frozen=True)
class Spec:
    """One network: its label, its making and the models whose maps should be near its own."""

    name: str
    label: str
    task: str
    framework: str  # "torch", "keras" or "jax": the module NAME_zoo
    exporter: str
    net: str
    epochs: int
    rate: float = 4e-3
    start: str = ""  # the network whose weights it starts from
    slow: float = 1.0  # the encoder's part of the learning rate
    input: Input = field(default_factory=Input)
    related: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The ONNX file."""
        return FOLDER / f"{self.name}.onnx"

    def batch(self, part: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and labels of a part of the data."""
        labels = part[self.label]
        return self.input(part["image"]), labels.astype(np.float32 if self.label in MAPS else np.int64)


def data(label: str, held_out: bool = False) -> dict[str, np.ndarray]:
    """Training or held-out part: `image` uint8 and the labels."""
    if label == "digits":
        return digits(held_out)
    return scenes.cached(scenes.TEST if held_out else scenes.TRAIN, WORK)


def digits(held_out: bool) -> dict[str, np.ndarray]:
    """Handwritten digits of scikit-learn, 8x8 enlarged to 32x32; the last writers are held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    keep = (np.arange(len(bunch.target)) >= 1437) == held_out
    small = np.rint(bunch.images[keep] * 255 / 16).astype(np.uint8)
    large = [Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC) for one in small]
    return {"image": np.stack([np.asarray(one) for one in large]), "digits": bunch.target[keep]}


def measure(label: str, output: np.ndarray, truth: np.ndarray) -> dict[str, float | str]:
    """The held-out metric and what an answer without looking gets."""
    truth = np.asarray(truth)
    if label in CLASSES:
        value = float((output.reshape(len(truth), -1).argmax(1) == truth).mean())
        return _metric("accuracy", value, np.bincount(truth.ravel()).max() / truth.size)
    output = output.reshape(truth.shape)
    if label == "depth":
        error = ((output - truth) ** 2).mean() / truth.var()
        return _metric("R2", 1 - float(error), 0.0)
    said, true = output > 0.5, truth > 0.5
    both, base = (said & true).sum(), true.mean()
    if label == "mask":
        return _metric("IoU", both / (said | true).sum(), base)
    return _metric("F1", 2 * both / (said.sum() + true.sum()), 2 * base / (1 + base))


def _metric(name: str, value: float, chance: float) -> dict[str, float | str]:
    return {"name": name, "value": round(float(value), 4), "chance": round(float(chance), 4)}


_SHAPE = "shape of the nearest object (5 classes)"
_SPECS = (
    Spec("shapes-torch", "shape", _SHAPE, "torch", "TorchScript", "Residual", 5, related=("shapes-keras", "colour-torch")),
    Spec(
        "shapes-keras",
        "shape",
        _SHAPE,
        "keras",
        "tf2onnx",
        "residual",
        0,
        start="shapes-torch",
        input=NHWC,
        related=("shapes-torch", "colour-torch"),
    ),
    Spec("shapes-jax", "shape", _SHAPE, "jax", "jax2onnx", "Plain", 5, input=NHWC),
    Spec(
        "count-torch", "count", "number of objects (1 to 4)", "torch", "TorchScript", "Residual", 4, 1e-3, "shapes-torch", 0.05
    ),
    Spec(
        "colour-torch",
        "colour",
        "colour of the nearest object (6 classes)",
        "torch",
        "TorchScript",
        "Residual",
        3,
        1e-3,
        "shapes-torch",
        0.05,
        related=("shapes-torch", "shapes-keras"),
    ),
    Spec(
        "segment-torch",
        "mask",
        "mask of all objects",
        "torch",
        "TorchScript",
        "EncoderDecoder",
        3,
        related=("edges-torch", "depth-torch"),
    ),
    Spec(
        "edges-torch",
        "edges",
        "outlines of the objects",
        "torch",
        "dynamo",
        "EncoderDecoder",
        2,
        2e-3,
        "segment-torch",
        0.3,
        related=("segment-torch", "depth-torch"),
    ),
    Spec(
        "depth-torch",
        "depth",
        "depth of every pixel",
        "torch",
        "TorchScript",
        "EncoderDecoder",
        2,
        2e-3,
        "segment-torch",
        0.3,
        related=("segment-torch", "edges-torch"),
    ),
    Spec(
        "colour-tflite", "colour", "colour of the nearest object (6 classes)", "keras", "TFLite", "rescaled", 5, 2e-3, input=RAW
    ),
    Spec("texture-torch", "texture", "pattern of the ground (4 classes)", "torch", "TorchScript", "Mobile", 3, input=IMAGENET),
    Spec(
        "light-torch",
        "light",
        "direction of the light (8 classes)",
        "torch",
        "TorchScript",
        "Mobile",
        4,
        2e-3,
        "texture-torch",
        0.3,
        input=IMAGENET,
    ),
    Spec("digits-torch", "digits", "handwritten digit (10 classes)", "torch", "TorchScript", "Digits", 20, input=GRAY),
)
SPECS = {spec.name: spec for spec in _SPECS}
