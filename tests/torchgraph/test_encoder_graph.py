"""ONNX → Torch against ONNX Runtime, our own converters, and damaged installations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.defs
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

import onnxspace as ox
from onnxspace.errors import ConversionError, UnsupportedOperatorError
from onnxspace.model import runtime
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.model import open_model
from onnxspace.storage.map_file import to_unit_maps
from onnxspace.torchgraph import encoder_graph
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph import verify as verification
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.torchgraph.onnx2torch import ALIASES
from onnxspace.torchgraph.registry import CONVERTERS, Apply
from onnxspace.torchgraph.verify import TOLERANCE, Reference, difference, verify
from tests.helpers.nets import Net, classifier, save

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


def signature(operator: str, version: int) -> Any:
    schema = onnx.defs.get_schema(operator, version, "")
    attributes = {n: (a.type, a.required, a.default_value.SerializeToString()) for n, a in schema.attributes.items()}
    return [v.option for v in schema.inputs], [v.option for v in schema.outputs], attributes


@pytest.mark.parametrize("operator", sorted(ALIASES))
def test_aliased_versions_have_the_signature_of_the_version_that_serves_them(operator: str) -> None:
    for missing, serving in ALIASES[operator].items():
        assert signature(operator, missing) == signature(operator, serving)
        assert ("", operator, missing) not in CONVERTERS, "an alias that no graph uses"


def run_both(
    model: onnx.ModelProto, tmp_path: Path, shape: tuple[int, ...] = (2, 3, 16, 16)
) -> tuple[NDArray[Any], NDArray[Any]]:
    graph = ox.to_torch(save(model, tmp_path / "net.onnx"))
    images = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        ours = graph(torch.from_numpy(images)).numpy()
    return ours, runtime.run_each(model, images)[0]


REDUCTIONS = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2"]


@pytest.mark.parametrize("operator", REDUCTIONS)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions_of_version_18(tmp_path: Path, operator: str, keepdims: int) -> None:
    net = Net()
    x = net.add(operator, net.conv("image", 3, 4), net.weight(np.array([-1, 2])), keepdims=keepdims)
    ours, theirs = run_both(net.model([x], opset=18), tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_in_both_forms(tmp_path: Path, approximate: str) -> None:
    net = Net()
    ours, theirs = run_both(net.model([net.add("Gelu", net.conv("image", 3, 4), approximate=approximate)], opset=20), tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [6, 7])
def test_split_into_equal_parts_of_version_18(tmp_path: Path, channels: int) -> None:
    net = Net()
    x = net.conv("image", 3, channels)
    net.nodes.append(onnx.helper.make_node("Split", [x], ["a", "b"], axis=1, num_outputs=2))
    out = net.add("Relu", net.add("Concat", "b", "a", axis=1))
    ours, theirs = run_both(net.model([out], opset=18), tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_global_max_pool_and_mish(tmp_path: Path) -> None:
    net = Net()
    out = net.add("GlobalMaxPool", net.add("Mish", net.conv("image", 3, 4)))
    ours, theirs = run_both(net.model([out], opset=18), tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (2, 2), (4, 3)])
def test_automatic_padding(tmp_path: Path, mode: str, size: int, stride: int) -> None:
    net = Net(("N", 3, 15, 17))
    x = net.conv("image", 3, 4, size, auto_pad=mode, strides=[stride, stride])
    out = net.add("MaxPool", x, kernel_shape=[size, size], auto_pad=mode, strides=[stride, stride])
    ours, theirs = run_both(net.model([out]), tmp_path, (2, 3, 15, 17))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_frozen_into_a_reshape_is_opened(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16))
    x = net.add("Reshape", net.conv("image", 3, 4, 16), net.weight(np.array([1, 4])))
    model = open_model(save(net.model([net.dense(x, 4, 2)]), tmp_path / "net.onnx"), x)
    assert convert(model, IMAGES).batchable


def test_weights_behind_constant_and_identity_nodes(tmp_path: Path) -> None:
    net = Net()
    value = numpy_helper.from_array(np.random.default_rng(2).standard_normal((4, 3, 3, 3)).astype(np.float32))
    net.nodes.append(onnx.helper.make_node("Constant", [], ["held"], value=value))
    out = net.add("Conv", "image", net.add("Identity", "held"))
    ours, theirs = run_both(net.model([out]), tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    single = classifier(seed=5)
    half = classifier(seed=5)
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    probes = ox.Probes("test", IMAGES)
    maps = [ox.attribute(save(m, tmp_path / f"{i}.onnx"), probes) for i, m in enumerate((single, half))]
    first, second = (to_unit_maps(m)[0].astype(np.float64) for m in maps)
    assert (first * second).sum(axis=1).min() > 0.999


def test_the_input_type_of_8_bit_models_is_served(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16), elem_type=TensorProto.UINT8)
    x = net.add("Cast", "image", to=TensorProto.FLOAT)
    x = net.add("Relu", net.conv(net.add("Mul", x, net.weight(np.float32(1 / 255))), 3, 4))
    model = open_model(save(net.model([net.conv(x, 4, 2)]), tmp_path / "net.onnx"))
    assert model.preprocess(IMAGES).max() > 200
    assert np.abs(ox.attribute(model, ox.Probes("test", IMAGES))).max() > 0


def test_unused_outputs_do_not_change_what_is_computed(tmp_path: Path) -> None:
    """A Dropout with a mask output: the mask must not turn the value into its first row."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4))
    net.nodes.append(onnx.helper.make_node("Dropout", [x], ["kept", "mask"]))
    ours, theirs = run_both(net.model([net.conv("kept", 4, 2)]), tmp_path)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_wrong_graph_is_refused(tmp_path: Path) -> None:
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    right = convert(model, IMAGES)
    values = model.preprocess(IMAGES)
    expected = runtime.run_each(cut(model, right.encoder), values)
    assert difference([expected[0] * 1.01], expected) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(ConversionError, match=r"net\.onnx: the converted graph differs from ONNX Runtime"):
        verify(right.graph, Reference(values, [expected[0] * 1.01]), 1e-3, "net.onnx")
    with pytest.raises(ConversionError, match="another shape"):
        verify(right.graph, Reference(values, [expected[0][:, :2]]), 1e-3, "net.onnx")


