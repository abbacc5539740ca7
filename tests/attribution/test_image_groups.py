"""Files that take N images at a time and can't be opened to one: features, outputs and maps are those of the file, N images by N."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

import onnxspace as ox
from onnxspace.attribution.gradient_fields import write_fields
from onnxspace.checking.child.outputs import observe_outputs
from onnxspace.errors import ModelError
from onnxspace.finetuning.pictures import Pictures
from onnxspace.finetuning.preparation import build_training_graph
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model import runtime
from onnxspace.model.describe import describe
from onnxspace.model.encoder import Encoder, find_encoder
from onnxspace.model.features import compute_per_image, find_class_output, write_features
from onnxspace.model.image_groups import fill_group
from onnxspace.model.model import Model, open_model
from onnxspace.model.outputs import find_float_outputs
from tests.helpers import nets

PROBES = Probes.generate(6, 32)
N = 4


def shuffled(batch: int = N) -> onnx.ModelProto:
    """All values of a batch in one row, of which a list of numbers takes each image's in another order: no shape tells the batch."""
    net = nets.Net((batch, 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4, strides=[2, 2]))
    x = net.add("Relu", net.conv(x, 8, 6, pads=[1] * 4))
    x = net.add("Reshape", net.add("GlobalAveragePool", x), net.weight(np.array([batch * 6])))
    order = np.concatenate([6 * i + np.array([3, 1, 0, 5, 4, 2]) for i in range(batch)])
    x = net.add("Reshape", net.add("Gather", x, net.weight(order), axis=0), net.weight(np.array([batch, 6])))
    return net.model([net.dense(net.add("Relu", net.dense(x, 6, 5)), 5, 3)])


def centred(batch: int = N) -> onnx.ModelProto:
    """Activations from which the mean over the batch is subtracted."""
    net = nets.Net((batch, 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4, strides=[2, 2]))
    x = net.add("Sub", x, net.add("ReduceMean", x, axes=[0], keepdims=1))
    x = net.add("Relu", net.conv(x, 8, 6, pads=[1] * 4))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model([net.dense(net.add("Relu", net.dense(x, 6, 5)), 5, 3)])


def columns(batch: int = N) -> onnx.ModelProto:
    """Columns as a sequence in front of the batch, eight of them: the images lie on the second axis, and the first can be divided too."""
    net = nets.Net((batch, 3, 16, 16))
    x = net.add("Transpose", net.conv("image", 3, 4, strides=[2, 2], pads=[1] * 4), perm=[3, 0, 1, 2])
    x = net.add("Reshape", x, net.weight(np.array([8, batch, 32])))
    x = net.add("Relu", net.add("MatMul", x, net.random(32, 6)))
    flat = net.add("Reshape", x, net.weight(np.array([8 * batch * 6])))
    order = np.arange(8 * batch * 6).reshape(8, batch, 6)[..., ::-1].reshape(-1)
    x = net.add("Reshape", net.add("Gather", flat, net.weight(order), axis=0), net.weight(np.array([8, batch, 6])))
    return net.model([net.dense(net.add("ReduceMean", net.add("Relu", x), axes=[0], keepdims=0), 6, 3)])


def grey(batch: int = N) -> onnx.ModelProto:
    """Grey images without an axis of channels, from which the mean image of the batch is subtracted."""
    net = nets.Net((batch, 16, 16))
    x = net.add("Sub", "image", net.add("ReduceMean", "image", axes=[0], keepdims=1))
    x = net.add("Reshape", x, net.weight(np.array([batch, 1, 16, 16])))
    x = net.add("Relu", net.conv(x, 1, 6, pads=[1] * 4))
    return net.model([net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 6, 3)])


def place(build: Callable[[], onnx.ModelProto], tmp_path: Path) -> Model:
    return open_model(nets.save(build(), tmp_path / f"{build.__name__}.onnx"))


