"""`onnxspace check`: faithful variants pass, faults are caught, and the reason is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import onnxspace as ox
from onnxspace.checking.calibrate import as_toml, calibrate, proposed
from onnxspace.checking.child.forms import FORMS, make
from onnxspace.checking.measure import METRICS
from onnxspace.checking.plan import CheckPlan, find_plan, plan_from, single
from onnxspace.checking.run import check, update
from onnxspace.checking.verdict import Verdict, code_of, limits_for
from onnxspace.errors import ConfigError
from onnxspace.model.encoder import find_encoder
from tests.helpers.networks import Net, save
from tests.helpers.paths import REPOSITORY

IMAGES = 6


@pytest.fixture(autouse=True)
def inside(tasks_in_this_process: None) -> None:
    """Without child processes."""


def network(seed: int = 0, width: int = 12) -> onnx.ModelProto:
    """Three convolutions and a dense layer over 32 × 32 pixels."""
    net = Net(("N", 3, 32, 32), seed)
    x = "image"
    for before, after in ((3, width), (width, 16), (16, 16)):
        bias = net.weight(net.rng.standard_normal(after) * 0.3)
        conv = net.add("Conv", x, net.random(after, before, 3, 3), bias, pads=[1, 1, 1, 1], strides=[2, 2])
        x = net.add("Relu", conv)
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model([net.dense(net.add("Relu", net.dense(x, 16, 8)), 8, 5)])


def changed(model: onnx.ModelProto, change: Callable[[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> onnx.ModelProto:
    """A copy with other weights."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(
            numpy_helper.from_array(np.ascontiguousarray(change(tensor.name, values).astype(values.dtype)), tensor.name)
        )
    return made


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


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(network(), tmp_path / "old.onnx")
    return tmp_path


def verdict(path: str, against: str = "old.onnx", **options: Any) -> Verdict:
    """Of one artifact on a few images."""
    limits, distinct = options.pop("limits", {}), options.pop("distinct", False)
    return check(CheckPlan(single([path], against, limits, distinct, None), images=IMAGES), **options)[0]


def test_a_second_export_is_the_same(place: Path) -> None:
    other = network()
    for node in other.graph.node:
        node.name = f"renamed_{node.name}"
    other.producer_name = "another exporter"
    found = verdict(str(save(other, place / "new.onnx")))
    assert (found.outcome, found.error, found.failed) == ("same", None, ())
    assert found.measures["affinity"] == pytest.approx(1, abs=1e-6)
    assert found.measures["top1"] == 1
    assert found.measures["output_max"] < 1e-6
    assert any("another exporter" in change for change in found.changes)


@pytest.mark.parametrize("form", ["opset", "optimised", "half"])
def test_other_forms_of_the_network_are_the_same(place: Path, form: str) -> None:
    make(form, ox.open_model("old.onnx"), ox.Probes.generate(4, 32).images, place / "new.onnx")
    assert verdict("new.onnx").outcome == "same"


def test_a_quantised_network_in_half_precision_is_the_same(place: Path) -> None:
    """Scales of DequantizeLinear stay in single precision, as its versions before opset 19 demand."""
    images = ox.Probes.generate(8, 32).images
    make("int8", ox.open_model("old.onnx"), images, place / "int8.onnx")
    make("half", ox.open_model("int8.onnx"), images, place / "new.onnx")
    assert onnxruntime.InferenceSession("new.onnx").get_inputs()[0].type == "tensor(float)"
    assert verdict("new.onnx", "int8.onnx").outcome == "same"


def test_a_network_that_takes_bytes_has_an_int8_form(place: Path) -> None:
    model = network()
    model.graph.node[0].input[0] = "scaled"
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 / 64, np.float32), "step"))
    model.graph.node.insert(0, helper.make_node("Mul", ["float", "step"], ["scaled"]))
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["float"], to=onnx.TensorProto.FLOAT))
    save(model, place / "old.onnx")
    make("int8", ox.open_model("old.onnx"), ox.Probes.generate(8, 32).images, place / "new.onnx")
    assert onnxruntime.InferenceSession("new.onnx").get_inputs()[0].type == "tensor(uint8)"
    assert verdict("new.onnx").measures["encoder_cosine"] > 0.99