@pytest.mark.parametrize(("room", "images"), [(2**30, [2]), (2**15, [1, 1])])
def test_images_are_verified_one_by_one_where_a_batch_may_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, images: list[int]
) -> None:
    seen: list[int] = []
    run = verification._run_batch

    def watch(graph: torch.fx.GraphModule, given: NDArray[np.float32], **how: bool) -> Any:
        seen.append(len(given))
        return run(graph, given, **how)

    monkeypatch.setattr(verification, "_run_batch", watch)
    monkeypatch.setattr(encoder_graph, "count_free_memory", lambda: room)
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    assert (convert(model, IMAGES).batchable, seen) == (len(images) == 1, images)


def test_a_wrong_graph_is_refused_one_by_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    monkeypatch.setattr(encoder_graph, "count_free_memory", lambda: 0)
    monkeypatch.setattr(
        encoder_graph, "fold_sizes", lambda graph, _shape: graph.register_forward_hook(lambda *given: given[2] * 1.5)
    )
    with pytest.raises(ConversionError, match=r"net\.onnx: the converted graph differs .*relative difference 0\.5"):
        convert(model, IMAGES)


def test_memory_that_ends_during_the_comparison_is_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_given: Any) -> None:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."
        )

    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    monkeypatch.setattr(encoder_graph, "fold_sizes", lambda graph, _shape: graph.register_forward_hook(exhaust))
    with pytest.raises(RuntimeError, match="allocate memory"):
        convert(model, IMAGES)


def test_parameters_are_frozen_and_the_graph_is_in_evaluation_mode(tmp_path: Path) -> None:
    graph = ox.to_torch(save(classifier(), tmp_path / "net.onnx"))
    assert not graph.training
    assert not any(p.requires_grad for p in graph.parameters())
    assert isinstance(graph, torch.fx.GraphModule)


def test_an_operator_without_converter_is_named_with_its_node(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4))
    x = net.add("RandomNormalLike", x)
    model = save(net.model([net.conv(x, 4, 2)]), tmp_path / "net.onnx")
    with pytest.raises(UnsupportedOperatorError, match=r"net\.onnx: operator RandomNormalLike"):
        convert(open_model(model, x), IMAGES)


BROKEN_TORCHVISION = """
import torch
torch.library.register_fake("torchvision::nms")(lambda *a: None)
torch.ops.torchvision.nms
"""


