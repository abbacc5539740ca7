"""Outputs: all of the baseline's are compared, finite, and fed the same values besides the image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxspace.checking.child import outputs as outputs_module
from onnxspace.checking.measure_signals import signal_cosines
from onnxspace.checking.plan import CheckPlan, artifacts_against
from onnxspace.checking.run import update
from onnxspace.checking.values import OPEN
from onnxspace.checking.verdict import Verdict
from tests.helpers.checks import IMAGES, changed, network, verdict
from tests.helpers.nets import Net, save


def ended(model: onnx.ModelProto, *steps: tuple[str, Any], **attributes: Any) -> onnx.ModelProto:
    """With more steps at its end: an operator and its second operand each (None: it has none)."""
    for number, (operator, operand) in enumerate(steps):
        last, name = model.graph.output[0].name, f"end{number}"
        inputs = [last] if operand is None else [last, f"operand{number}"]
        if operand is not None:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(operand), f"operand{number}"))
        model.graph.node.append(helper.make_node(operator, inputs, [name], **attributes))
        model.graph.output[0].name = name
    return model


def failing(found: Verdict) -> list[str]:
    assert found.error is None
    return [finding.metric for finding in found.failed]


NOT_FINITE: dict[str, Callable[[], onnx.ModelProto]] = {
    "a logarithm of what is below zero": lambda: ended(network(), ("Sub", np.float32(1e6)), ("Log", None)),
    "a division by zero": lambda: ended(network(), ("Div", np.float32(0))),
    "a weight of the head": lambda: changed(network(), lambda name, v: v * np.nan if v.shape == (5, 8) else v),
    "a weight of the first layer": lambda: changed(network(), lambda name, v: v * np.nan if name == "w1" else v),
    "too large for single precision": lambda: ended(network(), ("Mul", np.float32(1e30)), ("Mul", np.float32(1e30))),
}


@pytest.mark.parametrize("kind", NOT_FINITE)
def test_an_output_that_is_not_finite_fails(place: Path, kind: str) -> None:
    save(NOT_FINITE[kind](), place / "new.onnx")
    found = verdict("new.onnx")
    assert "output_finite" in failing(found)
    assert found.outcome == "different"
    assert found.measures["output_finite"] < 1
    assert any("is NaN or infinite for" in reason for reason in found.reasons), found.reasons
    assert not any("trained" in reason or "scale" in reason for reason in found.reasons), found.reasons


def test_a_network_without_finite_outputs_is_no_baseline_and_not_its_own_copy(place: Path) -> None:
    save(NOT_FINITE["a division by zero"](), place / "new.onnx")
    assert failing(verdict("new.onnx", "new.onnx")) == ["output_finite"]
    written = update(CheckPlan(artifacts_against(["new.onnx"], "net.fp", {}, False, None), images=IMAGES))[0]
    assert written.outcome == "trouble"
    assert "computes NaN or infinity in its output" in str(written.error)
    assert not (place / "net.fp").exists()


def detector(seed: int = 0, name: str = "scale_factor", fixed: Any = None) -> onnx.ModelProto:
    """Boxes of a head that are divided by another input, as Paddle's detectors divide by the scale of the image."""
    net = Net(("N", 3, 32, 32), 0)
    x = net.add("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    x = net.add("Relu", net.conv(x, 8, 12, strides=[2, 2]))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    x = net.add("Relu", net.dense(x, 12, 8))
    net.rng = np.random.default_rng([seed, 1])
    boxes = net.add("Sigmoid", net.dense(x, 8, 2))
    model = net.model([net.add("Div", boxes, name)])
    if fixed is None:
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]))
    else:
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(fixed, np.float32), name))
    return model


def test_outputs_that_need_another_input_are_compared(place: Path) -> None:
    save(detector(), place / "old.onnx")
    save(detector(name="scale"), place / "renamed.onnx")
    save(detector(1), place / "other_head.onnx")
    save(detector(fixed=[[1, 1.125]]), place / "same_values.onnx")
    update(CheckPlan(artifacts_against(["old.onnx"], "net.fp", {}, False, None), images=IMAGES))
    for against in ("old.onnx", "net.fp"):
        for name in ("old.onnx", "renamed.onnx", "same_values.onnx"):
            assert verdict(name, against).outcome == "same"
        found = verdict("other_head.onnx", against)
        assert found.measures["encoder_cosine"] == pytest.approx(1, abs=1e-3)
        assert "output_cosine" in failing(found) or "output_r2" in failing(found)


def test_exchanged_axes_of_another_input_show(place: Path) -> None:
    save(detector(), place / "old.onnx")
    save(detector(fixed=[[1.125, 1]]), place / "new.onnx")
    assert verdict("new.onnx").outcome == "different"


def test_an_output_that_is_gone_or_has_another_shape_fails(place: Path) -> None:
    def two(*kept: int) -> onnx.ModelProto:
        net = Net(("N", 3, 16, 16), 0)
        x = net.add("Relu", net.conv("image", 3, 8))
        x = net.add("Flatten", net.add("GlobalAveragePool", x))
        heads = [net.dense(x, 8, 5), net.dense(x, 8, 3)]
        return net.model([heads[i] for i in kept])

    save(two(0, 1), place / "old.onnx")
    save(two(0), place / "new.onnx")
    found = verdict("new.onnx")
    assert failing(found) == ["outputs"]
    assert found.measures["outputs"] == 0.5
    assert found.missing["outputs"].endswith(" is gone")
    assert verdict("new.onnx", limits={"outputs": None}).outcome == "same"
    assert verdict("old.onnx", "new.onnx").outcome == "same"  # another output is no difference of the old ones
    save(two(1, 0), place / "order.onnx")
    assert verdict("order.onnx").outcome == "same"