def test_the_same_network_of_two_frameworks_is_the_same(place: Path) -> None:
    """Exports from Keras and PyTorch, which differ in layout, names and operators."""
    models = REPOSITORY / "models"
    found = verdict(str(models / "shapes-keras.onnx"), str(models / "shapes-torch.onnx"))
    assert (found.outcome, found.failed) == ("same", ())
    assert any("instead of" in change or "is new" in change for change in found.changes)
    related = verdict(str(models / "colour-torch.onnx"), str(models / "shapes-torch.onnx"))
    assert related.outcome == "different"


def test_what_the_files_say_differently_is_told(place: Path) -> None:
    """Names, shapes and types of inputs and outputs, opset, parameters, operators; they alone fail nothing."""
    model = onnx.version_converter.convert_version(network(), 18)
    last = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Add", [last, "nothing"], ["logits"]))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(5, np.float32), "nothing"))
    model.graph.output[0].name = "logits"
    shape = model.graph.input[0].type.tensor_type.shape
    shape.dim[0].ClearField("dim_param")
    shape.dim[0].dim_value = 1
    found = verdict(str(save(model, place / "new.onnx")))
    assert (found.outcome, found.failed) == ("same", ())
    old = sum(numpy_helper.to_array(t).size for t in network().graph.initializer)
    assert set(found.changes) == {
        "opset 17 became 18",
        f"{old:,} parameters became {old + 5:,}",
        "input image is float [1, 3, 32, 32] instead of float [?, 3, 32, 32]",
        f"output {last} (float of unknown shape) is gone",
        "output logits (float [?, 5]) is new",
        "operators: Add 0 → 1",
    }


def shuffled(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if name != "w3":  # the second convolution's weights
        return values
    return np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape)