@pytest.mark.process
def test_conversion_takes_no_torchvision_whether_it_fits_torch_or_not(tmp_path: Path) -> None:
    """A stand-in that fails as the real one does: it asks for an operator that its compiled part should have made."""
    (tmp_path / "torchvision.py").write_text(BROKEN_TORCHVISION)
    path = save(classifier(), tmp_path / "net.onnx")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        f"import onnxspace as ox, torch\nprint(ox.to_torch({str(path)!r})(torch.zeros(2, 3, 16, 16)).shape)\n"
        "from onnx2torch.node_converters import nms\nprint('torchvision' in sys.modules)\n"
        "try:\n    nms.torchvision.ops.nms(None, None, .5)\nexcept RuntimeError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    shape, loaded, sentence = done.stdout.split("\n")[:3]
    assert (shape, loaded) == ("torch.Size([2, 3])", "False"), done.stderr
    assert "torchvision::nms does not exist" in sentence


def test_the_registry_is_extended_once() -> None:
    assert bridge._load_registry() is bridge._load_registry()


def test_several_encoder_tensors_come_in_order(tmp_path: Path) -> None:
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    found = convert(model, IMAGES, Encoder(("t5", "t1"), "two"))
    shapes = [tuple(t.shape) for t in found.graph(torch.from_numpy(model.preprocess(IMAGES)))]
    assert shapes == [(2, 4), (2, 8, 16, 16)]


@pytest.mark.parametrize("factor", [1.01, 1.1])
def test_a_wrong_converter_is_named_by_its_first_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """A fault in one operator, small or large: refused, and the message names that node and not the Clip around it."""
    net = Net()
    x = net.add("Clip", net.conv("image", 3, 4), net.weight(np.float32(0)), net.weight(np.float32(6)))
    x = net.add("Selu", x)
    x = net.add("Relu", net.conv(x, 4, 4))
    path = save(net.model([net.conv(x, 4, 2)]), tmp_path / "net.onnx")
    monkeypatch.setitem(CONVERTERS, ("", "Selu", 6), lambda _node: Apply(lambda z: factor * torch.nn.functional.selu(z)))
    with pytest.raises(ConversionError, match=r"differs from ONNX Runtime.*first at Selu \(n2\)"):
        ox.to_torch(path)
    with pytest.raises(ConversionError, match=r"differs from ONNX Runtime.*first at Selu \(n2\)"):
        convert(open_model(path), IMAGES)


def test_strings_are_refused_with_the_file(tmp_path: Path) -> None:
    net = Net((1, 3), elem_type=TensorProto.STRING)
    out = net.add("Identity", "image")
    with pytest.raises(ox.OnnxspaceError, match=r"net\.onnx: its input 'image' holds strings"):
        ox.to_torch(save(net.model([out]), tmp_path / "net.onnx"))


def nearly_constant() -> onnx.ModelProto:
    """Channels around 100 whose deviation is .004: ONNX Runtime's InstanceNormalization loses digits there."""
    net = Net(("N", 3, 320, 320))
    lifted = net.add("Add", net.add("Mul", "image", net.weight(0.004)), net.weight(100.0))
    normal = net.add("InstanceNormalization", lifted, net.weight(np.ones(3)), net.weight(np.zeros(3)))
    return net.model([net.conv(net.add("Relu", normal), 3, 4)])


def test_a_coarse_kernel_of_the_runtime_is_no_reason_to_refuse(tmp_path: Path) -> None:
    model = nearly_constant()
    image = np.random.default_rng(2).standard_normal((1, 3, 320, 320)).astype(np.float32)
    graph = ox.to_torch(save(model, tmp_path / "net.onnx"))
    with torch.no_grad():
        ours = [graph(torch.from_numpy(image)).numpy()]
    exact = runtime.run_reference(model, {"image": image})
    assert difference(runtime.run(model, {"image": image}), exact) > TOLERANCE["float32"]
    assert difference(ours, exact) < TOLERANCE["float32"]


def test_a_fault_that_a_coarse_kernel_could_hide_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, ("", "Relu", 14), lambda node: Apply(lambda x: x.relu() * 1.01))
    with pytest.raises(ConversionError, match=r"first at InstanceNormalization|first at Relu"):
        ox.to_torch(save(nearly_constant(), tmp_path / "net.onnx"))
