"""Checkpoints of unfinished runs: weights and the optimiser's state in one safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from onnxspace.storage.atomic import whole_file

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(file: Path, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Write the state of a module and of its AdamW optimiser, atomically. Raises OutputError."""
    state = {f"module/{name}": value for name, value in module.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimiser)):
        for part in _MOMENTS:
            if part in optimiser.state.get(parameter, {}):
                state[f"optimiser/{index}/{part}"] = optimiser.state[parameter][part]
    with whole_file(file) as partial:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, partial)


def load_checkpoint(file: Path, module: nn.Module, optimiser: torch.optim.Optimizer | None = None) -> None:
    """Read what `save_checkpoint` wrote, in place."""
    state = load_file(file)
    module.load_state_dict({name[7:]: value for name, value in state.items() if name.startswith("module/")})
    for index, parameter in enumerate(_parameters(optimiser) if optimiser is not None else []):
        found = {part: state.get(f"optimiser/{index}/{part}") for part in _MOMENTS}
        if optimiser is not None and all(value is not None for value in found.values()):
            optimiser.state[parameter] = {part: _move(value, part, parameter) for part, value in found.items()}


def _move(value: Tensor | None, part: str, parameter: Tensor) -> Tensor | None:
    return value if value is None or part == "step" else value.to(parameter.device)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
