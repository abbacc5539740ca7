"""Inputs of other axes than a batch of images: the maps are those of the same network with four axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxspace as ox
from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.model import Model, open_model
from tests.helpers import nets

SIDE = 16
PROBES = Probes.generate(3, 32)
Reads = Callable[[nets.Net], str]


def network(shape: Sequence[int | str | None], read: Reads, channels: int = 3, opset: int = 17) -> onnx.ModelProto:
    """A classifier after `read`, which makes [N, channels, 16, 16] of an input of `shape`; the weights are the same for all."""
    net = nets.Net(shape)
    weights = [net.random(6, channels, 3, 3), net.random(4, 6, 3, 3)]
    image = read(net)
    x = net.add("Relu", net.add("Conv", image, weights[0], strides=[2, 2]))
    x = net.add("Flatten", net.add("Relu", net.add("Conv", x, weights[1], strides=[2, 2])))
    return net.model([net.dense(x, 36, 3)], opset)


def unsqueeze(axis: int) -> Reads:
    return lambda net: net.add("Unsqueeze", "image", net.weight(np.array([axis])))


def reshape(*shape: int) -> Reads:
    return lambda net: net.add("Reshape", "image", net.weight(np.array(shape)))


def channels_last(net: nets.Net) -> str:
    return net.add("Transpose", unsqueeze(0)(net), perm=[0, 3, 1, 2])


def hwc_first(net: nets.Net) -> str:
    return net.add("Unsqueeze", net.add("Transpose", "image", perm=[2, 0, 1]), net.weight(np.array([0])))


def plane(net: nets.Net) -> str:
    return net.add("Unsqueeze", "image", net.weight(np.array([0, 1])))


def plain(net: nets.Net) -> str:
    return net.add("Identity", "image")


def opened(tmp_path: Path, proto: onnx.ModelProto, name: str = "net", **options: object) -> Model:
    return open_model(nets.save(proto, tmp_path / f"{name}.onnx"), options=replace(ModelOptions(), **options))  # type: ignore[arg-type]


RGB: dict[str, tuple[Sequence[int | str], Reads, dict[str, object]]] = {
    "CHW": ((3, SIDE, SIDE), unsqueeze(0), {}),
    "CHW by reshaping": ((3, SIDE, SIDE), reshape(1, 3, SIDE, SIDE), {}),
    "HWC": ((SIDE, SIDE, 3), hwc_first, {}),
    "HWC, the axis of images first": ((SIDE, SIDE, 3), channels_last, {}),
    "flattened": (("N", 3 * SIDE**2), reshape(-1, 3, SIDE, SIDE), {"size": (SIDE, SIDE), "layout": "NCHW"}),
    "flattened, one image": ((1, 3 * SIDE**2), reshape(1, 3, SIDE, SIDE), {"size": (SIDE, SIDE), "layout": "NCHW"}),
}
GREY: dict[str, tuple[Sequence[int | str], Reads, dict[str, object]]] = {
    "NHW": (("N", SIDE, SIDE), unsqueeze(1), {}),
    "1HW": ((1, SIDE, SIDE), unsqueeze(1), {}),
    "4HW": ((4, SIDE, SIDE), unsqueeze(1), {}),
    "HW": ((SIDE, SIDE), plane, {}),
    "square": (("N", SIDE**2), reshape(-1, 1, SIDE, SIDE), {}),
    "square, four at a time": ((4, SIDE**2), reshape(4, 1, SIDE, SIDE), {}),
}


def check_twin(tmp_path: Path, channels: int, shape: Sequence[int | str], read: Reads, options: dict[str, object]) -> None:
    twin = opened(tmp_path, network(("N", channels, SIDE, SIDE), plain, channels), "twin")
    model = opened(tmp_path, network(shape, read, channels), **options)
    assert nets.worst_cosine(ox.attribute(twin, PROBES), ox.attribute(model, PROBES)) >= 0.99999
    expected = runtime.run(twin.network, {"image": twin.preprocess(PROBES.images[:1])})[0]
    assert model.file_network is not None
    found = runtime.run(model.file_network, {"image": model.file_input(PROBES.images[:1])})[0]
    np.testing.assert_allclose(found[:1], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", RGB)
def test_colour(tmp_path: Path, name: str) -> None:
    check_twin(tmp_path, 3, *RGB[name])


@pytest.mark.parametrize("name", GREY)
def test_grey(tmp_path: Path, name: str) -> None:
    check_twin(tmp_path, 1, *GREY[name])


def test_single_image_that_gets_an_axis_is_computed_in_batches(tmp_path: Path) -> None:
    from onnxspace.torchgraph.encoder_graph import convert

    model = opened(tmp_path, network((3, SIDE, SIDE), unsqueeze(0)))
    assert convert(model, PROBES.images[:2]).batchable
    assert model.network.graph.nodes[0].op_type == "Identity"


def test_to_torch_keeps_the_input_of_the_file(tmp_path: Path) -> None:
    model = opened(tmp_path, network((3, SIDE, SIDE), unsqueeze(0)))
    image = model.file_input(PROBES.images[:1])
    assert image.shape == (3, SIDE, SIDE)
    import torch

    found = ox.to_torch(model)(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, runtime.run(model.file_network, {"image": image})[0], rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "operator"),
    [(("N", 80, 300), "sequence"), (("N", 77, 32), "product"), (("N", 50), "numbers"), (("N", 3, None, 4, 4, 4), "six")],
)
def test_what_is_no_image_is_refused(tmp_path: Path, shape: Sequence[int | str | None], operator: str) -> None:
    net = nets.Net(shape)
    if operator == "sequence":
        x = net.add("Conv", "image", net.random(4, 80, 3))
    else:
        x = net.add("MatMul", "image", net.random(int(shape[-1] or 1), 4))
    with pytest.raises(ModelError, match=r"net\.onnx has no image input: it takes image .*State its `layout`"):
        opened(tmp_path, net.model([x]))


def test_flattened_colour_needs_its_layout(tmp_path: Path) -> None:
    proto = network(("N", 3 * SIDE**2), reshape(-1, 3, SIDE, SIDE))
    with pytest.raises(ModelError, match="State its `layout`"):
        opened(tmp_path, proto, size=(SIDE, SIDE))


def test_layout_of_another_rank_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no image input"):
        opened(tmp_path, network(("N", 3, SIDE, SIDE), plain), layout="CHW")


def test_videos_need_no_words_for_images(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no videos"):
        opened(tmp_path, network(("N", 3, SIDE, SIDE), plain), frames=4)