def boxes_above(limit: float) -> onnx.ModelProto:
    """As many rows as there are values above a limit: their number depends on the image."""
    net = Net(("N", 3, 32, 32), 0)
    x = net.add("Relu", net.conv("image", 3, 8, strides=[2, 2]))
    x = net.add("Relu", net.conv(x, 8, 12, strides=[2, 2]))
    scores = net.add("Reshape", net.conv(x, 12, 1, size=1), net.weight(np.array([-1])))
    places = net.add("NonZero", net.add("Greater", scores, net.weight(np.float32(limit))))
    return net.model([net.add("Gather", scores, net.add("Reshape", places, net.weight(np.array([-1]))))])


def test_outputs_whose_size_depends_on_the_image_are_compared(place: Path) -> None:
    save(boxes_above(0.1), place / "old.onnx")
    save(boxes_above(0.3), place / "new.onnx")
    save(boxes_above(0.1 + 1e-6), place / "near.onnx")
    update(CheckPlan(artifacts_against(["old.onnx"], "net.fp", {}, False, None), images=IMAGES))
    for against in ("old.onnx", "net.fp"):
        same = verdict("old.onnx", against)
        assert (same.outcome, same.measures["outputs"]) == ("same", 1)
        assert verdict("near.onnx", against).measures["outputs"] == 1
        assert verdict("new.onnx", against).outcome == "different"


@pytest.mark.parametrize("counts", [([1, 3, 2], [1, 3, 1]), ([1, 2, 1], [2, 2, 2]), ([0, 2, 1], [0, 0, 0])])
def test_boxes_have_one_shape_however_many_there_are(counts: tuple[list[int], list[int]]) -> None:
    """Also where an image has one box, whose axis is not that of the batch."""
    signals = []
    for side in counts:
        record = outputs_module._Record()
        for count in side:
            record.add(outputs_module._first_image(np.ones((count, 4), np.float32), 1))
        signals.append(record.signal())
    assert signals[0].shape == (OPEN, 4)
    found = signal_cosines(*signals)
    assert found is not None
    expected = [min(a, b) / np.sqrt(a * b) if a and b else float(a == b) for a, b in zip(*counts, strict=True)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_classes_and_names_are_outputs_too(place: Path) -> None:
    def labelled(turn: int) -> onnx.ModelProto:
        model = network()
        last = model.graph.output[0].name
        names = np.roll(["ant", "bee", "cat", "dog", "elk"], turn).tolist()
        model.graph.node.append(helper.make_node("ArgMax", [last], ["index"], axis=1, keepdims=0))
        model.graph.node.append(
            helper.make_node(
                "LabelEncoder", ["index"], ["label"], domain="ai.onnx.ml", keys_int64s=range(5), values_strings=names
            )
        )
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
        model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.STRING, None))
        return model

    save(labelled(0), place / "old.onnx")
    save(labelled(1), place / "new.onnx")
    assert verdict("old.onnx", "old.onnx").measures["outputs"] == 1
    assert verdict("new.onnx").outcome == "different"


def test_an_artifact_that_the_runtime_can_not_load_is_trouble(place: Path) -> None:
    """A half-precision file in which one operand was forgotten: its trunk runs, the file does not."""
    model = network()
    last = model.graph.output[0].name
    model.graph.initializer.append(numpy_helper.from_array(np.ones(5, np.float16), "half"))
    model.graph.node.append(helper.make_node("Add", [last, "half"], ["sum"]))
    model.graph.output[0].name = "sum"
    save(model, place / "new.onnx")
    found = verdict("new.onnx")
    assert found.outcome == "trouble"
    assert "new.onnx can't be loaded by ONNX Runtime" in str(found.error)
    written = update(CheckPlan(artifacts_against(["new.onnx"], "net.fp", {}, False, None), images=IMAGES))[0]
    assert written.outcome == "trouble"


def test_large_outputs_are_compared_by_sketches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(changed(network(), lambda name, v: v[::-1] if v.shape == (5, 8) else v), place / "new.onnx")
    exact = verdict("new.onnx")
    monkeypatch.setattr(outputs_module, "_MOST_KEPT", 7)
    found = verdict("new.onnx")
    assert failing(found) == failing(exact)
    assert found.measures["output_cosine"] == pytest.approx(exact.measures["output_cosine"], abs=0.3)
    assert "output_max" not in found.measures
    assert verdict("old.onnx").outcome == "same"
    assert verdict("old.onnx", limits={"output_max": 1.0}).outcome == "trouble"


def test_a_limit_without_a_value_is_trouble(place: Path) -> None:
    """The share of equal classes of a network whose output is an image."""
    net = Net(("N", 3, 32, 32), 0)
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4))
    save(net.model([net.conv(net.add("Relu", net.conv(x, 8, 6, pads=[1] * 4)), 6, 4, pads=[1] * 4)]), place / "old.onnx")
    assert verdict("old.onnx").outcome == "same"
    found = verdict("old.onnx", limits={"top1": 0.9})
    assert found.outcome == "trouble"
    assert "no output has a number per class, so top1 can't be measured" in str(found.error)
    assert "--limit top1=none" in str(found.error)
