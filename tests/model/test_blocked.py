"""Files that ONNX Runtime saved at its highest level of optimisation, with channels in blocks, against those it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import onnxspace as ox
from onnxspace.errors import ModelError
from onnxspace.model import blocked, runtime
from onnxspace.model.blocked import DOMAIN, find_block
from onnxspace.model.blocked_rules import RULES, order_plainly
from onnxspace.model.model import open_model
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.noise import probes


def optimise(path: Path) -> Path:
    """The file that ONNX Runtime writes for this machine."""
    library, target = runtime.import_onnxruntime(), path.with_name(f"{path.stem}_saved.onnx")
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(target)
    library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return target


def operators_of(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node if node.domain == DOMAIN}


def network(opset: int, channels: int, first: int = 3) -> onnx.ModelProto:
    """Convolutions of every kind (plain, pointwise, grouped, depthwise), pools, a residual sum and activations."""
    net = Net((1, first, 32, 32), seed=1)

    def biased(x: str, inputs: int, outputs: int, size: int = 3, **said: Any) -> str:
        weights = net.random(outputs, inputs // said.get("group", 1), size, size)
        return net.add("Conv", x, weights, net.weight(net.rng.standard_normal(outputs)), pads=[size // 2] * 4, **said)

    x = net.add("Relu", biased("image", first, channels))
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = net.add("LeakyRelu", biased(x, channels, channels, 1), alpha=0.2)
    y = net.add("Sigmoid", biased(y, channels, channels, group=channels))
    x = net.add("Relu", net.add("Add", biased(y, channels, channels), x))
    x = net.add("AveragePool", biased(x, channels, 2 * channels), kernel_shape=[2, 2], strides=[2, 2])
    bounds = [net.weight(np.float32(0)), net.weight(np.float32(6))] if opset >= 11 else []
    x = net.add("Clip", biased(x, 2 * channels, 64), *bounds, **({} if bounds else {"min": 0.0, "max": 6.0}))
    x = net.add("Tanh", biased(x, 64, 64, group=2))
    if opset >= 11:
        scales = net.weight(np.array([1, 1, 2, 2], np.float32))
        region = net.weight(np.zeros(0, np.float32))
        said = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        x = biased(net.add("Resize", x, region, scales, mode="nearest", **said), 64, 24)
    else:
        x = biased(x, 64, 24)
    return net.model([net.add("MatMul", net.add("Flatten", net.add("GlobalAveragePool", x)), net.random(24, 5))], opset)


CASES = [(9, 16), (11, 24), (13, 36), (17, 32)]


@pytest.mark.parametrize(("opset", "channels"), CASES)
def test_a_saved_file_is_the_network_that_it_was(tmp_path: Path, opset: int, channels: int) -> None:
    given = save(network(opset, channels), tmp_path / "net.onnx")
    saved = optimise(given)
    assert operators_of(saved) >= {"Conv", "ReorderOutput"}
    first, second = open_model(given), open_model(saved)
    assert not operators_of_network(second)
    x = {first.image.name: np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)}
    np.testing.assert_allclose(runtime.run(second.network, x)[0], runtime.run(first.network, x)[0], rtol=1e-4, atol=1e-5)
    assert worst_cosine(*(ox.attribute(path, probes(3)) for path in (given, saved))) > 0.9999


def test_every_operator_on_blocks_occurs_in_these_files(tmp_path: Path) -> None:
    files = (save(network(*case), tmp_path / f"{case[0]}.onnx") for case in CASES)
    net = Net((1, 32, 8, 8))
    x = net.conv(net.add("GlobalAveragePool", net.conv("image", 32, 32)), 32, 16, 1)
    pooled = save(net.model([net.add("Relu", x)]), tmp_path / "pooled.onnx")
    assert set().union(*map(operators_of, map(optimise, (*files, pooled)))) >= RULES.keys() - {"ReorderInput"}


def operators_of_network(model: Any) -> set[str]:
    return {node.op_type for node in model.proto.graph.node if node.domain == DOMAIN}


def test_channels_that_come_last(tmp_path: Path) -> None:
    """A transposition before and after becomes part of the reordering."""
    net = Net((1, 16, 16, 20), seed=2)
    x = net.add("Relu", net.conv(net.add("Transpose", "image", perm=[0, 3, 1, 2]), 20, 20, pads=[1] * 4))
    x = net.add("Transpose", net.conv(x, 20, 20, pads=[1] * 4), perm=[0, 2, 3, 1])
    proto = net.model([net.add("MatMul", x, net.random(20, 4))], 13)
    saved = optimise(save(proto, tmp_path / "net.onnx"))
    flags = {a.i for node in onnx.load(saved).graph.node for a in node.attribute if a.name == "channels_last"}
    assert operators_of(saved) >= {"ReorderInput", "ReorderOutput"}
    assert 1 in flags
    image = np.random.default_rng(0).standard_normal((1, 16, 16, 20)).astype(np.float32)
    found = ox.to_torch(saved)(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, runtime.run(proto, {"image": image})[0], rtol=1e-4, atol=1e-5)


def test_weights_in_blocks_by_the_definition() -> None:
    """Element [o, i, h, w] lies in block [o / b, i / b, h, w] at [i mod b, o mod b]."""
    plain = np.random.default_rng(0).standard_normal((8, 12, 3, 2)).astype(np.float32)
    blocks = np.zeros((2, 3, 3, 2, 4, 4), np.float32)
    for o, i, h, w in np.ndindex(*plain.shape):
        blocks[o // 4, i // 4, h, w, i % 4, o % 4] = plain[o, i, h, w]
    np.testing.assert_array_equal(order_plainly(blocks.reshape(plain.shape), 1, 4), plain)


def test_a_file_of_another_processor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = optimise(save(network(13, find_block()), tmp_path / "net.onnx"))
    monkeypatch.setattr(blocked, "find_block", lambda: 3 * find_block())
    with pytest.raises(ModelError, match=r"net_saved\.onnx: Conv .* whole blocks of .* Save it again"):
        open_model(saved)


def test_an_operator_without_a_plain_form_is_named(tmp_path: Path) -> None:
    proto = onnx.load(optimise(save(network(13, 16), tmp_path / "net.onnx")))
    next(node for node in proto.graph.node if node.domain == DOMAIN and node.op_type == "MaxPool").op_type = "Invented"
    with pytest.raises(ModelError, match=r"Invented .* can't be converted \(it has no plain form\)"):
        open_model(save(proto, tmp_path / "odd.onnx"))
