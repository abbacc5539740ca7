"""Where and how maps are computed: processor, precision, determinism. What they are does not change but for rounding."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from onnxspace.errors import ConfigError
from onnxspace.inputs.execution import Compute, Device

_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_compute(compute: Compute | Device) -> Compute:
    """A device's name as the settings it stands for. Raises ConfigError for what this machine can't do."""
    made = compute if isinstance(compute, Compute) else Compute(compute)
    if made.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: Torch sees no CUDA device here. Use --device cpu, or install a CUDA build of torch.")
    if made.precision == "tf32" and list_devices(made)[0].type != "cuda":
        raise ConfigError("--precision tf32 is a mode of CUDA devices. Use float32 or bf16 here.")
    return made


def list_devices(compute: Compute) -> list[torch.device]:
    """The processors that share the images: every GPU that Torch sees (`auto`, `cuda`), or the CPU."""
    if compute.device != "cpu" and torch.cuda.is_available():
        return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [torch.device("cpu")]


@contextmanager
def configure_torch(compute: Compute) -> Iterator[None]:
    """Torch set up for a block: float32 is float32 on a GPU too unless tf32 is asked for; restored afterwards."""
    fast = compute.precision == "tf32"
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    strict, warning = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses to be deterministic without
        torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = fast
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
        torch.use_deterministic_algorithms(strict, warn_only=warning)


def autocast_for(compute: Compute, device: torch.device) -> torch.autocast:
    """The context in which products are computed in half precision, where that is asked for."""
    dtype = _HALVES.get(compute.precision)
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)
