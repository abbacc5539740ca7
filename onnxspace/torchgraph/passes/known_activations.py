"""Activations known by name, recognised by their values: one fast operator in place of a formula."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from onnxspace.torchgraph.registry import Apply

#: ONNX operator → activations that Torch computes in one pass.
KNOWN: dict[str, tuple[nn.Module, ...]] = {
    "Gelu": (nn.GELU(), nn.GELU("tanh")),
    "Swish": (nn.SiLU(),),
    "HardSwish": (nn.Hardswish(),),
    "Mish": (nn.Mish(),),
    "QuickGelu": (Apply(lambda z: z * torch.sigmoid(1.702 * z)),),
}
_TOLERANCE = 1e-5  # of the value, or absolute below 1: formulas in single precision differ by less, activations by more


@cache
def _points() -> Tensor:
    """Where activations are compared: densely around zero, where they differ, and far away, where formulas overflow."""
    near = torch.linspace(-12, 12, 4097)
    return torch.cat([near, torch.tensor([-1e4, -100.0, -40.0, 40.0, 100.0, 1e4])])


def recognised(function: nn.Module) -> tuple[str, nn.Module] | None:
    """The name and the module of a known activation that a function of one tensor equals; None where it is another."""
    z = _points()
    with torch.no_grad():
        try:
            found = function(z)
        except Exception:  # it broadcasts with a constant of some shape: not a function of one number
            return None
        if not isinstance(found, Tensor) or found.shape != z.shape:
            return None
        for name, modules in KNOWN.items():
            for module in modules:
                if bool(F.relu((found - module(z)).abs() - _TOLERANCE * module(z).abs().clamp(min=1)).max() == 0):
                    return name, module
    return None
