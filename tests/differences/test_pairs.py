"""What was done to a network is named, and every node of both files becomes what it is by construction."""

from __future__ import annotations

from collections.abc import Callable, Set
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from onnxspace.differences.result import ModelDiff
from tests.differences.conftest import Compare
from tests.helpers import diff_edits as edits
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_direct import compare_directly
from tests.helpers.nets import Net

Make = Callable[[ModelProto, Path], ModelProto]
#: What is done, the verdict, and kinds of changes that must be named.
DONE: dict[str, tuple[Make, str, Set[str]]] = {
    "renamed": (lambda m, _: pairs.rename(m), "same", {"re-export"}),
    "exported by the other exporter": (lambda _m, _: pairs.export(pairs.make_network(), dynamo=True), "same", {"opset", "folded"}),
    "another opset": (lambda m, _: pairs.convert_opset(m, 19), "same", {"opset"}),
    "fused": (lambda m, f: pairs.optimise(m, f), "same", {"fused", "folded"}),
    "blocks of channels": (lambda m, f: pairs.optimise(m, f, "ORT_ENABLE_ALL"), "same", {"fused"}),
    "folded": (lambda m, _: pairs.fold(m), "same", {"folded"}),
    "layout": (lambda m, _: pairs.to_nhwc(m), "same", {"layout"}),
    "half": (lambda m, _: pairs.halve(m), "rounding", {"half"}),
    "int8": (lambda m, f: pairs.quantise(m, f), "rounding", {"int8"}),
    "pruned": (lambda m, _: pairs.prune(m), "differ", {"pruned"}),
    "one layer trained": (lambda m, _: pairs.train(m), "differ", {"trained"}),
    "trained by little": (lambda m, _: pairs.train(m, size=1e-4), "differ", {"trained"}),
    "trained and fused": (lambda m, f: pairs.optimise(pairs.train(m), f), "differ", {"trained", "fused", "folded"}),
    "trained in half": (lambda m, _: pairs.halve(pairs.train(m)), "differ", {"trained", "half"}),
    "classes permuted": (lambda m, _: pairs.permute_classes(m), "differ", {"classes-permuted"}),
    "a node removed": (lambda m, _: pairs.remove(m, "/5/act/Relu"), "differ", {"removed"}),
    "a node added": (lambda m, _: pairs.insert(m, "Sigmoid", "/5/bn1/BatchNormalization"), "differ", {"added"}),
    "a node added without effect": (lambda m, _: pairs.insert(m, "Relu", "/3/MaxPool"), "same", {"added"}),
    "an attribute": (lambda m, _: pairs.set_attribute(m, "/5/bn1/BatchNormalization", epsilon=1e-2), "differ", {"changed"}),
    "unrelated": (lambda _m, _: pairs.export(pairs.make_network(seed=9)), "differ", {"other-weights"}),
}  # fmt: skip


@pytest.mark.parametrize("name", DONE)
def test_what_was_done_is_named(name: str, compare: Compare, tmp_path: Path) -> None:
    make, verdict, kinds = DONE[name]
    found = compare(pairs.base(), make(pairs.base(), tmp_path))
    assert found.verdict == verdict, found.summary
    assert kinds <= {change.kind for change in found.changes}, found.changes
    assert_each_node_is_in_one_group(found)


def assert_each_node_is_in_one_group(found: ModelDiff) -> None:
    counts = found.counts
    assert sum(counts["old"].values()) == found.old.nodes
    assert sum(counts["new"].values()) == found.new.nodes


def statuses(found: ModelDiff) -> dict[str, str]:
    """What became of the old file's nodes by name."""
    return {node.name: group.status for group in found.groups for node in group.old}


def test_an_identical_file_is_equal_in_every_node(compare: Compare) -> None:
    found = compare(pairs.base(), pairs.base())
    assert set(statuses(found).values()) == {"equal"}
    assert found.summary == "Both files are equal, byte for byte."
    assert found.changes == ()


@pytest.mark.parametrize("name", ["renamed", "another opset", "half"])
def test_equal_nodes_are_recognised(name: str, compare: Compare, tmp_path: Path) -> None:
    """All nodes of the old file compute in the new one what they did, one for one."""
    found = compare(pairs.base(), DONE[name][0](pairs.base(), tmp_path))
    assert [status for status in statuses(found).values() if status != "equal"] == []


@pytest.mark.parametrize("name", ["exported by the other exporter", "fused", "blocks of channels", "folded", "layout", "int8"])
def test_nothing_departs_where_the_form_alone_changed(name: str, compare: Compare, tmp_path: Path) -> None:
    found = compare(pairs.base(), DONE[name][0](pairs.base(), tmp_path))
    assert found.first is None
    assert set(statuses(found).values()) <= {"equal", "relaid", "replaced"}


