"""Networks run in parts give the values of the whole."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxspace.differences.child import segments
from onnxspace.differences.child.segments import SegmentedRun
from onnxspace.errors import ModelError
from onnxspace.model.network import separate_weights

X = np.random.default_rng(0).standard_normal((1, 6)).astype(np.float32)


def chain(count: int) -> onnx.ModelProto:
    """Sums and products of a stored vector, the input read again at the end."""
    nodes = [helper.make_node(("Add", "Mul")[k % 2], [f"t{k}", "w"], [f"t{k + 1}"]) for k in range(count)]
    nodes.append(helper.make_node("Add", [f"t{count}", "t0"], ["out"]))
    return model(nodes, {"w": np.linspace(0.5, 1.5, 6, dtype=np.float32)})


def model(nodes: list[onnx.NodeProto], held: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 6])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def collect(run: SegmentedRun, **options: object) -> dict[str, np.ndarray]:
    return {name: value for part in run.iterate({"t0": X}, **options) for name, value in part.items()}  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [1, 3, 64])
def test_parts_of_any_size_give_the_values_of_the_whole(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_MOST_NODES", most)
    made = chain(7)
    names = ["t3", "t6", "out"]
    found = collect(SegmentedRun(separate_weights(made), "m.onnx", {"t0": X}, names))
    del made.graph.output[:]
    made.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    for name, value in zip(names, ReferenceEvaluator(made).run(None, {"t0": X}), strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-6)


@pytest.mark.parametrize("most", [2, 64])
def test_readers_of_a_tensor_get_other_values_and_its_own_are_seen(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_MOST_NODES", most)
    network = separate_weights(chain(4))
    plain = collect(SegmentedRun(network, "m.onnx", {"t0": X}, ["t2", "t3"]))
    found = collect(SegmentedRun(network, "m.onnx", {"t0": X}, ["t2", "t3"], ["t2"]), override=lambda name: np.zeros_like(X))
    np.testing.assert_array_equal(found["t2"], plain["t2"])
    np.testing.assert_allclose(found["t3"], np.linspace(0.5, 1.5, 6, dtype=np.float32)[None], rtol=1e-6)


def test_sequences_do_not_leave_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_MOST_NODES", 1)
    nodes = [
        helper.make_node("SplitToSequence", ["t0"], ["s"], axis=1),
        helper.make_node("Identity", ["s"], ["r"]),
        helper.make_node("ConcatFromSequence", ["r"], ["out"], axis=1),
    ]
    found = collect(SegmentedRun(separate_weights(model(nodes, {})), "m.onnx", {"t0": X}, ["out"]))
    np.testing.assert_array_equal(found["out"], X)


def test_a_network_that_cannot_be_run_is_a_sentence_with_its_name() -> None:
    made = model([helper.make_node("MatMul", ["t0", "w"], ["out"])], {"w": np.zeros((5, 2), np.float32)})
    with pytest.raises(ModelError, match=r"m\.onnx can't be run by ONNX Runtime"):
        collect(SegmentedRun(separate_weights(made), "m.onnx", {"t0": X}, ["out"]))
