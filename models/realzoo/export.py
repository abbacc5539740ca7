"""Trained networks as ONNX files, each held against the network of PyTorch that it came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from models.realzoo.checkpoints import load_source, load_target, name_target
from models.realzoo.data.pool import SIZE, Pixels
from models.realzoo.networks import Network
from models.realzoo.zoo import PREPROCESSING, SOURCES, Exporter, preprocess
from onnxspace.storage.atomic import scratch_folder

#: Largest difference of an exported file from its network, as a share of the logits' standard deviation.
TOLERANCE = 1e-4


class DifferentExportError(RuntimeError):
    """An exported file computes something else than its network."""


@dataclass(frozen=True)
class Order:
    """What is exported: a network, its architecture, how it takes images, and by which exporter."""

    name: str
    network: Network
    architecture: str
    preprocessing: str
    exporter: Exporter

    @classmethod
    def of_source(cls, name: str, work: Path) -> Order:
        """For a source in the cache."""
        one = SOURCES[name]
        return cls(name, load_source(name, work), one.architecture, one.preprocessing, one.exporter)

    @classmethod
    def of_target(cls, target: str, work: Path) -> Order:
        """For a target's own network in the cache."""
        architecture, preprocessing = name_target(target)
        return cls(target, load_target(target, work), architecture, preprocessing, "torchscript")

    @property
    def layout(self) -> str:
        """Keras takes channels last."""
        return "NHWC" if self.exporter == "keras" else "NCHW"


def export(order: Order, target: Path, probes: Pixels, python: str | None = None) -> None:
    """Write `target` and its sidecar. `probes` are images that both are compared on; `python` is an interpreter with Keras.

    Raises DifferentExportError where the file and the network differ.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if order.exporter == "keras":
        _export_keras(order, target, python or sys.executable)
    else:
        _export_torch(order, target)
    _strip(target)
    difference = compare(order, target, probes)
    if difference > TOLERANCE:
        target.unlink()
        raise DifferentExportError(f"{target.name} differs from its network by {difference:.1e} of its logits' deviation.")
    target.with_name(f"{target.stem}.onnxspace.toml").write_text(format_sidecar(order), "utf-8")


def _export_torch(order: Order, target: Path) -> None:
    example = torch.zeros(2, 3, SIZE, SIZE)
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if order.exporter == "torchscript":
            axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
            torch.onnx.export(
                order.network, (example,), str(target), dynamo=False, opset_version=17, dynamic_axes=axes, **names
            )
        else:
            shapes = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                order.network, (example,), str(target), dynamo=True, opset_version=18, dynamic_shapes=shapes,
                external_data=False, verbose=False, **names,
            )  # fmt: skip


def _export_keras(order: Order, target: Path, python: str) -> None:
    """The same weights in a network of Keras, exported by tf2onnx, in a process of its own."""
    with scratch_folder() as folder:
        weights = folder / "weights.npz"
        arrays = {key: value.numpy() for key, value in order.network.state_dict().items() if "num_batches" not in key}
        np.savez(weights, **arrays)
        about = json.dumps({"architecture": order.architecture, "byte": order.preprocessing == "byte", "name": order.name})
        command = [python, str(Path(__file__).with_name("keras_twins.py")), about, str(weights), str(target)]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}
        subprocess.run(command, check=True, env=os.environ | quiet, capture_output=True)


def _strip(target: Path) -> None:
    """Without the exporter's notes on where in whose files a node came from."""
    model = onnx.load(target)
    model.doc_string = ""
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    target.write_bytes(model.SerializeToString())


def compare(order: Order, file: Path, images: Pixels) -> float:
    """The largest difference of logits, as a share of their standard deviation."""
    with torch.inference_mode():
        own = order.network(torch.from_numpy(preprocess(images, order.preprocessing))).numpy()
    found = run(file, feed(images, order.preprocessing, order.layout))
    return float(np.abs(found - own).max() / max(own.std(), 1e-6))


def feed(images: Pixels, preprocessing: str, layout: str) -> NDArray[np.float32]:
    """Bytes [n, 32, 32, 3] as the file takes them."""
    scale, mean, std = PREPROCESSING[preprocessing]
    scaled = (images.astype(np.float32) * np.float32(scale) - np.array(mean, np.float32)) / np.array(std, np.float32)
    x = np.asarray(scaled, np.float32)
    return x if layout == "NHWC" else np.ascontiguousarray(np.moveaxis(x, -1, 1))


def run(file: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a file answers."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found: Any = session.run(None, {session.get_inputs()[0].name: images})[0]
    return np.asarray(found, np.float32)


def format_sidecar(order: Order) -> str:
    """How the file takes images, as `onnxspace` reads it beside the file."""
    _, mean, std = PREPROCESSING[order.preprocessing]
    values: Mapping[str, str] = {
        "size": f"[{SIZE}, {SIZE}]",
        "layout": f'"{order.layout}"',
        "color": '"RGB"',
        "scale": '"1"' if order.preprocessing == "byte" else '"1/255"',
        "mean": str(list(mean)),
        "std": str(list(std)),
    }
    return "".join(f"{name} = {value}\n" for name, value in values.items())
