"""`onnxspace check`: faithful variants pass, faults are caught, and the reason is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import onnxspace as ox
from onnxspace.checking.child.forms import write_form
from onnxspace.checking.plan import CheckPlan, artifacts_against
from onnxspace.checking.run import check, name_pictures, update
from onnxspace.checking.verdict import exit_code_of, limits_for
from onnxspace.errors import ConfigError
from onnxspace.model.encoder import find_encoder
from tests.helpers.checks import IMAGES, changed, network, shuffled, swapped, tuned, verdict
from tests.helpers.nets import Net, save
from tests.helpers.paths import REPOSITORY


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
    write_form(form, ox.open_model("old.onnx"), ox.Probes.generate(4, 32).images, place / "new.onnx")
    assert verdict("new.onnx").outcome == "same"


def test_a_quantised_network_in_half_precision_is_the_same(place: Path) -> None:
    """Scales of DequantizeLinear stay in single precision, as its versions before opset 19 demand."""
    images = ox.Probes.generate(8, 32).images
    write_form("int8", ox.open_model("old.onnx"), images, place / "int8.onnx")
    write_form("half", ox.open_model("int8.onnx"), images, place / "new.onnx")
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
    write_form("int8", ox.open_model("old.onnx"), ox.Probes.generate(8, 32).images, place / "new.onnx")
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
        f"output {last} (float of unknown shape) was removed",
        "output logits (float [?, 5]) is new",
        "operators: Add 0 → 1",
    }


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
    update(CheckPlan(artifacts_against(["old.onnx"], "net.fp", {}, False, None), images=IMAGES))
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
    plan = CheckPlan(artifacts_against(["old.onnx"], "base/net.fp", {}, False, None), images=IMAGES)
    (place / "base").mkdir()
    assert update(plan)[0].outcome == "same"
    assert sum(path.stat().st_size for path in (place / "base").iterdir()) < 16_000
    save(changed(network(), swapped), place / "new.onnx")
    save(changed(network(), shuffled), place / "worse.onnx")
    same, swap, worse = check(
        CheckPlan(artifacts_against(["old.onnx", "new.onnx", "worse.onnx"], "base/net.fp", {}, False, None), images=IMAGES)
    )
    assert same.outcome == "same", same.findings
    assert same.measures["affinity"] == pytest.approx(1, abs=1e-6)
    assert swap.outcome == worse.outcome == "different"
    assert "its colour channels are in another order" in swap.reasons[0]
    assert "1 of 8 weight tensors differ" in worse.reasons[0], worse.reasons
    full = verdict("worse.onnx")
    assert worse.measures["encoder_cosine"] == pytest.approx(full.measures["encoder_cosine"], abs=0.1)
    assert worse.measures["top1"] == full.measures["top1"]


def test_a_baseline_of_other_images_is_trouble_with_a_way_out(place: Path) -> None:
    update(CheckPlan(artifacts_against(["old.onnx"], "net.fp", {}, False, None), images=IMAGES))
    found = check(CheckPlan(artifacts_against(["old.onnx"], "net.fp", {}, False, None), images=IMAGES + 1))[0]
    assert found.outcome == "trouble"
    assert "--images 6" in str(found.error)
    assert (
        check(CheckPlan(artifacts_against(["old.onnx"], "net.fp", {}, False, None)))[0].outcome == "same"
    )  # its own are drawn again


def test_a_model_of_a_space_is_a_baseline(place: Path) -> None:
    space = ox.Space.create("zoo.space", ox.Probes.generate(IMAGES, 32))
    space.add("old.onnx")
    found = check(CheckPlan(artifacts_against(["old.onnx"], "zoo.space:old", {}, False, None)))[0]
    assert (found.outcome, found.changes) == ("same", ())
    assert "size" not in found.measures
    missing = check(CheckPlan(artifacts_against(["old.onnx"], "zoo.space:other", {}, False, None)))[0]
    assert missing.outcome == "trouble"
    assert "no model named 'other'" in str(missing.error)


def test_what_can_not_be_compared_does_not_stop_the_rest(place: Path) -> None:
    (place / "broken.onnx").write_bytes(b"nothing")
    found = check(
        CheckPlan(artifacts_against(["broken.onnx", "old.onnx", "missing.onnx"], "old.onnx", {}, False, None), images=IMAGES)
    )
    assert [one.outcome for one in found] == ["trouble", "same", "trouble"]
    assert exit_code_of(found) == 2
    assert exit_code_of(found[1:2]) == 0


def test_an_operator_of_another_library_above_the_encoder_is_left_out_only_on_demand(place: Path) -> None:
    """No library of custom operators is loaded: what such an operator gives is not compared, which must be allowed."""
    model = network()
    model.graph.node.append(helper.make_node("Magic", [model.graph.output[0].name], ["told"], domain="acme"))
    model.graph.output[0].name = "told"
    model.opset_import.append(onnx.OperatorSetIdProto(domain="acme", version=1))
    save(model, place / "new.onnx")
    save(model, place / "old.onnx")
    refused = verdict("new.onnx")
    assert refused.outcome == "trouble"
    assert "old.onnx can't be loaded by ONNX Runtime (it has operators of 'acme', whose libraries are not loaded)" in str(
        refused.error
    )
    assert "--limit outputs=none" in str(refused.error)
    found = verdict("new.onnx", limits={"outputs": None})
    assert (found.outcome, found.measures["outputs"]) == ("same", 0)
    assert "can't be loaded by ONNX Runtime" in found.missing["outputs"]
    assert found.measures["encoder_cosine"] == pytest.approx(1, abs=1e-6)


def test_a_picture_shows_where_they_look_elsewhere(place: Path) -> None:
    save(changed(network(), shuffled), place / "new.onnx")
    found = verdict("new.onnx", pictures=place / "pictures")
    assert found.picture == str(place / "pictures" / "new.png")
    assert (place / "pictures" / "new.png").stat().st_size > 10_000


def test_two_artifacts_of_one_name_have_a_picture_each(place: Path) -> None:
    for number, folder in enumerate("ab", 1):
        (place / folder).mkdir()
        save(network(number), place / folder / "net.onnx")
    plan = CheckPlan(artifacts_against(["a/net.onnx", "b/net.onnx"], "old.onnx", {}, False, None), images=IMAGES)
    found = check(plan, pictures="pictures")
    assert [one.name for one in found] == ["a/net", "b/net"]
    assert [one.picture for one in found] == ["pictures/a-net.png", "pictures/b-net.png"]
    first, second = ((place / str(one.picture)).read_bytes() for one in found)
    assert first != second


def test_names_of_pictures_differ_and_stay_in_their_folder() -> None:
    names = name_pictures(["net", "Net", "../net", "a/net", "a-net", "", "x" * 300])
    assert len({name.lower() for name in names}) == len(names)
    assert all(Path(name).name == name and len(name) < 120 and not name.startswith(".") for name in names)


def test_a_model_is_checked_in_python_as_on_the_command_line(place: Path) -> None:
    save(changed(network(), tuned), place / "new.onnx")
    probes = ox.Probes.generate(IMAGES)
    found = ox.check("new.onnx", against="old.onnx", probes=probes)
    expected = check(CheckPlan(artifacts_against(["new.onnx"], "old.onnx", {}, False, None), images=IMAGES))[0]
    assert replace(found, seconds=0).to_dict() == replace(expected, seconds=0).to_dict()
    strict = ox.check("new.onnx", against="old.onnx", probes=probes, limit={"output_max": 0.0}, limits="wall=300")
    assert "output_max" in {one.metric for one in strict.findings}
    assert ox.check("none.onnx", against="old.onnx", probes=probes).outcome == "trouble"
    with pytest.raises(ConfigError, match="there is no metric 'afinity'; did you mean affinity"):
        ox.check("new.onnx", against="old.onnx", limit={"afinity": 1})
