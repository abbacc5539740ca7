"""Why an artifact is not the model it was: each fault is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxspace.checking.plan import CheckPlan, artifacts_against
from onnxspace.checking.run import check, update
from tests.helpers.checks import IMAGES, changed, network, shuffled, swapped, tuned, verdict
from tests.helpers.nets import save


def normalised(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the division by a deviation and the subtraction of a mean inside, as for ImageNet, of pixels from 0 to 255."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.node[0].input[0] = "normal"
    for name, values in (("mean", (123.675, 116.28, 103.53)), ("std", (58.395, 57.12, 57.375))):
        made.graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32).reshape(1, 3, 1, 1), name))
    made.graph.node.insert(0, helper.make_node("Div", ["less", "std"], ["normal"], name="div"))
    made.graph.node.insert(0, helper.make_node("Sub", ["image", "mean"], ["less"], name="sub"))
    return made


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shuffled, "1 of 8 weight tensors differ, all others are equal: w3"),
        (swapped, "its colour channels are in another order (RGB and BGR are swapped)"),
        (tuned, "The same architecture with other weights: 8 of 8 tensors differ, by 19"),
    ],
)
def test_a_fault_is_caught_and_its_reason_named(place: Path, change: Any, reason: str) -> None:
    names = [t.name for t in network().graph.initializer]
    assert {"w1", "w3"} <= set(names), names
    found = verdict(str(save(changed(network(), change), place / "new.onnx")))
    assert found.outcome == "different"
    assert any(reason in words for words in found.reasons), found.reasons
    assert found.layer is not None
    assert len(found.images) == 3


def test_a_forgotten_normalisation_is_named(place: Path) -> None:
    save(normalised(network()), place / "old.onnx")
    save(network(), place / "new.onnx")
    found = verdict("new.onnx")
    assert found.outcome == "different"
    assert "normalised by ImageNet's mean and standard deviation (a normalisation was added or removed)" in found.reasons[0]


def test_a_normalisation_that_moved_into_the_network_is_the_same(place: Path) -> None:
    """Maps of elrp say how much each pixel adds, and so depend on where zero lies; they are compared from the old zero."""
    model = network()
    model.graph.node[0].input[0] = "scaled"
    for name, value in (("factor", 1 / 127.5), ("shift", -1.0)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    model.graph.node.insert(0, helper.make_node("Add", ["larger", "shift"], ["scaled"]))
    model.graph.node.insert(0, helper.make_node("Mul", ["image", "factor"], ["larger"]))
    save(model, place / "new.onnx")
    (place / "new.onnxspace.toml").write_text("scale = 1\nmean = [0.0]\nstd = [1.0]\n")
    update(CheckPlan(artifacts_against(["old.onnx"], "net.fp", {}, False, None), images=IMAGES))
    for against in ("old.onnx", "net.fp"):
        found = verdict("new.onnx", against)
        assert (found.outcome, found.error) == ("same", None)
        assert found.measures["affinity"] > 0.99
        assert "the input's zero is the colour (0, 0, 0) instead of (127.5, 127.5, 127.5)" in found.changes[-1]
        assert verdict("new.onnx", against, distinct=True).outcome == "different"
    artifacts = artifacts_against(["new.onnx"], "old.onnx", {}, False, None)
    for plan in (CheckPlan(artifacts, "saliency", images=IMAGES), CheckPlan(artifacts, images=IMAGES, pixels="mean")):
        same = check(plan)[0]
        assert (same.outcome, [words for words in same.changes if "zero" in words]) == ("same", [])


def test_a_copy_with_a_new_head_is_named(place: Path) -> None:
    """Fine-tuned for more classes: the last tensor has another size, the others moved a little, or not at all."""
    head = np.random.default_rng(1).standard_normal((7, 8))
    last = max((t.name for t in network().graph.initializer if len(t.dims) == 2), key=lambda name: int(name[1:]))
    for change, reason in (
        (tuned, "The same architecture with other weights: 7 of 8 tensors differ, by 20"),
        (lambda _name, values: values, "One weight tensor has another size, all 7 others are equal."),
    ):
        made = changed(network(), lambda name, values, change=change: head if name == last else change(name, values))
        found = verdict(str(save(made, place / "new.onnx")))
        assert found.outcome == "different"
        assert found.missing["outputs"].endswith(" is 7, not 5")
        assert [finding.metric for finding in found.failed if finding.metric.startswith("output")] == ["outputs"]
        assert found.reasons[0].startswith(reason), found.reasons
    assert verdict("new.onnx", limits={"output_cosine": None}).outcome == "same"


def test_an_unrelated_network_is_named(place: Path) -> None:
    found = verdict(str(save(network(7, 20), place / "new.onnx")))
    assert found.outcome == "different"
    assert any(words.startswith("Another network") for words in found.reasons), (found.reasons, found.measures)


def test_the_layer_that_departs_is_the_one_that_changed(place: Path) -> None:
    found = verdict(str(save(changed(network(), shuffled), place / "new.onnx")))
    nodes = {name: i for i, node in enumerate(network().graph.node) for name in node.output}
    assert found.layer is not None
    assert network().graph.node[nodes[found.layer.split(":")[0]]].op_type == "Conv"
    assert nodes[found.layer.split(":")[0]] == 2