def test_a_trained_layer_departs_and_the_rest_follows(compare: Compare) -> None:
    base = pairs.base()
    found = compare(base, pairs.train(base))
    after = reached_from(base, "/5/conv2/Conv")
    truth = {node.name: "downstream" if node.name in after else "equal" for node in base.graph.node}
    assert statuses(found) == truth | {"/5/conv2/Conv": "departs"}
    assert found.first is not None
    assert found.first.new[0].name == "/5/conv2/Conv"


def reached_from(model: ModelProto, name: str) -> set[str]:
    """The nodes behind one."""
    live, found = set(pairs.find(model, name).output), set[str]()
    for node in model.graph.node:
        if live & set(node.input):
            found.add(node.name)
            live |= set(node.output)
    return found


@pytest.mark.parametrize("cause", pairs.MISTAKES)
def test_a_batch_normalisation_folded_wrongly_is_named_with_its_cause(cause: str, compare: Compare) -> None:
    found = compare(pairs.base(), pairs.fold(pairs.base(), "/5/conv1/Conv", pairs.MISTAKES[cause]))
    (wrong,) = [change for change in found.changes if change.kind == "folded-wrongly"]
    assert "/5/conv1/Conv" in wrong.text
    assert cause in wrong.text
    assert found.first is not None
    assert {node.op for node in found.first.old} == {"Conv", "BatchNormalization"}


def describe_only(found: ModelDiff) -> dict[str, str]:
    return {change.kind: change.text for change in found.changes}


def test_channels_in_another_order_that_readers_undo_depart_nowhere(compare: Compare) -> None:
    """A change behind them is the only one that departs, and what was permuted is called consistent."""
    found = compare(pairs.base(), pairs.permute_classes(pairs.permute_channels(pairs.base())))
    texts = describe_only(found)
    assert set(texts) == {"classes-permuted", "channels-permuted"}
    assert "3 layers, consistently" in texts["channels-permuted"]
    assert [name for name, status in statuses(found).items() if status == "departs"] == [pairs.base().graph.node[-1].name]


def test_channels_in_another_order_that_nothing_undoes_are_no_classes(compare: Compare) -> None:
    """The layer that reads them is as it was: it gets other values, and departs nowhere."""
    found = compare(pairs.base(), pairs.permute_channels(pairs.base(), undone=False))
    assert statuses(found)["/5/conv1/Conv"] == "departs"
    assert statuses(found)["/5/conv2/Conv"] == "downstream"
    texts = " ".join(change.text for change in found.changes)
    assert "classes" not in texts
    assert "consistently" not in texts
    assert "from equal inputs" not in texts


@pytest.mark.parametrize(("node", "axis"), [("/0/Conv", 1), ("/5/conv2/Conv", 3)])
def test_weights_in_another_order_within_an_output_leave_the_outputs_order(node: str, axis: int, compare: Compare) -> None:
    found = compare(pairs.base(), pairs.flip(pairs.base(), node, axis))
    (change,) = found.changes
    assert (change.kind, change.nodes) == ("inputs-permuted", (node,))


def test_outputs_in_another_order_are_no_equal_graph(compare: Compare) -> None:
    old = pairs.reorder_outputs(pairs.base())
    new = onnx.ModelProto()
    new.CopyFrom(old)
    del new.graph.output[:]
    new.graph.output.extend(reversed(old.graph.output))
    assert set(describe_only(compare(old, new))) == {"outputs-moved"}


def test_a_removed_node_is_where_networks_depart(compare: Compare) -> None:
    found = compare(pairs.base(), pairs.remove(pairs.base(), "/5/act/Relu"))
    assert found.first is not None
    assert [node.name for node in found.first.old] == ["/5/act/Relu"]
    assert statuses(found)["/5/conv2/Conv"] == "downstream"


def test_another_operator_in_a_nodes_place_departs(compare: Compare) -> None:
    new = onnx.ModelProto()
    new.CopyFrom(pairs.base())
    pairs.find(new, "/5/act/Relu").op_type = "LeakyRelu"
    found = compare(pairs.base(), new)
    assert "other-operator" in {change.kind for change in found.changes}
    assert [name for name, status in statuses(found).items() if status == "departs"] == ["/5/act/Relu"]


