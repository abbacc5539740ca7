"""Attribution maps of one model over a probe set: one forward and one backward pass per image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.convert import Converted, convert
from onnxspace.convert.verify import outputs_of
from onnxspace.errors import AttributionError, ConfigError
from onnxspace.lrp import with_rules
from onnxspace.model import Model, open_model
from onnxspace.preprocess import Preprocess
from onnxspace.probes import Probes

Method = Literal["elrp", "saliency", "gradient-x-input"]
METHODS: tuple[Method, ...] = get_args(Method)
Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)
VERIFIED_IMAGES = 2
_WORKING_SET = 400 * 2**20  # bytes of activations and gradients of one batch on a CPU: fixed, so that reruns are equal
_MAX_BATCH = 64


@dataclass(frozen=True)
class Explainer:
    """A converted model, ready to explain batches on one device."""

    path: str
    graph: torch.fx.GraphModule
    preprocess: Preprocess
    method: Method
    device: torch.device
    rows: Tensor
    columns: Tensor

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps of uint8 [images, size, size, 3]: float32 [images, size, size], signed unless the method is saliency."""
        values = torch.from_numpy(self.preprocess(images)).to(self.device).requires_grad_(True)
        explained = torch.stack([output.sum() for output in outputs_of(self.graph, values)]).sum()
        gradient = self._gradient(explained, values)
        per_pixel = gradient.abs() if self.method == "saliency" else values.detach() * gradient
        reduced = per_pixel.mean(dim=1 if self.preprocess.layout == "NCHW" else 3)
        placed: NDArray[np.float32] = (self.rows @ reduced @ self.columns.T).cpu().numpy()
        return placed

    def _gradient(self, explained: Tensor, values: Tensor) -> Tensor:
        found = torch.autograd.grad(explained, values, allow_unused=True)[0] if explained.requires_grad else None
        if found is None:
            raise AttributionError(f"{self.path}: no gradient reaches the image from the encoder. Name another --encoder.")
        return found


def explainer(model: Model, converted: Converted, method: Method, device: torch.device, size: int) -> Explainer:
    """Prepare a verified graph: rules of the method, and the way back to maps of side `size`."""
    graph = with_rules(converted.graph) if method == "elrp" else converted.graph
    rows, columns = (torch.from_numpy(m).to(device, torch.float32) for m in model.preprocess.inverse(size))
    return Explainer(model.path, graph.to(device), model.preprocess, method, device, rows, columns)


def attribute(
    model: Model | str | Path,
    probes: Probes,
    method: Method = "elrp",
    *,
    device: Device = "auto",
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """Maps of every probe image: float32 [images, size, size], on the probe's own pixels.

    `elrp` is ε-LRP as a modified gradient, `gradient-x-input` is `x · dS/dx`, `saliency` is `|dS/dx|`, with S the sum over
    the encoder's units and the mean taken over input channels. Raises ModelError and its kin.
    """
    opened = model if isinstance(model, Model) else open_model(model)
    converted = convert(opened, probes.images[:VERIFIED_IMAGES])
    return np.concatenate(list(map_batches(opened, converted, probes, method, device, batch_size)))


def map_batches(
    model: Model,
    converted: Converted,
    probes: Probes,
    method: Method,
    device: Device = "auto",
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Maps batch by batch, float32 [some images, size, size]; `progress` gets the number of images of each.

    A batch that does not fit in memory is halved and tried again.
    """
    engine = explainer(model, converted, method, choose_device(device), probes.size)
    size = _batch_size(converted, batch_size, engine.device)
    done = 0
    while done < len(probes):
        batch = probes.images[done : done + size]
        try:
            maps = engine.maps(batch)
        except (RuntimeError, MemoryError) as error:
            size = _smaller(error, len(batch), model.path)
            continue
        _check_finite(maps, done, model.path)
        done += len(batch)
        if progress is not None:
            progress(len(batch))
        yield maps


def choose_device(device: Device) -> torch.device:
    """`auto` takes the GPU where Torch sees one. Raises ConfigError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: Torch sees no CUDA device here. Use --device cpu, or install a CUDA build of torch.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def _batch_size(converted: Converted, asked: int | None, device: torch.device) -> int:
    if not converted.batchable:
        return 1
    if asked is not None:
        return asked
    budget = torch.cuda.mem_get_info()[0] // 2 if device.type == "cuda" else _WORKING_SET
    return int(max(1, min(_MAX_BATCH, budget // max(1, 3 * converted.bytes_per_image))))


def _smaller(error: BaseException, batch: int, path: str) -> int:
    """Half the batch after a failed allocation; any other error, or one image that does not fit, goes on."""
    words = str(error).lower()
    if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "memory" not in words:
        raise error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if batch == 1:
        raise AttributionError(
            f"{path}: one image does not fit in memory. Use a smaller `size` or another --device."
        ) from error
    return batch // 2


def _check_finite(maps: NDArray[np.float32], first: int, path: str) -> None:
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
    if bad.size:
        raise AttributionError(
            f"{path}: the map of probe image {first + int(bad[0])} is not finite. Try another --method or check the preprocessing."
        )
