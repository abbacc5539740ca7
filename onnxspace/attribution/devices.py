"""Torch's devices and settings for a `Compute`: precision and determinism."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import torch

from onnxspace.errors import ConfigError
from onnxspace.inputs.execution import Compute, Device

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_compute(compute: Compute | Device) -> Compute:
    """Return the settings that a device's name stands for, or the given ones. Raises ConfigError for what this machine can't do.

    >>> resolve_compute("cpu").precision
    'float32'
    """
    resolved = compute if isinstance(compute, Compute) else Compute(compute)
    if resolved.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: Torch sees no CUDA device here. Use --device cpu, or install a CUDA build of torch.")
    if resolved.precision == "tf32" and list_devices(resolved)[0].type != "cuda":
        raise ConfigError("--precision tf32 is a mode of CUDA devices. Use float32 or bf16 here.")
    return replace(resolved, precision=resolved.precision or "float32")


def list_devices(compute: Compute) -> list[torch.device]:
    """Return the devices that share the images: all GPUs that Torch sees (`auto`, `cuda`), or the CPU."""
    if compute.device != "cpu" and torch.cuda.is_available():
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [torch.device("cpu")]


@contextmanager
def configure_torch(compute: Compute) -> Iterator[None]:
    """Set Torch's precision and determinism for the block and restore them after it; TF32 is off unless `compute` asks for it."""
    fast = compute.precision == "tf32"
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    strict, warning = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is not deterministic without it
        torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fast
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
        if compute.deterministic:  # each call imports Torch's compiler, which takes as long as Torch
            torch.use_deterministic_algorithms(strict, warn_only=warning)


def autocast_for(compute: Compute, device: torch.device) -> AbstractContextManager[object]:
    """Return the context for computing products in half precision on `device`; it does nothing for other precisions.

    Passes that are recorded may not keep shortened weights from one to the next.
    """
    dtype = _HALVES.get(compute.precision or "float32")
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype, cache_enabled=not compute.compiled)