def test_the_table_has_the_errors_of_the_outputs(compare: Compare) -> None:
    """Against ONNX Runtime's own outputs, by formulas in double precision."""
    import onnxruntime

    import onnxspace as ox

    base, new = pairs.base(), pairs.train(pairs.base())
    found = compare(base, new)
    images = ox.Probes.generate(2, 32).images
    given = (images.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
    values = []
    for model in (base, new):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        values.append(np.concatenate([session.run(None, {"image": given[i : i + 1]})[0] for i in range(2)]).astype(np.float64))
    (row,) = [row for row in found.layers if row.new == "logits"]
    gap = values[1] - values[0]
    assert row.max_error == pytest.approx(np.abs(gap).max(), rel=1e-3)
    assert row.relative_error == pytest.approx(np.linalg.norm(gap) / np.linalg.norm(values[0]), rel=1e-3)
    assert row.snr_db == pytest.approx(20 * np.log10(np.linalg.norm(values[0]) / np.linalg.norm(gap)), abs=0.01)
    cosine = (values[0] * values[1]).sum() / np.linalg.norm(values[0]) / np.linalg.norm(values[1])
    assert row.cosine == pytest.approx(cosine, abs=1e-6)


def test_integers_of_pixels_and_numbers_are_the_same_images(tmp_path: Path) -> None:
    """A quantised file that takes the integers themselves, against the float file whose range of pixels is not stated."""
    from onnx import TensorProto, helper, numpy_helper

    import onnxspace as ox

    new = edits.quantise_as(pairs.base(), tmp_path)
    first = next(node for node in new.graph.node if "image" in node.input and node.op_type == "QuantizeLinear")
    reader = next(node for node in new.graph.node if first.output[0] in node.input)
    for name, value in (("step", np.array(2 / 255, np.float32)), ("centre", np.array(128, np.uint8))):
        new.graph.initializer.append(numpy_helper.from_array(value, name))
    reader.input[:] = ["image", "step", "centre"]
    new.graph.node.remove(first)
    new.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 3, pairs.SIZE, pairs.SIZE]))
    onnx.save(pairs.base(), tmp_path / "old.onnx")
    onnx.save(new, tmp_path / "new.onnx")
    found = ox.diff(tmp_path / "old.onnx", tmp_path / "new.onnx", ox.Probes.generate(2, pairs.SIZE))
    assert found.verdict == "rounding", found.summary
    assert found.first is None
    assert {group.status for group in found.groups} <= {"equal", "replaced", "added", "relaid"}


def _write_attention(*, joined: bool, changed: bool = False) -> ModelProto:
    """Attention of two heads, whose queries, keys and values are computed by one product, or by three."""
    net = Net(("N", 3, 16, 16))
    rng = np.random.default_rng(1)
    weights, bias = rng.standard_normal((12, 36)) / 3, rng.standard_normal(36)
    tokens = net.add("Reshape", net.conv("image", 3, 12, 4, strides=[4, 4]), net.weight(np.array([0, 12, 16])))
    tokens = net.add("Transpose", tokens, perm=[0, 2, 1])
    weights[:, :12] += 0.1 * rng.standard_normal((12, 12)) if changed else 0
    if joined:
        x = net.add("Add", net.add("MatMul", tokens, net.weight(weights)), net.weight(bias))
        x = net.add("Transpose", net.add("Reshape", x, net.weight(np.array([0, 16, 3, 2, 6]))), perm=[2, 0, 3, 1, 4])
        names = ["q", "k", "v"]
        net.nodes.append(helper.make_node("Split", [x], names, name="split", axis=0))
        query, key, value = (net.add("Squeeze", name, net.weight(np.array([0]))) for name in names)
    else:
        parts = [(weights[:, i : i + 12], bias[i : i + 12]) for i in (0, 12, 24)]
        added = [net.add("Add", net.add("MatMul", tokens, net.weight(w)), net.weight(b)) for w, b in parts]
        heads = [net.add("Reshape", one, net.weight(np.array([0, 16, 2, 6]))) for one in added]
        query, key, value = (net.add("Transpose", one, perm=[0, 2, 1, 3]) for one in heads)
    scores = net.add("Softmax", net.add("MatMul", query, net.add("Transpose", key, perm=[0, 1, 3, 2])), axis=-1)
    read = net.add("Transpose", net.add("MatMul", scores, value), perm=[0, 2, 1, 3])
    read = net.add("Reshape", read, net.weight(np.array([0, 16, 12])))
    return net.model([net.add("ReduceMean", net.add("Relu", read), axes=[1], keepdims=0)])


@pytest.mark.parametrize("joined", [True, False])
def test_three_products_in_place_of_one_compute_the_same(joined: bool, tmp_path: Path) -> None:
    found = compare_directly(_write_attention(joined=joined), _write_attention(joined=not joined), tmp_path)
    assert found.verdict == "same"
    assert not {"other-operator", "changed"} & {change.kind for change in found.changes}
    assert (
        compare_directly(_write_attention(joined=joined), _write_attention(joined=not joined, changed=True), tmp_path).verdict
        == "differ"
    )
