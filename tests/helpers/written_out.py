"""Operators as exporters write them out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tests.helpers.nets import Net

Write = Callable[[Net, str], str]


def scalar(net: Net, value: float) -> str:
    return net.weight(np.float32(value))


def silu(net: Net, x: str) -> str:
    return net.add("Mul", x, net.add("Sigmoid", x))


def gelu_erf(net: Net, x: str) -> str:
    half = net.add("Mul", x, scalar(net, 0.5))
    return net.add("Mul", half, net.add("Add", net.add("Erf", net.add("Div", x, scalar(net, 2**0.5))), scalar(net, 1)))


def gelu_tanh(net: Net, x: str) -> str:
    cube = net.add("Mul", net.add("Mul", x, x), x)
    inner = net.add("Mul", net.add("Add", x, net.add("Mul", cube, scalar(net, 0.044715))), scalar(net, (2 / np.pi) ** 0.5))
    return net.add("Mul", net.add("Mul", scalar(net, 0.5), x), net.add("Add", net.add("Tanh", inner), scalar(net, 1)))


WIDTH, EPS = 8, 1e-3


AFFINE = np.random.default_rng(5).standard_normal((2, WIDTH)).astype(np.float32) + 1


def number(net: Net, x: str, axes: list[int], operator: str = "ReduceMean") -> str:
    return net.add(operator, x, axes=axes)


def moments(net: Net, x: str, axes: list[int]) -> tuple[str, str]:
    """The difference from the mean, and the variance with ε."""
    centred = net.add("Sub", x, number(net, x, axes))
    variance = number(net, net.add("Pow", centred, scalar(net, 2)), axes)
    return centred, net.add("Add", variance, scalar(net, EPS))


def affine(net: Net, x: str, shape: tuple[int, ...]) -> str:
    scaled = net.add("Mul", net.weight(AFFINE[0].reshape(shape)), x)
    return net.add("Add", scaled, net.weight(AFFINE[1].reshape(shape)))


def layer_norm_divided(net: Net, x: str) -> str:
    """PyTorch's TorchScript exporter below opset 17."""
    centred, variance = moments(net, x, [-1])
    return affine(net, net.add("Div", centred, net.add("Sqrt", variance)), (WIDTH,))


def tokens(net: Net) -> str:
    """36 tokens of WIDTH features."""
    z = net.add("Reshape", net.conv("image", 3, WIDTH), net.weight(np.array([0, WIDTH, 36])))
    return net.add("Transpose", z, perm=[0, 2, 1])


def input_gradient(graph: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
    x = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(graph(x).sum(), x)
    return gradient.numpy()
