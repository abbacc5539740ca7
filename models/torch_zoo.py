"""Train, export and differentiate the PyTorch networks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

import tasks
import torch_nets
from tasks import CLASSES, NOISE, SPARSE, WORK, Spec

BATCH = 64
torch.set_num_threads(1)  # with more, the order of sums and so the weights can change
torch.use_deterministic_algorithms(True)


def build(spec: Spec) -> torch_nets.Net:
    """The untrained network."""
    return getattr(torch_nets, spec.net)(CLASSES.get(spec.label, 1))


def load(spec: Spec) -> torch_nets.Net:
    """The trained network, in evaluation mode."""
    net = build(spec)
    net.load_state_dict(torch.load(WORK / f"{spec.name}.pt", weights_only=True))
    if spec.exporter == "dynamo":
        fold(net.eval())  # the exporter would, and then the file had other weights than the network
    return net.eval().to(memory_format=torch.contiguous_format)


def fold(net: torch.nn.Module) -> None:
    """Merge every batch normalisation into the convolution before it, in place."""
    for part in net.modules():
        names = list(part._modules) if isinstance(part, torch.nn.Sequential) else []
        for first, second in pairwise(names):
            pair = part._modules[first], part._modules[second]
            if isinstance(pair[0], torch.nn.Conv2d) and isinstance(pair[1], torch.nn.BatchNorm2d):
                part._modules[first] = fuse_conv_bn_eval(*pair)
                part._modules[second] = torch.nn.Identity()


def begin(spec: Spec) -> torch_nets.Net:
    """The network as training starts: the weights of `spec.start` wherever they fit."""
    torch.manual_seed(0)
    net = build(spec)
    if spec.start:
        own, old = net.state_dict(), torch.load(WORK / f"{spec.start}.pt", weights_only=True)
        net.load_state_dict({key: old[key] if old[key].shape == value.shape else value for key, value in own.items()})
    return net.train().to(memory_format=torch.channels_last)


def turned(x: Tensor, y: Tensor, label: str, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch turned and mirrored, where the label allows it; digits are shifted instead."""
    if label == "light":
        return x, y
    if label == "digits":
        shift = tuple(int(step) for step in rng.integers(-3, 4, 2))
        return torch.roll(x, shift, (2, 3)), y
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def turn(t: Tensor) -> Tensor:
        t = torch.rot90(t, turns, (-2, -1))
        return t.flip(-1) if mirror else t

    return turn(x), turn(y) if y.ndim > 1 else y


def noisy(x: Tensor) -> Tensor:
    """A batch with noise, of another strength in each image: gradients become smooth."""
    return x + torch.randn_like(x) * torch.rand(len(x), 1, 1, 1) * NOISE


def loss(label: str, logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of classes, or of every pixel."""
    if label in CLASSES:
        return functional.cross_entropy(logits, y, label_smoothing=0.05)
    weight = torch.tensor(3.0) if label == "edges" else None
    return functional.binary_cross_entropy_with_logits(logits[:, 0], y, pos_weight=weight)


def train(spec: Spec) -> None:
    """Train, and keep the weights in the work folder."""
    net, rng = begin(spec), np.random.default_rng(0)
    x, y = map(torch.from_numpy, spec.batch(tasks.data(spec.label)))
    steps = spec.epochs * (len(x) // BATCH)
    parts = [{"params": part.parameters()} for part in (net.encoder, net.head)]
    optimiser = torch.optim.AdamW(parts, lr=spec.rate, weight_decay=0.02)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, [spec.rate * spec.slow, spec.rate], total_steps=steps)
    for _ in range(spec.epochs):
        for rows in np.array_split(rng.permutation(len(x)), len(x) // BATCH):
            seen, truth = turned(x[rows], y[rows], spec.label, rng)
            optimiser.zero_grad()
            code = net.encode(noisy(seen).contiguous(memory_format=torch.channels_last))
            (loss(spec.label, net.decode(code), truth) + SPARSE * code.mean()).backward()
            optimiser.step()
            rate.step()
    WORK.mkdir(exist_ok=True)
    torch.save(net.state_dict(), WORK / f"{spec.name}.pt")


@torch.no_grad()
def predict(spec: Spec, x: np.ndarray) -> np.ndarray:
    """The network's own output."""
    net = load(spec)
    return torch.cat([net(part) for part in torch.from_numpy(x).split(250)]).numpy()


def gradient(spec: Spec, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's output and the gradient of its sum over the input."""
    point = torch.from_numpy(x).requires_grad_()
    code = load(spec).encode(point)
    code.sum().backward()
    return code.detach().numpy(), point.grad.numpy()


def export(spec: Spec, path: Path) -> None:
    """Write the ONNX file, with a free batch size."""
    net = load(spec)
    example = (torch.from_numpy(spec.input(np.zeros((2, 64, 64, 3), np.uint8))),)
    names = {"input_names": ["image"], "output_names": ["output"]}
    if spec.exporter == "dynamo":
        torch.onnx.export(
            net,
            example,
            path,
            dynamo=True,
            opset_version=18,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            **names,
        )
    else:
        torch.onnx.export(
            net,
            example,
            path,
            dynamo=False,
            opset_version=17,
            dynamic_axes={"image": {0: "batch"}, "output": {0: "batch"}},
            **names,
        )
