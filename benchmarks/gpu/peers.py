"""captum and zennit on the same networks, where they are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.bench import LARGE, Bench


def measure_peers(bench: Bench, path: Path, x: torch.Tensor) -> dict[str, float | str]:
    """captum's and zennit's ε-LRP or gradient of the native network, in images per second; a word where one fails."""
    if path.stem not in LARGE:
        return {}
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.get_model(path.stem, weights=None).eval().to(bench.device)
    found: dict[str, float | str] = {}
    for name, make in (("captum", _captum), ("zennit", _zennit)):
        if importlib.util.find_spec(name) is None:
            found[name] = "not installed"
            continue
        try:
            run = make(net, x)
            found[name] = len(x) / bench.seconds(run, 3)
        except Exception as error:  # of another library, on a network that it does not support
            found[name] = f"fails ({type(error).__name__})"
    return found


def _captum(net: torch.nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    import captum.attr

    return lambda: captum.attr.InputXGradient(lambda image: net(image).sum(dim=1)).attribute(x.detach().requires_grad_(True))


def _zennit(net: torch.nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    import zennit.attribution
    import zennit.composites
    import zennit.rules
    import zennit.types

    rules = [*zennit.composites.layer_map_base(), (zennit.types.Linear, zennit.rules.Epsilon(1e-6))]

    def run() -> Any:
        composite = zennit.composites.LayerMapComposite(rules)
        with zennit.attribution.Gradient(net, composite, attr_output=torch.ones_like) as attributor:
            return attributor(x)

    return run