def run_by_group(model: Model, tensors: list[str], images: NDArray[np.uint8], axis: int = 0) -> list[NDArray[np.float32]]:
    """The tensors of the file for images N by N, those of the last batch repeated."""
    last = images[len(images) // N * N :]
    filled = np.concatenate([images, np.concatenate([last] * N)[: -len(images) % N]])
    part = (model.file_network or model.network).with_outputs(tensors)
    rows = [runtime.run(part, {"image": model.preprocess(filled[i : i + N])}) for i in range(0, len(filled), N)]
    return [np.concatenate(column, axis) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("build", [shuffled, centred])
def test_features_and_outputs_are_those_of_the_file(build: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    model = place(build, tmp_path)
    encoder = find_encoder(model)
    for chosen in (encoder, find_float_outputs(model)):
        expected = run_by_group(model, list(chosen.tensors), PROBES.images)[0][: len(PROBES)]
        found = write_features(model, chosen, PROBES.images, tmp_path / "features.npy", "fit").values
        np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(compute_per_image(model, chosen.tensors, PROBES.images)[0], expected, rtol=1e-5, atol=1e-6)
    assert find_class_output(model) is not None


def test_images_on_the_second_axis(tmp_path: Path) -> None:
    model = place(columns, tmp_path)
    tensor = next(n.output[0] for n in model.graph.nodes if n.op_type == "Relu")
    found = write_features(model, Encoder((tensor,), "test"), PROBES.images, tmp_path / "f.npy").values
    expected = run_by_group(model, [tensor], PROBES.images, 1)[0][:, : len(PROBES)].transpose(1, 0, 2)
    np.testing.assert_allclose(found, expected.reshape(len(PROBES), -1), rtol=1e-5, atol=1e-6)


def test_grey_images_without_channels(tmp_path: Path) -> None:
    model = open_model(nets.save(grey(), tmp_path / "grey.onnx"), options=ModelOptions(layout="NHW"))
    assert model.group is not None
    assert model.group.mixed
    assert model.file_network is not None
    encoder = find_encoder(model)
    values = model.preprocess(PROBES.images)[:N, 0]
    expected = runtime.run(model.file_network.with_outputs(encoder.tensors), {"image": values})[0]
    found = write_features(model, encoder, PROBES.images, tmp_path / "features.npy").values[:N]
    np.testing.assert_allclose(found, expected.reshape(N, -1), rtol=1e-5, atol=1e-6)
    assert ox.attribute(model, PROBES).any()


def weights_of(model: Model) -> list[torch.Tensor]:
    proto = (model.file_network or model.network).proto
    return [torch.from_numpy(np.array(numpy_helper.to_array(tensor))) for tensor in proto.graph.initializer]


def compute_units(build: Callable[[], onnx.ModelProto], model: Model, x: torch.Tensor) -> torch.Tensor:
    """The encoder of `shuffled` and `centred` (the five units before the last layer) in Torch, written from the networks' definitions."""
    weights = [w for w in weights_of(model) if w.is_floating_point()]
    y = torch.relu(torch.nn.functional.conv2d(x, weights[0], stride=2, padding=1))
    y = y - y.mean(0, keepdim=True) if build is centred else y
    y = torch.relu(torch.nn.functional.conv2d(y, weights[1], padding=1)).mean((2, 3))
    y = y[:, [3, 1, 0, 5, 4, 2]] if build is shuffled else y
    return torch.relu(y @ weights[2].T)


@pytest.mark.parametrize("build", [shuffled, centred])
@pytest.mark.parametrize("images", [3, 4, 6])
def test_a_map_is_the_gradient_of_the_images_own_units(
    build: Callable[[], onnx.ModelProto], images: int, tmp_path: Path
) -> None:
    model = place(build, tmp_path)
    model = open_model(model.path, encoder=find_last_relu(model))
    probes = Probes("some", PROBES.images[:images])
    expected = []
    for start in range(0, images, N):
        group = PROBES.images[start : min(start + N, images)]
        x = torch.from_numpy(model.preprocess(np.concatenate([group] * N)[:N])).requires_grad_(True)
        units = compute_units(build, model, x)
        each = [torch.autograd.grad(units[i].sum(), x, retain_graph=True)[0][i].abs().mean(0) for i in range(len(group))]
        expected += [model.preprocess.inverse(32)[0] @ m.numpy() @ model.preprocess.inverse(32)[1].T for m in each]
    found = ox.attribute(model, probes, "saliency")
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def find_last_relu(model: Model) -> str:
    return [n.output[0] for n in model.graph.nodes if n.op_type == "Relu"][-1]


@pytest.mark.parametrize("build", [shuffled, centred])
@pytest.mark.parametrize("method", ["elrp", "integrated-gradients", "smoothgrad", "unit-saliency"])
def test_maps_do_not_depend_on_the_batch_size(build: Callable[[], onnx.ModelProto], method: str, tmp_path: Path) -> None:
    model, options = place(build, tmp_path), Options(steps=4) if method.startswith("integrated") else None
    options = Options(samples=3) if method == "smoothgrad" else options
    many, few = (ox.attribute(model, PROBES, method, options=options, batch_size=size) for size in (8, 1))  # type: ignore[arg-type]
    assert nets.worst_cosine(many, few) >= 0.9999
    first = ox.attribute(model, Probes("some", PROBES.images[:N]), method, options=options)  # type: ignore[arg-type]
    assert nets.worst_cosine(many[:N], first) >= 0.9999


def test_a_shuffled_batch_gives_the_maps_of_the_export_with_a_batch_of_one(tmp_path: Path) -> None:
    many, one = place(shuffled, tmp_path), open_model(nets.save(shuffled(1), tmp_path / "one.onnx"))
    assert nets.worst_cosine(ox.attribute(many, PROBES), ox.attribute(one, PROBES)) >= 0.9999
    assert many.group is not None
    assert not many.group.mixed
    assert many.warnings == ()
    assert any("4 images at a time" in words for words in many.assumed)
    assert describe(many).flops == describe(one).flops
    assert [c.shape for c in describe(many).candidates] == [c.shape for c in describe(one).candidates]


def test_influence_is_said_in_one_warning(tmp_path: Path) -> None:
    model = place(centred, tmp_path)
    assert model.group is not None
    assert model.group.mixed
    assert len(model.warnings) == 1
    assert "takes 4 images at a time, and images of one batch influence each other" in model.warnings[0]


def test_gradient_fields(tmp_path: Path) -> None:
    fields = []
    for batch in (1, N):
        model = open_model(nets.save(shuffled(batch), tmp_path / f"{batch}.onnx"))
        setup = Setup(Probes("some", PROBES.images[:3]), "integrated-gradients", Options(steps=3))
        file = tmp_path / f"{batch}.npy"
        write_fields(model, find_encoder(model), setup, file, Execution())
        fields.append(np.load(file).astype(np.float32))
    assert nets.worst_cosine(*fields) >= 0.999


def test_affinity_and_layers_beside_the_export_with_a_batch_of_one(tmp_path: Path) -> None:
    paths = [nets.save(shuffled(n), tmp_path / f"batch{n}.onnx") for n in (1, N)]
    assert ox.score(paths, PROBES).matrix[0, 1] >= 0.999
    one, many = (ox.layers(path, paths[0], PROBES) for path in paths)
    np.testing.assert_allclose([row.nodes for row in many.layers], [row.nodes for row in one.layers], atol=1e-4)


def test_a_tensor_that_joins_all_images_is_no_encoder(tmp_path: Path) -> None:
    net = nets.Net((N, 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    mean = net.add("ReduceMean", x, axes=[0], keepdims=1)
    model = open_model(nets.save(net.model([net.dense(mean, 8, 3)]), tmp_path / "joined.onnx"), encoder=mean)
    with pytest.raises(
        ModelError, match=r"joined\.onnx takes 4 images at a time, and its tensor t\d has no values of single images"
    ):
        ox.attribute(model, PROBES)


def test_a_batch_that_can_not_be_run_is_refused(tmp_path: Path) -> None:
    net = nets.Net((N, 3, 16, 16))
    x = net.add("Reshape", net.conv("image", 3, 8), net.weight(np.array([N, 7])))
    with pytest.raises(ModelError, match=r"broken\.onnx takes 4 images at a time, and ONNX Runtime can't run it"):
        open_model(nets.save(net.model([net.dense(x, 7, 3)]), tmp_path / "broken.onnx"))


def test_check_compares_outputs_of_a_batch_of_different_images(tmp_path: Path) -> None:
    model = place(centred, tmp_path)
    signals, reasons = observe_outputs(model, PROBES.images)
    assert not reasons
    values = model.preprocess(PROBES.images)
    rows = [runtime.run(model.network, {"image": values[(np.arange(N) + i) % len(PROBES)]})[0][0] for i in range(len(PROBES))]
    np.testing.assert_allclose(signals["t10"].lengths, np.linalg.norm(rows, axis=1), rtol=1e-5)


def test_training_is_refused(tmp_path: Path) -> None:
    model = place(shuffled, tmp_path)
    pictures = Pictures(torch.from_numpy(model.preprocess.pixels(PROBES.images)), model.preprocess)
    with pytest.raises(ModelError, match=r"shuffled\.onnx takes 4 images at a time, so it can't be trained"):
        build_training_graph(model, find_encoder(model), pictures)


def test_padding_repeats_the_images_of_the_last_batch_in_turn() -> None:
    assert fill_group(np.arange(6), 4).tolist() == [0, 1, 2, 3, 4, 5, 4, 5]
    assert fill_group(np.arange(1), 3).tolist() == [0, 0, 0]
    assert fill_group(np.arange(8), 4).tolist() == list(range(8))
