"""What `onnxspace diff` takes for networks of 4,000 nodes: python -m benchmarks.unfused

Writes a network like ResNet-152 and one like ViT-B with random weights as TorchScript's exporter does where nothing is fused: normalisations
and activations written out, shapes as nodes, branches for the heads of attention. Each is compared with itself after one layer was trained further, in
a process of its own. Needs 2 GB of disk.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from benchmarks.diff import Transformer, make_resnet, measure, train


class WrittenNorm(nn.Module):
    """A batch normalisation as a sum, a product and what computes their operands."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.register_buffer("mean", norm.running_mean)
        self.register_buffer("variance", norm.running_var)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance, weight, bias = (one[None, :, None, None] for one in (self.mean, self.variance, self.weight, self.bias))
        return (x - mean) / torch.sqrt(variance + self.eps) * weight + bias


class WrittenLayerNorm(nn.Module):
    """A layer normalisation as its formula."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gap = x - x.mean(-1, keepdim=True)
        return gap / torch.sqrt((gap * gap).mean(-1, keepdim=True) + self.eps) * self.weight + self.bias


class WrittenBlock(nn.Module):
    """A block of a transformer with four branches of heads, and a GELU by its formula."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.heads, self.branches = int(block.heads), 4  # type: ignore[arg-type]
        self.first, self.second = (WrittenLayerNorm(norm) for norm in (block.first, block.second))  # type: ignore[arg-type]
        self.read, self.write, self.up, self.down = block.read, block.write, block.up, block.down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.read(self.first(x))  # type: ignore[operator]
        side, width = x.shape[-1] // self.branches, x.shape[-1] // self.heads
        values = []
        for branch in range(self.branches):
            query, key, value = (
                parts[..., k * x.shape[-1] + branch * side :][..., :side].unflatten(-1, (-1, width)).transpose(1, 2)
                for k in range(3)
            )
            scores = query @ key.transpose(-2, -1) / torch.sqrt(torch.tensor(float(width)))
            shares = torch.exp(scores - scores.amax(-1, keepdim=True))
            values.append((shares / shares.sum(-1, keepdim=True) @ value).transpose(1, 2).flatten(2))
        x = x + self.write(torch.cat(values, -1))  # type: ignore[operator]
        inner = self.up(self.second(x))  # type: ignore[operator]
        return x + self.down(0.5 * inner * (1 + torch.erf(inner / 2**0.5)))  # type: ignore[operator]


def write_out(network: nn.Module) -> nn.Module:
    """The network with its normalisations and blocks written out."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(network, name, WrittenNorm(child))
        elif isinstance(child, nn.LayerNorm):
            setattr(network, name, WrittenLayerNorm(child))
        elif hasattr(child, "heads"):
            setattr(network, name, WrittenBlock(child))
        else:
            write_out(child)
    return network


def write(network: nn.Module, path: Path) -> None:
    """Write a network with a batch of any size, and nothing folded."""
    torch.onnx.export(
        network, (torch.randn(1, 3, 224, 224),), str(path), dynamo=False, opset_version=16, do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE, input_names=["image"], dynamic_axes={"image": {0: "batch"}},
    )  # fmt: skip


def main() -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, network, layer in (("resnet152", make_resnet(), "24.body.3"), ("vit_b", Transformer().eval(), "blocks.5.up")):
            written = write_out(network).eval()
            write(written, place / f"{name}.onnx")
            train(written.get_submodule(layer))
            write(written, place / f"{name}-trained.onnx")
            print(measure(place / f"{name}.onnx", place / f"{name}-trained.onnx", place / "diff.html"), flush=True)


if __name__ == "__main__":
    main()
