"""The outputs of a network as numbers, whatever its last steps make of them."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from onnxspace.errors import ModelError
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import open_model
from onnxspace.model.outputs import find_float_outputs
from tests.helpers.nets import classifier, save

LOGITS = "t6"


def extended(*nodes: onnx.NodeProto, outputs: dict[str, int], inputs: dict[str, list[int]] | None = None) -> onnx.ModelProto:
    """A classifier with more nodes after its logits, and other outputs, by name and type."""
    proto = classifier()
    proto.graph.node.extend(nodes)
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items())
    proto.graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (inputs or {}).items()
    )
    proto.graph.initializer.extend(
        [helper.make_tensor("scale", 1, [], [0.05]), helper.make_tensor("zero", TensorProto.UINT8, [], [128])]
    )
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    return proto


ARGMAX = helper.make_node("ArgMax", [LOGITS], ["class"], axis=1)
SOFTMAX = helper.make_node("Softmax", [LOGITS], ["shares"])
ZIPMAP = helper.make_node("ZipMap", ["shares"], ["named"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (classifier(), (LOGITS,)),
        (extended(SOFTMAX, outputs={"shares": 1, LOGITS: 1}), ("shares", LOGITS)),
        (extended(ARGMAX, outputs={"class": 7}), (LOGITS,)),
        (extended(ARGMAX, helper.make_node("Cast", ["class"], ["number"], to=1), outputs={"number": 1}), (LOGITS,)),
        (extended(ARGMAX, outputs={"class": 7, LOGITS: 1}), (LOGITS,)),
        (extended(SOFTMAX, ZIPMAP, outputs={"named": 0}), ("shares",)),
        (extended(SOFTMAX, helper.make_node("Cast", ["shares"], ["whole"], to=7), outputs={"whole": 7}), ("shares",)),
        (extended(helper.make_node("QuantizeLinear", [LOGITS, "scale", "zero"], ["bits"]), outputs={"bits": 2}), (LOGITS,)),
        (
            extended(
                helper.make_node("QuantizeLinear", [LOGITS, "scale", "zero"], ["bits"]),
                helper.make_node("DequantizeLinear", ["bits", "scale", "zero"], ["back"]), outputs={"back": 1},
            ),
            ("back",),
        ),
        (extended(helper.make_node("Greater", [LOGITS, "scale"], ["yes"]), outputs={"yes": TensorProto.BOOL}), (LOGITS,)),
        (extended(helper.make_node("Mul", [LOGITS, "heat"], ["hot"]), outputs={"hot": 1}, inputs={"heat": [1]}), (LOGITS,)),
        (
            extended(helper.make_node("Mul", [LOGITS, "heat"], ["hot"]), outputs={"hot": 1, LOGITS: 1}, inputs={"heat": [1]}),
            (LOGITS,),
        ),
    ],
)  # fmt: skip
def test_outputs_are_the_numbers_before_a_decision(tmp_path: Path, proto: onnx.ModelProto, expected: tuple[str, ...]) -> None:
    model = open_model(save(proto, tmp_path / "a.onnx"))
    assert find_float_outputs(model).tensors == expected
    assert find_encoder(model).tensors == ("t5",)


def test_outputs_that_trained_layers_mix_with_another_input_are_none_of_the_image(tmp_path: Path) -> None:
    mixed = helper.make_node("MatMul", [LOGITS, "other"], ["mixed"])
    last = helper.make_node("Gemm", ["mixed", "w2"], ["last"], transB=1)
    proto = extended(mixed, last, outputs={"last": 1}, inputs={"other": [3, 4]})
    with pytest.raises(ModelError, match="no output that depends on its image alone"):
        find_float_outputs(open_model(save(proto, tmp_path / "a.onnx")))


def test_an_encoder_needs_no_other_input(tmp_path: Path) -> None:
    """Though the mixture with the other input is narrower."""
    mixed = helper.make_node("MatMul", [LOGITS, "other"], ["mixed"])
    last = helper.make_node("MatMul", ["mixed", "row"], ["last"])
    proto = extended(mixed, last, outputs={"last": 1}, inputs={"other": [3, 1]})
    proto.graph.initializer.append(helper.make_tensor("row", 1, [1, 2], [1.0, 2.0]))
    found = find_encoder(open_model(save(proto, tmp_path / "a.onnx")))
    assert found.tensors == (LOGITS,)


def test_an_open_side_is_as_long_as_the_other(tmp_path: Path) -> None:
    assert open_model(save(classifier(("N", 3, None, 16)), tmp_path / "a.onnx")).input_shape == (1, 3, 16, 16)
    assert open_model(save(classifier(("N", 3, 48, None)), tmp_path / "b.onnx")).input_shape == (1, 3, 48, 48)
    assert open_model(save(classifier(("N", 3, None, None)), tmp_path / "c.onnx")).input_shape == (1, 3, 224, 224)
