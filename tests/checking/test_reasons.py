"""Reasons are true: each kind of change gets the sentence for it, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxspace.checking.plan import CheckPlan, artifacts_against
from onnxspace.checking.run import update
from onnxspace.checking.verdict import Verdict
from tests.helpers.checks import IMAGES, changed, network, shuffled, tuned, verdict
from tests.helpers.nets import save

#: Words that are true of training only, and of another way to feed a network.
TRAINED, FED = ("trained", "training"), ("With another input", "normalisation")


def ended(operator: str, **attributes: Any) -> onnx.ModelProto:
    model = network()
    last = model.graph.output[0].name
    model.graph.node.append(helper.make_node(operator, [last], ["ended"], **attributes))
    model.graph.output[0].name = "ended"
    return model


def reordered(order: list[int]) -> onnx.ModelProto:
    return changed(network(), lambda _name, v: v[order] if v.shape == (5, 8) else v)


def scaled() -> onnx.ModelProto:
    model = network()
    model.graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "factor"))
    model.graph.node.append(helper.make_node("Mul", [model.graph.output[0].name, "factor"], ["scaled"]))
    model.graph.output[0].name = "scaled"
    return model


def both(place: Path, old: onnx.ModelProto, new: onnx.ModelProto) -> dict[str, Verdict]:
    """Verdicts against the model file, and against a fingerprint of it."""
    save(old, place / "old.onnx")
    save(new, place / "new.onnx")
    write_baseline(old, place)
    found = {against: verdict("new.onnx", against) for against in ("old.onnx", "net.fp")}
    for one in found.values():
        assert (one.outcome, one.error) == ("different", None)
        check_numbers(one)
    return found


_baselines: dict[bytes, dict[str, bytes]] = {}


def write_baseline(old: onnx.ModelProto, place: Path) -> None:
    """The fingerprint of old.onnx and what belongs to it, which is written once for each network."""
    key = old.SerializeToString(deterministic=True)
    if key not in _baselines:
        before = set(place.iterdir())
        update(CheckPlan(artifacts_against(["old.onnx"], "net.fp", {}, False, None), images=IMAGES))
        _baselines[key] = {path.name: path.read_bytes() for path in set(place.iterdir()) - before if path.is_file()}
    for name, content in _baselines[key].items():
        (place / name).write_bytes(content)


def check_numbers(found: Verdict) -> None:
    """No line contradicts its numbers."""
    assert found.layer is None or not found.layer.endswith(": 0.0% off")
    assert all(cosine < 0.98 for _, _, cosine in found.images)
    for finding in found.findings:
        value, limit = finding.words.split(": ")[1].split(" (")[0].split(", must be ")
        assert (value == limit.split()[-1]) == (finding.value == finding.limit), finding.words


def says(found: Verdict, *words: str) -> bool:
    return any(all(word in reason for word in words) for reason in found.reasons)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (ended("Sigmoid"), network(), "holds the old one's logits: a final Sigmoid was dropped"),
        (ended("Softmax", axis=-1), network(), "holds the old one's logits: a final Softmax was dropped"),
        (network(), ended("Softmax", axis=-1), "is the Softmax of the old one, which holds its logits: a final Softmax was added"),
        (network(), ended("Sigmoid"), "is the Sigmoid of the old one, which holds its logits: a final Sigmoid was added"),
        (network(), ended("Exp"), "is the Exp of the old one, which holds its input"),
        (network(), ended("LogSoftmax", axis=-1), "is the LogSoftmax of the old one, which holds its logits"),
        (network(), scaled(), "is the old one times 255"),
    ],
)  # fmt: skip
def test_another_last_step_is_named(place: Path, old: onnx.ModelProto, new: onnx.ModelProto, words: str) -> None:
    for found in both(place, old, new).values():
        assert says(found, words), found.reasons
        assert words in found.reasons[0]
        assert "the encoder" in found.reasons[0]
        assert not any(says(found, word) for word in (*TRAINED, *FED)), found.reasons
        assert found.layer is None
        assert found.images == ()


@pytest.mark.parametrize("order", [[1, 2, 3, 4, 0], [1, 0, 2, 3, 4], [4, 3, 2, 1, 0]])
def test_another_order_of_classes_is_named(place: Path, order: list[int]) -> None:
    found = both(place, network(), reordered(order))
    full = found["old.onnx"]
    moved = next(i for i in range(5) if order[i] != i)
    assert says(full, "holds the old values in another order of classes", f"{moved} is now {order.index(moved)}"), full.reasons
    assert says(full, "1 of 8 weight tensors differ, all others are equal")
    if full.measures["output_cosine"] < 0.99:
        assert says(found["net.fp"], "the same values in another order of classes"), found["net.fp"].reasons
    for one in found.values():
        assert not any(says(one, word) for word in (*TRAINED, *FED)), one.reasons


def test_other_weights_of_the_head_are_no_order_and_no_last_step(place: Path) -> None:
    new = changed(network(), lambda _name, v: np.random.default_rng(3).standard_normal(v.shape) if v.shape == (5, 8) else v)
    for found in both(place, network(), new).values():
        assert not any(says(found, word) for word in ("order", "logits", "scale", *TRAINED, *FED)), found.reasons
        assert says(found, "1 of 8 weight tensors differ, all others are equal")


def in_front(*steps: tuple[str, Any]) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    """Steps between the image and the first convolution, each with a constant per channel."""

    def change(model: onnx.ModelProto) -> onnx.ModelProto:
        model.graph.node[0].input[0] = f"front{len(steps) - 1}"
        for number, (operator, operand) in reversed(list(enumerate(steps))):
            values = np.broadcast_to(np.asarray(operand, np.float32).reshape(-1, 1, 1), (3, 1, 1))[None].copy()
            model.graph.initializer.append(numpy_helper.from_array(values, f"constant{number}"))
            read = "image" if number == 0 else f"front{number - 1}"
            model.graph.node.insert(0, helper.make_node(operator, [read, f"constant{number}"], [f"front{number}"]))
        return model

    return change


def batch_norm(model: onnx.ModelProto) -> onnx.ModelProto:
    for name, values in (
        ("gain", [1.2, 0.8, 1]),
        ("bias", [0.3, -0.2, 0.1]),
        ("mean", [0.5, 0.4, 0.4]),
        ("variance", [0.3, 0.2, 0.2]),
    ):
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), name))
    names = ["image", "gain", "bias", "mean", "variance"]
    model.graph.node.insert(0, helper.make_node("BatchNormalization", names, ["normal"]))
    model.graph.node[1].input[0] = "normal"
    return model


def instance_norm(model: onnx.ModelProto) -> onnx.ModelProto:
    for name, values in (("gain", [1, 1, 1]), ("bias", [0, 0, 0])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.float32), name))
    model.graph.node.insert(0, helper.make_node("InstanceNormalization", ["image", "gain", "bias"], ["normal"]))
    model.graph.node[1].input[0] = "normal"
    return model


@pytest.mark.parametrize(
    "change",
    [
        in_front(("Sub", [0.485, 0.456, 0.406]), ("Div", [0.229, 0.224, 0.225])),
        in_front(("Mul", [3, 2, 1.5]), ("Add", [0.4, -0.3, 0.2])),
        in_front(("Div", 0.25)),
        batch_norm,
        instance_norm,
    ],
)
def test_a_normalisation_in_front_is_named(place: Path, change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
    for found in both(place, network(), change(network())).values():
        assert says(found, "A normalisation was added in front of its first layer", "without it, it gives the old outputs"), (
            found.reasons
        )
        assert not any(says(found, word) for word in TRAINED), found.reasons


def test_a_normalisation_in_front_that_is_gone_is_named(place: Path) -> None:
    old = in_front(("Mul", [3, 2, 1.5]), ("Add", [0.4, -0.3, 0.2]))(network())
    for found in both(place, old, network()).values():
        assert says(
            found,
            "With another input it gives the old outputs",
            "the normalisation in front of the first layer (Mul, Add) is gone",
        )
        assert not any(says(found, word) for word in TRAINED), found.reasons


@pytest.mark.parametrize("model", [lambda m: changed(m, shuffled), lambda m: changed(m, tuned)])
def test_a_normalisation_is_not_blamed_for_other_weights(
    place: Path, model: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> None:
    front = in_front(("Sub", [0.485, 0.456, 0.406]), ("Div", [0.229, 0.224, 0.225]))
    save(front(network()), place / "old.onnx")
    save(model(front(network())), place / "new.onnx")
    found = verdict("new.onnx")
    assert found.outcome == "different"
    assert not any(says(found, word) for word in FED), found.reasons


def test_two_biases_as_of_a_wrong_fold_are_named(place: Path) -> None:
    def moved(_name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return values + 0.4 if values.shape == (16,) else values

    found = both(place, network(), changed(network(), moved))
    names = [t.name for t in network().graph.initializer if list(t.dims) == [16]]
    assert len(names) == 2
    for one in found.values():
        assert says(one, "2 of 8 weight tensors differ, all others are equal: ", *names), one.reasons
        assert says(one, "Both are biases or parameters of a normalisation, as where a batch normalisation was folded wrongly")
        assert not any(says(one, word) for word in (*TRAINED, "With another input")), one.reasons


def test_a_bias_of_the_head_is_a_bias_and_nothing_else(place: Path) -> None:
    def with_bias(value: float) -> onnx.ModelProto:
        model = network()
        model.graph.initializer.append(numpy_helper.from_array(np.array([value, 0, 0, 0, 0], np.float32), "lift"))
        model.graph.node.append(helper.make_node("Add", [model.graph.output[0].name, "lift"], ["lifted"]))
        model.graph.output[0].name = "lifted"
        return model

    for found in both(place, with_bias(0.5), with_bias(3.0)).values():
        assert says(found, "1 of 9 weight tensors differ, all others are equal: lift"), found.reasons
        assert not any(says(found, word) for word in ("logits", "order", "scale", *TRAINED, "With another input")), (
            found.reasons
        )
    assert says(verdict("new.onnx"), "All ", "layers that were compared are equal")


def test_counts_are_of_all_tensors(place: Path) -> None:
    tensors = len(network().graph.initializer)
    found = both(place, network(), changed(network(), tuned))
    assert says(found["old.onnx"], f"{tensors} of {tensors} tensors differ")
    assert says(found["net.fp"], f"{tensors} of {tensors} tensors differ")


def test_images_that_look_the_same_are_not_listed_and_not_drawn(place: Path) -> None:
    save(reordered([1, 0, 2, 3, 4]), place / "new.onnx")
    found = verdict("new.onnx", pictures=place / "pictures")
    assert (found.outcome, found.images, found.picture) == ("different", (), None)
    assert not (place / "pictures").exists()


def test_a_verdict_near_its_limit_shows_its_interval(place: Path) -> None:
    save(changed(network(), lambda name, v: v + 0.02 * v.std() * np.sign(v) if name == "w3" else v), place / "new.onnx")
    value = verdict("new.onnx").measures["affinity"]
    near = next(f for f in verdict("new.onnx", limits={"affinity": value - 1e-6}).findings if f.metric == "affinity")
    assert near.kept
    assert near.low is not None
    assert near.high is not None
    assert near.low < value - 1e-6 < near.high
    assert f"(on other images {near.low:.4g} to {near.high:.4g})" in near.words
    far = next(f for f in verdict("new.onnx", limits={"affinity": 0.1}).findings if f.metric == "affinity")
    assert (far.low, far.high) == (None, None)


def test_an_output_that_became_constant_is_named(place: Path) -> None:
    model = ended("Sigmoid")
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    model.graph.node.append(helper.make_node("Mul", ["ended", "nothing"], ["none"]))
    model.graph.node.append(helper.make_node("Cos", ["none"], ["one"]))
    model.graph.output[0].name = "one"
    for found in both(place, network(), model).values():
        assert says(found, "is the same for every image, which the old one is not"), found.reasons
        assert not any(says(found, word) for word in ("logits", "scale", *TRAINED)), found.reasons
