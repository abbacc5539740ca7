"""Training in PyTorch: `python -m models.minitaskonomy.training.torch_trainer ORDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.minitaskonomy.training import process
from models.minitaskonomy.training.networks import Net, build_network, compute_loss, scale
from models.minitaskonomy.training.process import Array, LabelledImages, Order, Say, TrainingResult

_BANK = 2**22


def train(order: Order, seen: LabelledImages, say: Say) -> TrainingResult:
    """Train a network of PyTorch."""
    torch.manual_seed(order.job.seed)
    device = torch.device("cuda" if order.device != "cpu" and torch.cuda.is_available() else "cpu")
    net = build_network(order.job.task.kind, order.job.task.channels, order.job.architecture)
    net.train().to(device).to(memory_format=torch.channels_last)
    half = prefers_bfloat16(device)
    losses = _run_epochs(net, order, _move_to_device(seen, device), half, say)
    net = net.to("cpu").to(memory_format=torch.contiguous_format).eval()
    return TrainingResult(
        lambda path: _save(net, path), lambda images: answer(net, images), losses, "bfloat16 products" if half else "float32"
    )


def prefers_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster here: on GPUs, and on processors with tiles for them."""
    tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return device.type == "cuda" or bool(tiles())


def _move_to_device(seen: LabelledImages, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images and labels in as little memory as does no harm."""
    pictures = torch.from_numpy(np.ascontiguousarray(seen.images)).to(device).contiguous(memory_format=torch.channels_last)
    small = np.float16 if seen.labels.dtype.kind == "f" else np.uint8
    return pictures, torch.from_numpy(seen.labels.astype(small)).to(device)


def _run_epochs(net: Net, order: Order, held: tuple[Tensor, Tensor], half: bool, say: Say) -> list[float]:
    settings, count = order.settings, len(held[0])
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.decay, fused=True)
    steps, step, losses = process.count_steps(count, settings), 0, list[float]()
    noise = _Noise(settings.noise, held[0].device)
    for epoch in range(settings.epochs):
        found = []
        for rows in process.draw_batches(count, order, epoch):
            optimiser.param_groups[0]["lr"] = process.compute_rate(step, steps, settings)
            at = torch.from_numpy(rows).to(held[0].device)
            found.append(_take_step(net, optimiser, (noise(scale(held[0][at])), held[1][at]), order, half))
            step += 1
        losses.append(float(torch.stack(found).mean()))
        say(process.format_epoch(epoch, settings, losses[-1]))
    return losses


def _take_step(net: Net, optimiser: torch.optim.Optimizer, batch: tuple[Tensor, Tensor], order: Order, half: bool) -> Tensor:
    """One step of training; the loss before it."""
    optimiser.zero_grad()
    with torch.autocast(batch[0].device.type, torch.bfloat16, enabled=half):
        found = net(batch[0])
    truth = batch[1].float() if batch[1].is_floating_point() else batch[1].long()
    error = compute_loss(order.job.task.kind, found.float(), truth)
    error.backward()
    optimiser.step()
    return error.detach()


class _Noise:
    """Gaussian noise, of another strength in each image, from a bank of numbers: drawing them anew takes as long as a layer."""

    def __init__(self, most: float, device: torch.device) -> None:
        self.most, self.bank = most, torch.randn(_BANK).to(device)

    def __call__(self, x: Tensor) -> Tensor:
        """The same images, noisy."""
        at = int(torch.randint(_BANK - x.numel() + 1, ()))
        strength = torch.rand(len(x), 1, 1, 1).to(x.device) * self.most
        drawn = self.bank[at : at + x.numel()].view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
        return x + drawn * strength


def answer(net: Net, images: Array) -> Array:
    """What the network says of images uint8 [n, 3, 64, 64]."""
    net.eval()
    with torch.no_grad():
        parts = [net(scale(torch.from_numpy(np.ascontiguousarray(part)))).numpy() for part in _split(images)]
    return np.concatenate(parts)


def _split(images: Array) -> list[Array]:
    return [images[at : at + 250] for at in range(0, len(images), 250)]


def _save(net: Net, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(net.state_dict(), path)


if __name__ == "__main__":
    torch.set_num_threads(1)  # with more, the order of sums and so the weights can change; several networks train at once
    process.run_order(train, sys.argv[1])
