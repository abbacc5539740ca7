"""A network whose shapes are computed from sizes of its tensors."""

from __future__ import annotations

import numpy as np

from tests.helpers.nets import Net


def resizing() -> Net:
    """Shapes that are computed from sizes, as exporters of TensorFlow and PyTorch write them, and two kinds of resizing."""
    net = Net(("N", 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4, strides=[2, 2]))
    count = net.add("Gather", net.add("Shape", x), net.weight(np.array([0])), axis=0)
    flat = net.add("Reshape", x, net.add("Concat", count, net.weight(np.array([4, 64])), axis=0))
    token = net.add("Expand", net.random(1, 4, 1), net.add("Concat", count, net.weight(np.array([4, 1])), axis=0))
    y = net.add("Reshape", net.add("Slice", net.add("Concat", token, flat, axis=2), net.weight(np.array([1])),
                net.weight(np.array([65])), net.weight(np.array([2]))), net.weight(np.array([0, 4, 8, 8])))  # fmt: skip
    bilinear = net.add("Resize", y, "", net.weight(np.array([1.0, 1.0, 2.0, 2.0], np.float32)), mode="linear")
    sizes = net.add("Concat", count, net.weight(np.array([4, 16, 16])), axis=0)
    nearest = net.add("Resize", y, "", "", sizes, mode="nearest")
    net.add("Flatten", net.add("GlobalAveragePool", net.add("Add", bilinear, nearest)))
    return net
