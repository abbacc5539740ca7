"""Activations that have an ONNX operator, recognised by their values and replaced by one fast Torch operator."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply

#: ONNX operator → equivalent Torch activations.
KNOWN: dict[str, tuple[nn.Module, ...]] = {
    "Gelu": (nn.GELU(), nn.GELU("tanh")),
    "Swish": (nn.SiLU(),),
    "HardSwish": (nn.Hardswish(),),
    "Mish": (nn.Mish(),),
    "QuickGelu": (Apply(lambda z: z * torch.sigmoid(1.702 * z)),),
}
_TOLERANCE = 1e-5  # relative, absolute below 1: rounding of formulas is smaller, differences of activations are larger


@cache
def _sample_points() -> Tensor:
    """Points at which activations are compared: dense around zero, where they differ, and far out, where formulas overflow."""
    near = torch.linspace(-12, 12, 4097)
    return torch.cat([near, torch.tensor([-1e4, -100.0, -40.0, 40.0, 100.0, 1e4])])


def recognise(function: nn.Module) -> tuple[str, nn.Module] | None:
    """The name and the module of the known activation that `function`, of one tensor, is equal to; None where there is none."""
    z = _sample_points()
    with torch.no_grad():
        try:
            found = function(z)
        except Exception:  # it depends on a constant of some shape, so it is not a function of one number
            return None
        if not isinstance(found, Tensor) or found.shape != z.shape:
            return None
        for name, modules in KNOWN.items():
            for module in modules:
                if bool(F.relu((found - module(z)).abs() - _TOLERANCE * module(z).abs().clamp(min=1)).max() == 0):
                    return name, module
    return None
