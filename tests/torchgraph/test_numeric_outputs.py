"""Networks whose outputs are maps, sequences or texts, as Custom Vision and scikit-learn's converter write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import onnxspace as ox
from onnxspace.errors import ModelError
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.network import Network
from tests.helpers import nets

CLASSES = ["cat", "dog", "owl"]


def named_classes(*, declared: bool = True, text_only: bool = False, numbered: bool = False) -> onnx.ModelProto:
    """A classifier that gives the name of a class, and a map from names to shares."""
    net = nets.Net(("N", 3, 16, 16))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv("image", 3, 6))))
    shares = net.add("Softmax", net.dense(x, 6, 3), axis=-1)
    best = net.add("ArgMax", shares, axis=1, keepdims=0)
    proto = net.model([])
    graph, ml = proto.graph, "ai.onnx.ml"
    graph.initializer.append(helper.make_tensor("labels", TensorProto.STRING, [3], [name.encode() for name in CLASSES]))
    graph.node.append(helper.make_node("ArrayFeatureExtractor", ["labels", best], ["classLabel"], domain=ml))
    labels = {"classlabels_int64s": [0, 1, 2]} if numbered else {"classlabels_strings": CLASSES}
    graph.node.append(helper.make_node("ZipMap", [shares], ["loss"], domain=ml, **labels))
    graph.output.append(helper.make_tensor_value_info("classLabel", TensorProto.STRING if declared else 0, [None]))
    kind = onnx.TypeProto()
    kind.sequence_type.elem_type.map_type.key_type = TensorProto.INT64 if numbered else TensorProto.STRING
    kind.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = TensorProto.FLOAT
    if not text_only:
        graph.output.append(helper.make_value_info("loss", kind) if declared else onnx.ValueInfoProto(name="loss"))
    proto.opset_import.append(helper.make_opsetid(ml, 2))
    return proto


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("declared", [False, True])
def test_classes_by_name_are_their_numbers(tmp_path: Path, declared: bool, numbered: bool) -> None:
    proto = named_classes(declared=declared, numbered=numbered)
    graph = ox.to_torch(nets.save(proto, tmp_path / "net.onnx"))
    images = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    found = graph(torch.from_numpy(images))
    expected = runtime.run(Network(named_classes(numbered=numbered)), {"image": images})[1]
    keys = [0, 1, 2] if numbered else CLASSES
    np.testing.assert_allclose(found.numpy(), [[row[key] for key in keys] for row in expected], rtol=1e-4)


def test_texts_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx: its outputs \(classLabel\) are texts or maps, not tensors of numbers"):
        ox.to_torch(nets.save(named_classes(text_only=True), tmp_path / "net.onnx"))


def test_sequence_of_tensors_is_numbers(tmp_path: Path) -> None:
    net = nets.Net((4, 3, 16, 16))
    proto = net.model([net.add("SplitToSequence", net.add("Relu", "image"), axis=0)])
    proto.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info(proto.graph.output[0].name, TensorProto.FLOAT, None))
    found = ox.to_torch(nets.save(proto, tmp_path / "net.onnx"))(torch.ones(4, 3, 16, 16))
    assert len(found) == 4


def test_maps_and_scores_of_named_classes(tmp_path: Path) -> None:
    for seed, proto in enumerate((named_classes(), nets.classifier())):
        nets.save(proto, tmp_path / f"{seed}.onnx")
    found = ox.score([tmp_path / "0.onnx", tmp_path / "1.onnx"], Probes.generate(8, 16), by=["attribution", "predictivity"])
    assert np.isfinite(found.matrix).all()