def swapped(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values[:, ::-1] if name == "w1" else values


def tuned(_name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values + 0.2 * values.std() * np.random.default_rng(values.size).standard_normal(values.shape)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shuffled, "1 of 5 weight tensors differ, all others are equal: w3"),
        (swapped, "its channels are in another order (RGB and BGR are swapped)"),
        (tuned, "The same architecture with other weights: 5 of 5 tensors differ, by 2"),
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
    assert "normalised by ImageNet's mean and deviation: its own normalisation is gone" in found.reasons[0]


def test_a_normalisation_that_moved_into_the_network_is_named(place: Path) -> None:
    """Maps of elrp say how much each pixel adds, and so depend on where zero lies; those of saliency don't."""
    model = network()
    model.graph.node[0].input[0] = "scaled"
    for name, value in (("factor", 1 / 127.5), ("shift", -1.0)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    model.graph.node.insert(0, helper.make_node("Add", ["larger", "shift"], ["scaled"]))
    model.graph.node.insert(0, helper.make_node("Mul", ["image", "factor"], ["larger"]))
    save(model, place / "new.onnx")
    (place / "new.onnxspace.toml").write_text("scale = 1\nmean = [0.0]\nstd = [1.0]\n")
    found = verdict("new.onnx")
    assert found.outcome == "different"
    assert found.measures["encoder_cosine"] == pytest.approx(1, abs=1e-6)
    assert "as where a normalisation has moved into or out of the network" in found.reasons[-1]
    plan = CheckPlan(single(["new.onnx"], "old.onnx", {}, False, None), "saliency", images=IMAGES)
    assert check(plan)[0].outcome == "same"


def test_a_copy_with_a_new_head_is_named(place: Path) -> None:
    """Fine-tuned for more classes: the last tensor has another size, the others moved a little, or not at all."""
    head = np.random.default_rng(1).standard_normal((7, 8))
    last = max((t.name for t in network().graph.initializer if len(t.dims) == 2), key=lambda name: int(name[1:]))
    for change, reason in (
        (tuned, "The same architecture with other weights: 4 of 4 tensors differ, by 2"),
        (lambda _name, values: values, "One weight tensor has another size, all 4 others are equal."),
    ):
        made = changed(network(), lambda name, values, change=change: head if name == last else change(name, values))
        found = verdict(str(save(made, place / "new.onnx")))
        assert found.outcome == "different"
        assert found.missing == {"outputs": "one is 7, not 5"}
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


def test_an_artifact_that_must_not_be_a_copy(place: Path) -> None:
    save(network(), place / "copy.onnx")
    save(network(5), place / "own.onnx")
    assert verdict("copy.onnx", distinct=True).outcome == "different"
    assert verdict("own.onnx", distinct=True).outcome == "same"


def encoded(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What a file gives at its encoder by ONNX Runtime, a row per image, in double precision."""
    made, (place,) = onnx.load(name), find_encoder(ox.open_model(name)).tensors
    made.graph.output.append(helper.make_tensor_value_info(place, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.array([session.run([place], {"image": v[None]})[0].ravel() for v in values], float)


def test_measures_are_those_of_maps_and_of_onnx_runtime(place: Path) -> None:
    """Each by its definition: maps by `attribute`, outputs by ONNX Runtime, cosines one by one in double precision."""
    save(changed(network(), tuned), place / "new.onnx")
    found, images = verdict("new.onnx"), ox.Probes.generate(IMAGES)
    maps = [ox.attribute(name, images).reshape(IMAGES, -1).astype(float) for name in ("new.onnx", "old.onnx")]
    values = ox.open_model("old.onnx").preprocess(images.images)
    sessions = [onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"]) for name in ("new.onnx", "old.onnx")]
    outputs = [np.concatenate([one.run(None, {"image": v[None]})[0] for v in values]).astype(float) for one in sessions]
    new, old = outputs
    coded = [encoded(name, values) for name in ("new.onnx", "old.onnx")]
    cosines, alike, near = (
        np.array([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(*pair, strict=True)]) for pair in (maps, outputs, coded)
    )
    expected = {
        "affinity": cosines.mean(), "affinity_p5": np.percentile(cosines, 5), "affinity_worst": cosines.min(),
        "encoder_cosine": near.mean(), "encoder_max": np.abs(coded[0] - coded[1]).max(),
        "encoder_relative": (np.linalg.norm(coded[0] - coded[1], axis=1) / np.linalg.norm(coded[1], axis=1)).max(),
        "output_cosine": alike.mean(), "output_max": np.abs(new - old).max(),
        "output_relative": (np.linalg.norm(new - old, axis=1) / np.linalg.norm(old, axis=1)).max(),
        "output_r2": 1 - np.square(new - old).sum() / (np.square(old - old.mean(0)).sum() + 0.005**2 * np.square(old).sum()),
        "top1": (new.argmax(1) == old.argmax(1)).mean(),
    }  # fmt: skip
    assert {name: found.measures[name] for name in expected} == pytest.approx(expected, rel=2e-3)
    assert found.measures["size"] == (place / "new.onnx").stat().st_size / (place / "old.onnx").stat().st_size


def test_a_fault_behind_what_hardly_varies_is_caught(place: Path) -> None:
    """A large bias at the end makes cosines high whatever the network says; what varies is lost all the same."""

    def with_bias(model: onnx.ModelProto) -> onnx.ModelProto:
        model.graph.initializer.append(numpy_helper.from_array(np.full(5, 3, np.float32), "lift"))
        last = model.graph.output[0].name
        model.graph.node.append(helper.make_node("Add", [last, "lift"], ["lifted"]))
        model.graph.output[0].name = "lifted"
        return model

    save(with_bias(network()), place / "old.onnx")
    last = max((t.name for t in network().graph.initializer if len(t.dims) == 2), key=lambda name: int(name[1:]))
    save(with_bias(changed(network(), lambda name, v: v[::-1] if name == last else v)), place / "new.onnx")
    update(CheckPlan(single(["old.onnx"], "net.fp", {}, False, None), images=IMAGES))
    for against in ("old.onnx", "net.fp"):
        found = verdict("new.onnx", against)
        assert found.measures["output_cosine"] > 0.995
        assert [finding.metric for finding in found.failed if finding.metric.startswith("output")] == ["output_r2"]
        assert verdict("old.onnx", against).outcome == "same"


def test_the_order_of_an_encoder_of_several_tensors_is_the_exporters(place: Path) -> None:
    """Two branches without a tensor that all paths pass, written in either order."""

    def branches(first: int) -> onnx.ModelProto:
        net = Net(("N", 3, 16, 16), 0)
        weights = [[net.random(6, 3, 3, 3), net.random(6, 4)] for _ in range(2)]
        ends = []
        for conv, dense in (weights[first], weights[1 - first]):
            x = net.add("Relu", net.add("Conv", "image", conv, strides=[2, 2]))
            x = net.add("Flatten", net.add("GlobalAveragePool", x))
            ends.append(net.add("Gemm", x, dense))
        return net.model(ends if first == 0 else ends[::-1])

    save(branches(0), place / "old.onnx")
    save(branches(1), place / "new.onnx")
    found = verdict("new.onnx")
    encoders = [str(find_encoder(ox.open_model(name))).split(" + ") for name in ("old.onnx", "new.onnx")]
    assert len(encoders[0]) == len(encoders[1]) == 2
    assert found.measures["encoder_cosine"] == pytest.approx(1, abs=1e-6)


def test_limits_decide(place: Path) -> None:
    save(changed(network(), tuned), place / "new.onnx")
    lax = dict.fromkeys(["affinity", "affinity_p5", "encoder_cosine", "output_cosine", "output_r2", "top1"], None)
    assert verdict("new.onnx", limits=lax).outcome == "same"
    assert verdict("new.onnx", limits={**lax, "output_relative": 1e-6}).outcome == "different"
    for wrong in ({"nonsense": 1.0}, {"affinity": float("nan")}, {"affinity": True}):
        with pytest.raises(ConfigError):
            limits_for(wrong)


def test_a_baseline_of_a_few_kilobytes_tells_the_same(place: Path) -> None:
    """All that is known of the old model is a fingerprint and its notes."""
    plan = CheckPlan(single(["old.onnx"], "base/net.fp", {}, False, None), images=IMAGES)
    (place / "base").mkdir()
    assert update(plan)[0].outcome == "same"
    assert sum(path.stat().st_size for path in (place / "base").iterdir()) < 16_000
    save(changed(network(), swapped), place / "new.onnx")
    save(changed(network(), shuffled), place / "worse.onnx")
    same, swap, worse = check(
        CheckPlan(single(["old.onnx", "new.onnx", "worse.onnx"], "base/net.fp", {}, False, None), images=IMAGES)
    )
    assert same.outcome == "same", same.findings
    assert same.measures["affinity"] == pytest.approx(1, abs=1e-6)
    assert swap.outcome == worse.outcome == "different"
    assert "its channels are in another order" in swap.reasons[0]
    assert "1 of 8 weight tensors differ" in worse.reasons[0], worse.reasons
    full = verdict("worse.onnx")
    assert worse.measures["encoder_cosine"] == pytest.approx(full.measures["encoder_cosine"], abs=0.1)
    assert worse.measures["top1"] == full.measures["top1"]


def test_a_baseline_without_notes_or_with_others(place: Path) -> None:
    plan = CheckPlan(single(["old.onnx"], "net.fp", {}, False, None), images=IMAGES)
    update(plan)
    notes = place / "net.json"
    told = json.loads(notes.read_text())
    notes.unlink()
    found = check(plan)[0]
    assert (found.outcome, found.changes) == ("same", ())
    assert set(found.measures) == {"affinity", "affinity_p5", "affinity_worst"}
    assert "has no notes beside it" in found.warnings[0]
    save(network(7, 20), place / "new.onnx")
    other = check(CheckPlan(single(["new.onnx"], "net.fp", {}, False, None), images=IMAGES))[0]
    assert (other.outcome, other.changes, other.reasons) == ("different", (), ())
    told["facts"]["sha256"] = "0" * 64
    notes.write_text(json.dumps(told))
    assert "is of another model" in check(plan)[0].warnings[0]
    for broken in ("{", "[]", '{"schema": "onnxspace/baseline/1"}', json.dumps({**told, "facts": {}})):
        notes.write_text(broken)
        assert check(plan)[0].outcome == "trouble"


def test_a_baseline_of_other_images_is_trouble_with_a_way_out(place: Path) -> None:
    update(CheckPlan(single(["old.onnx"], "net.fp", {}, False, None), images=IMAGES))
    found = check(CheckPlan(single(["old.onnx"], "net.fp", {}, False, None), images=IMAGES + 1))[0]
    assert found.outcome == "trouble"
    assert "--images 6" in str(found.error)
    assert check(CheckPlan(single(["old.onnx"], "net.fp", {}, False, None)))[0].outcome == "same"  # its own are drawn again


def test_a_model_of_a_space_is_a_baseline(place: Path) -> None:
    space = ox.Space.create("zoo.space", ox.Probes.generate(IMAGES, 32))
    space.add("old.onnx")
    found = check(CheckPlan(single(["old.onnx"], "zoo.space:old", {}, False, None)))[0]
    assert (found.outcome, found.changes) == ("same", ())
    assert "size" not in found.measures
    missing = check(CheckPlan(single(["old.onnx"], "zoo.space:other", {}, False, None)))[0]
    assert missing.outcome == "trouble"
    assert "no model called 'other'" in str(missing.error)


def test_what_can_not_be_compared_does_not_stop_the_rest(place: Path) -> None:
    (place / "broken.onnx").write_bytes(b"nothing")
    found = check(CheckPlan(single(["broken.onnx", "old.onnx", "missing.onnx"], "old.onnx", {}, False, None), images=IMAGES))
    assert [one.outcome for one in found] == ["trouble", "same", "trouble"]
    assert code_of(found) == 2
    assert code_of(found[1:2]) == 0


def test_an_operator_of_another_library_above_the_encoder_is_left_out(place: Path) -> None:
    """No library of custom operators is loaded: what such an operator gives is not compared, and the rest is."""
    model = network()
    model.graph.node.append(helper.make_node("Magic", [model.graph.output[0].name], ["told"], domain="acme"))
    model.graph.output[0].name = "told"
    model.opset_import.append(onnx.OperatorSetIdProto(domain="acme", version=1))
    save(model, place / "new.onnx")
    save(model, place / "old.onnx")
    found = verdict("new.onnx")
    assert (found.outcome, found.missing) == (
        "same",
        {"output_cosine": "the outputs are others, or can't be run image by image"},
    )
    assert found.measures["encoder_cosine"] == pytest.approx(1, abs=1e-6)


def test_a_picture_shows_where_they_look_elsewhere(place: Path) -> None:
    save(changed(network(), shuffled), place / "new.onnx")
    found = verdict("new.onnx", pictures=place / "pictures")
    assert found.picture == str(place / "pictures" / "new.png")
    assert (place / "pictures" / "new.png").stat().st_size > 10_000


PLAN = """
[check]
images = 6
limits = {affinity = 0.97}
[check.artifacts.net]
model = "old.onnx"
[check.artifacts.other]
model = "new.onnx"
against = "old.onnx"
limits = {affinity = 0.5, top1 = false}
distinct = true
"""


def test_the_configuration_says_what_to_check(place: Path) -> None:
    save(network(3), place / "new.onnx")
    (place / "onnxspace.toml").write_text(PLAN)
    plan, file = find_plan(None)
    assert file == Path("onnxspace.toml")
    first, second = plan.artifacts
    assert (first.path, first.against) == (Path("old.onnx"), "baselines/net.fp")
    assert first.limits["affinity"] == 0.97
    assert (second.limits["affinity"], second.distinct) == (0.5, 0.9)
    assert "top1" not in second.limits
    (place / "baselines").mkdir()
    assert [one.outcome for one in update(CheckPlan(plan.artifacts[:1], images=6), config=file)] == ["same"]
    assert [one.outcome for one in check(plan, config=file)] == ["same", "same"]


def test_pyproject_says_it_too(place: Path) -> None:
    text = PLAN.replace("[check", "[tool.onnxspace.check")
    (place / "pyproject.toml").write_text('[project]\nname = "x"\n' + text)
    plan, file = find_plan(None)
    assert [one.name for one in plan.artifacts] == ["net", "other"]
    assert file is None


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "names no artifacts"),
        ({"artefacts": {}}, "unknown key 'artefacts'"),
        ({"artifacts": {"a": {}}}, "must be a table with model"),
        ({"artifacts": {"a": {"model": 3}}}, "model must be text"),
        ({"artifacts": {"a": {"model": "a", "distinct": 2}}}, "distinct must be true"),
        ({"artifacts": {"a": {"model": "a"}}, "limits": {"speed": 1}}, "no metric 'speed'"),
        ({"artifacts": {"a": {"model": "a"}}, "images": 0}, "images must be a whole number"),
        ({"artifacts": {"a": {"model": "a"}}, "method": "x"}, "method is 'x'"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plan_from(table, Path("onnxspace.toml"))


def test_without_a_plan_the_way_out_is_told(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[tool.onnxspace.check\]"):
        find_plan(None)


def test_calibration_proposes_limits_that_every_form_passes(place: Path) -> None:
    """Also int8, which the usual limits need not let pass; faults stay beyond them."""
    plan = CheckPlan(single(["old.onnx"], "old.onnx", {}, False, None), images=IMAGES)
    found = calibrate(plan, ("opset", "optimised", "half", "int8"))[0]
    assert not found.failed
    assert set(found.forms) == {"opset", "optimised", "half", "int8"}
    make("int8", ox.open_model("old.onnx"), ox.Probes.generate(IMAGES).images, place / "int8.onnx")
    assert verdict("int8.onnx", limits=found.limits).outcome == "same"
    save(changed(network(), shuffled), place / "bad.onnx")
    assert verdict("bad.onnx", limits=found.limits).outcome == "different"
    assert "[check.artifacts.old.limits]\naffinity = 0." in as_toml([found])


def test_a_broken_form_gives_no_limits(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_model: Any, _images: Any, target: Path) -> None:
        save(network(5), target)

    monkeypatch.setitem(FORMS, "int8", broken)
    found = calibrate(CheckPlan(single(["old.onnx"], "old.onnx", {}, False, None), images=IMAGES), ("opset", "int8"))[0]
    assert set(found.forms) == {"opset"}
    assert "old.onnx as int8 looks at other things than it (affinity" in found.failed["int8"]
    assert found.limits["affinity"] > 0.99


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.3])
def test_counts_of_other_images_stay_within_what_is_proposed(rate: float) -> None:
    """Whatever share of images a form changes, other images of the same number seldom have more than the limit allows."""
    first, second = np.random.default_rng(0).binomial(64, rate, (2, 4000))
    limits = {count: proposed([{"top1": 1 - count / 64}], 64)["top1"] for count in set(first.tolist())}
    passed = np.array([1 - changed / 64 >= limits[seen] for seen, changed in zip(first.tolist(), second.tolist(), strict=True)])
    assert passed.mean() > 0.96
    assert limits[int(first.min())] > 0.5


def test_proposed_limits_leave_room_and_leave_extremes_alone() -> None:
    """Every measure that has a usual limit gets one, and no other."""
    worst = {
        "affinity": 0.99,
        "affinity_p5": 0.9,
        "affinity_worst": 0.2,
        "encoder_cosine": 0.9,
        "output_cosine": 1.0,
        "output_r2": 0.99,
    }
    found = proposed([{**worst, "output_max": 0.013, "size": 0.3, "top1": 1.0}, dict.fromkeys(worst, 1.0)], 60)
    expected = {
        "affinity": 0.98,
        "affinity_p5": 0.6,
        "encoder_cosine": 0.8,
        "output_cosine": 0.999,
        "output_r2": 0.96,
        "top1": 0.95,
    }
    assert found == pytest.approx(expected, abs=1.01e-3)
    assert all(found[name] <= value for name, value in expected.items())
    assert set(found) == {name for name, metric in METRICS.items() if metric.limit is not None}
