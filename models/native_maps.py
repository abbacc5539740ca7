"""Attribution maps by each framework's own autograd, and the affinities they give.

python models/native_maps.py            # native_maps.npz, from the weights in .work
python models/native_maps.py --affinity # print the table of affinities and the rankings
"""

from __future__ import annotations

import argparse
import importlib

import numpy as np
from PIL import Image

import scenes
import tasks
from tasks import SPECS, Spec


def maps(spec: Spec, images: np.ndarray) -> dict[str, np.ndarray]:
    """Gradient x input and saliency, float32[images, height, width], mean over channels."""
    x = spec.input(images)
    slope = importlib.import_module(f"{spec.framework}_zoo").gradient(spec, x)[1]
    axis = 1 if spec.input.layout == "NCHW" else 3
    found = {"gradient_x_input": x * slope, "saliency": np.abs(slope)}
    return {key: value.mean(axis).astype(np.float32) for key, value in found.items()}


def write() -> None:
    """Compute and store the maps of all networks on the images shown."""
    arrays = {"images": scenes.scenes(*scenes.SHOWN)["image"]}
    for name, spec in SPECS.items():
        for method, value in maps(spec, arrays["images"]).items():
            arrays[f"{name}/{method}"] = value
    np.savez_compressed(tasks.FOLDER / "native_maps.npz", **arrays)


def _unit(stack: np.ndarray) -> np.ndarray:
    """Maps enlarged to 64 x 64, flattened and of length 1."""
    large = [Image.fromarray(one).resize((64, 64), Image.Resampling.BILINEAR) for one in stack]
    flat = np.stack([np.asarray(one).ravel() for one in large])
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def affinity(method: str = "gradient_x_input") -> tuple[list[str], np.ndarray]:
    """Names, and the mean cosine of the maps of every two networks."""
    images = scenes.scenes(*scenes.PROBES)["image"]
    units = np.stack([_unit(maps(spec, images)[method]) for spec in SPECS.values()])
    return list(SPECS), np.einsum("inp,jnp->ij", units, units) / len(images)


def show(method: str) -> None:
    """Print the table and, for each network, the others from near to far."""
    names, matrix = affinity(method)
    for name, row in zip(names, matrix, strict=True):
        print(f"{name:14}", *(f"{value:6.3f}" for value in row))
    for name, row in zip(names, matrix, strict=True):
        order = [names[at] for at in np.argsort(-row, kind="stable") if names[at] != name]
        print(f"{name:14}", " > ".join(order))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--affinity", choices=("gradient_x_input", "saliency"), nargs="?", const="gradient_x_input")
    chosen = parser.parse_args().affinity
    show(chosen) if chosen else write()
