"""One network gives one map, whichever of PyTorch's exporters and opsets wrote the file."""

from __future__ import annotations

import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

import onnxspace as ox
from onnxspace.attribution.maps import Method
from tests.helpers.nets import worst_cosine
from tests.helpers.noise import probes

SIZE = 16
EXPORTERS = {"script17": (False, 17), "dynamo18": (True, 18), "dynamo20": (True, 20), "dynamo23": (True, 23)}
METHODS: tuple[Method, ...] = ("elrp", "saliency", "attnlrp")


class Attention(nn.Module):
    """Two heads through the framework's own function."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.inputs(x).chunk(3, -1))
        made: Tensor = self.output(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return made


class Block(nn.Module):
    """A transformer's block over 4 × 4 patches."""

    def __init__(self, norm: type[nn.Module], activation: nn.Module, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.first, self.second, self.last = norm(width), norm(width), norm(width)
        self.attention = Attention(width)
        self.dense = nn.Sequential(nn.Linear(width, 32), activation, nn.Linear(32, width))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.attention(self.first(x))
        x = x + self.dense(self.second(x))
        made: Tensor = self.head(self.last(x).mean(1))
        return made


class RootMeanSquare(nn.Module):
    """RMS normalisation as language models write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))
        return made


class OverChannels(nn.Module):
    """Layer normalisation of channel-first tensors, as ConvNeXt writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


def convolutions(*layers: nn.Module) -> nn.Module:
    """A convolution, the layers, another one, pooled."""
    end = nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *layers, *end)


#: Name → network, and the operators that all its files must have, how often.
NETWORKS: dict[str, tuple[nn.Module, dict[str, int]]] = {
    "LayerNorm": (Block(nn.LayerNorm, nn.GELU()), {"LayerNormalization": 3, "Softmax": 1}),
    "RMSNorm": (Block(RootMeanSquare, nn.SiLU()), {"RMSNormalization": 3, "Softmax": 1}),
    "GroupNorm": (convolutions(nn.GroupNorm(4, 8), nn.SiLU()), {"GroupNormalization": 1}),
    "LayerNorm of channels": (convolutions(OverChannels(8), nn.GELU("tanh")), {"LayerNormalization": 1}),
    "activations": (convolutions(nn.Hardswish(), nn.Conv2d(8, 8, 1), nn.Mish()), {}),
}
_IN_PIECES = {"ReduceMax", "Pow", "Erf", "Tanh", "InstanceNormalization", "Attention", "Exp"}


#: The exporters of each network here: all that write it differently. The stage of all cases has all for all.
SHARES = {
    "LayerNorm": tuple(EXPORTERS), "RMSNorm": ("script17", "dynamo23"), "GroupNorm": ("script17", "dynamo18", "dynamo23"),
    "LayerNorm of channels": ("script17", "dynamo23"), "activations": ("script17", "dynamo18"),
}  # fmt: skip
CASES = [
    *(pytest.param((name, exporters), id=name) for name, exporters in SHARES.items()),
    *(
        pytest.param((name, tuple(EXPORTERS)), id=f"{name}, all exporters", marks=pytest.mark.exhaustive)
        for name, exporters in SHARES.items()
        if len(exporters) < len(EXPORTERS)
    ),
]


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Path]]]:
    """A network's name and its file by exporter."""
    name, exporters = request.param
    made, folder = NETWORKS[name][0].eval(), tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) / 8)
    logging.disable(logging.ERROR)
    program = torch.export.export(made, (torch.randn(2, 3, SIZE, SIZE),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    yield name, {one: export(made, program, folder / f"{one}.onnx", one) for one in exporters}
    logging.disable(logging.NOTSET)


def export(made: nn.Module, program: torch.export.ExportedProgram, path: Path, exporter: str) -> Path:
    """The dynamo exporters take the same program, which does not depend on the opset."""
    dynamo, opset = EXPORTERS[exporter]
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(program, f=path, dynamo=True, opset_version=opset, external_data=False, verbose=False)
        else:
            example, axes = (torch.randn(2, 3, SIZE, SIZE),), {"x": {0: "batch"}}
            torch.onnx.export(made, example, path, dynamo=False, opset_version=opset, input_names=["x"], dynamic_axes=axes)
    return path


def operators(graph: torch.fx.GraphModule) -> Counter[str]:
    return Counter(str(node.target).rsplit("_", 1)[0] for node in graph.graph.nodes if node.op == "call_module")


def input_gradient(function: nn.Module, x: Tensor) -> NDArray[np.float64]:
    x = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(function(x).sum(), x)
    return gradient.double().numpy()


def test_maps_are_the_same_from_every_exporter(exported: tuple[str, dict[str, Path]]) -> None:
    name, files = exported
    images = probes(2, SIZE)
    for method in METHODS:
        found = [ox.attribute(path, images, method, device="cpu") for path in files.values()]
        least = min(worst_cosine(a, b) for a, b in combinations(found, 2))
        assert least >= 0.9999, f"{name}, {method}"


def test_every_file_ends_in_the_same_operators_and_the_frameworks_gradient(exported: tuple[str, dict[str, Path]]) -> None:
    name, files = exported
    network, wanted = NETWORKS[name]
    x = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    expected = input_gradient(network.double(), x.double())
    network.float()
    for exporter, path in files.items():
        graph = ox.to_torch(path)
        found = operators(graph)
        assert {key: found[key] for key in wanted} == wanted, exporter
        assert not _IN_PIECES & found.keys(), exporter
        np.testing.assert_allclose(input_gradient(graph, x), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_every_file_has_as_many_parameters_as_the_network(exported: tuple[str, dict[str, Path]]) -> None:
    name, files = exported
    expected = sum(parameter.numel() for parameter in NETWORKS[name][0].parameters())
    assert {exporter: ox.inspect(path).parameters for exporter, path in files.items()} == dict.fromkeys(files, expected)
