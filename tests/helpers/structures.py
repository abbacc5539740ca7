"""Parts of networks that tests write node by node: convolutions with activations, tokens, blocks of a transformer."""

from __future__ import annotations

import numpy as np

from tests.helpers.nets import Net


def conv_relu(net: Net, x: str, inputs: int, outputs: int, stride: int = 1) -> str:
    """A padded 3 × 3 convolution and Relu."""
    return net.add("Relu", net.conv(x, inputs, outputs, pads=[1] * 4, strides=[stride, stride]))


def upsample(net: Net, x: str) -> str:
    """Twice the height and width, by the nearest values."""
    return net.add("Resize", x, "", net.weight(np.array([1, 1, 2, 2], np.float32)), mode="nearest")


def tokens_of(net: Net, x: str, width: int, patch: int = 8) -> str:
    """A class token and the patches of an image, [1, 1 + patches, width]."""
    patches = net.conv(x, 3, width, patch, strides=[patch, patch])
    rows = net.add("Transpose", net.add("Reshape", patches, net.weight(np.array([1, width, -1]))), perm=[0, 2, 1])
    return net.add("Concat", net.random(1, 1, width), rows, axis=1)


def attention_block(net: Net, x: str, width: int) -> str:
    """Attention with one head and two dense layers, each on normalised tokens and added to them."""
    y = _norm(net, x, width)
    queries, keys, values = (net.add("MatMul", y, net.random(width, width)) for _ in range(3))
    weights = net.add("Softmax", net.add("MatMul", queries, net.add("Transpose", keys, perm=[0, 2, 1])), axis=-1)
    x = net.add("Add", x, net.add("MatMul", net.add("MatMul", weights, values), net.random(width, width)))
    y = net.add("Relu", net.add("MatMul", _norm(net, x, width), net.random(width, 2 * width)))
    return net.add("Add", x, net.add("MatMul", y, net.random(2 * width, width)))


def _norm(net: Net, x: str, width: int) -> str:
    return net.add("LayerNormalization", x, net.weight(np.ones(width)), net.weight(np.zeros(width)))
