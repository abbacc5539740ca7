"""A worker's task that says with how many threads its libraries compute."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

from onnxspace.model.runtime import make_session_options


def count_threads(request: Mapping[str, Any], advance: Callable[[int], None]) -> dict[str, Any]:
    """The threads of Torch and of a session of ONNX Runtime, and what the environment says."""
    stated = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")]
    return {
        "torch": torch.get_num_threads(), "session": make_session_options(optimise=True).intra_op_num_threads,
        "environment": stated,
    }  # fmt: skip


TASKS = {"threads": count_threads}
