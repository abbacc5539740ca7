"""Inputs besides the image: values that are stated, and those that their names and shapes tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxspace as ox
from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.config import ModelOptions, load_config
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.model import Model, model_key, open_model
from tests.helpers import nets

PROBES = Probes.generate(3, 32)


def opened(tmp_path: Path, proto: onnx.ModelProto, name: str = "net", **options: object) -> Model:
    return open_model(nets.save(proto, tmp_path / f"{name}.onnx"), options=replace(ModelOptions(), **options))  # type: ignore[arg-type]


def conditioned(
    name: str, shape: Sequence[int | str | None], kind: int = TensorProto.FLOAT, height: int = 16
) -> onnx.ModelProto:
    """A network whose features are scaled, before its last trained layers, by the mean of another input plus 1."""
    net = nets.Net(("N", 3, height, 16))
    x = net.add("Relu", net.conv("image", 3, 6))
    factor = net.add("ReduceMean", net.add("Cast", name, to=TensorProto.FLOAT), keepdims=0)
    x = net.add("Mul", x, net.add("Add", factor, net.weight(np.float32(1))))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv(x, 6, 5))))
    proto = net.model([net.dense(x, 5, 3)])
    proto.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    return proto


def scored(tmp_path: Path, name: str) -> onnx.ModelProto:
    """A detector in miniature: two trained outputs, of which boxes are scaled by another input at the end."""
    net = nets.Net(("N", 3, 16, 16))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv("image", 3, 6))))
    boxes = net.add("Mul", net.dense(x, 6, 2), net.add("Cast", name, to=TensorProto.FLOAT))
    classes = net.add("Mul", net.dense(x, 6, 2), net.add("Cast", name, to=TensorProto.FLOAT))
    proto = net.model([boxes, classes])
    proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT64, ["N", 2]))
    return proto


def run_file(model: Model, values: dict[str, Any]) -> np.ndarray:
    network = model.file_network or model.network
    return np.asarray(runtime.run(network, {"image": model.file_input(PROBES.images[:1]), **values})[0])


def run_fitted(model: Model) -> np.ndarray:
    return np.asarray(runtime.run(model.network, {"image": model.preprocess(PROBES.images[:1])})[0])


@pytest.mark.parametrize(
    ("shape", "kind", "stated", "value"),
    [
        ([1], TensorProto.FLOAT, 0.5, [0.5]),
        ([], TensorProto.INT64, 3, 3),
        (["N", 4], TensorProto.FLOAT, [1, 2, 3, 4], [[1, 2, 3, 4]]),
        (["N", 4], TensorProto.FLOAT, [[1, 2, 3, 4]], [[1, 2, 3, 4]]),
        ([2, 3], TensorProto.INT32, 7, np.full((2, 3), 7)),
        ([1, "L"], TensorProto.INT64, [[101, 5, 102]], [[101, 5, 102]]),
        ([1], TensorProto.BOOL, True, [True]),
    ],
)
def test_stated_values(tmp_path: Path, shape: list[Any], kind: int, stated: Any, value: Any) -> None:
    model = opened(tmp_path, conditioned("other", shape, kind), inputs={"other": stated})
    given = np.asarray(value, helper.tensor_dtype_to_np_dtype(kind))
    np.testing.assert_allclose(run_fitted(model), run_file(model, {"other": given}), rtol=1e-5)
    assert ox.attribute(model, PROBES).any()


def test_value_from_a_file(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((1, 1, 16, 16)).astype(np.float32)
    np.save(tmp_path / "mask.npy", mask)
    nets.save(conditioned("mask", [1, 1, 16, 16]), tmp_path / "net.onnx")
    (tmp_path / "own.toml").write_text('[models.net]\ninput = "image"\n[models.net.inputs]\nmask = "mask.npy"\n')
    config = load_config(tmp_path / "own.toml")
    model = open_model(tmp_path / "net.onnx", options=config.options(tmp_path / "net.onnx"))
    np.testing.assert_allclose(run_fitted(model), run_file(model, {"mask": mask}), rtol=1e-5)


def test_a_second_image_with_a_stated_value_is_no_candidate(tmp_path: Path) -> None:
    model = opened(tmp_path, conditioned("mask", [1, 1, 16, 16]), inputs={"mask": 1})
    assert model.image.name == "image"


def test_maps_depend_on_what_is_stated(tmp_path: Path) -> None:
    proto = conditioned("other", [1])
    models = [opened(tmp_path, proto, inputs={"other": value}) for value in (0.0, -1.0, 0.0)]
    keys = [model_key(model, ("t",)) for model in models]
    assert keys[0] == keys[2] != keys[1]
    assert not ox.attribute(models[1], PROBES, "saliency").any()  # multiplied by zero
    assert ox.attribute(models[0], PROBES, "saliency").any()


DEFAULTS = {
    "orig_target_sizes": (["N", 2], TensorProto.INT64, [[24, 16]]),
    "orig_size": ([2], TensorProto.FLOAT, [24, 16]),
    "im_shape": ([1, 2], TensorProto.FLOAT, [[24, 16]]),
    "image_shape": (["N", 2], TensorProto.FLOAT, [[24, 16]]),
    "im_info": ([1, 3], TensorProto.FLOAT, [[24, 16, 1]]),
    "scale_factor": (["N", 2], TensorProto.FLOAT, [[1, 1]]),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_sizes_and_scales_that_layers_need_are_told_by_name_and_shape(tmp_path: Path, name: str) -> None:
    shape, kind, value = DEFAULTS[name]
    model = opened(tmp_path, conditioned(name, shape, kind, height=24))  # type: ignore[arg-type]
    assert any(words.startswith(f"{name} = [") for words in model.assumed)
    np.testing.assert_allclose(
        run_fitted(model), run_file(model, {name: np.asarray(value, helper.tensor_dtype_to_np_dtype(kind))}), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "shape"), [("orig_target_sizes", ["N", 3]), ("sizes_of_hats", ["N", 2]), ("im_shape", ["N", 2, 2])]
)
def test_other_names_and_shapes_tell_nothing(tmp_path: Path, name: str, shape: list[Any]) -> None:
    model = opened(tmp_path, conditioned(name, shape))
    assert [value.name for value in model.graph.inputs] == ["image", name]


def test_encoder_that_needs_another_input_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx needs values of timestep.*\[models\.NAME\.inputs\]"):
        ox.attribute(opened(tmp_path, conditioned("timestep", [1])), PROBES)


def test_outputs_scaled_at_the_end_get_the_size(tmp_path: Path) -> None:
    from onnxspace.model.outputs import find_float_outputs

    model = opened(tmp_path, scored(tmp_path, "orig_target_sizes"))
    assert set(find_float_outputs(model).tensors) == set(model.graph.outputs)
    with pytest.raises(ModelError, match="no output that depends on its image alone"):
        find_float_outputs(opened(tmp_path, scored(tmp_path, "somewhat")))


@pytest.mark.parametrize(
    ("stated", "phrase"),
    [
        ({"gone": 1}, "has no input 'gone' besides its image"),
        ({"image": 1}, "no image input"),
        ({"other": [1, 2, 3]}, "takes 1, not the 3 of its configuration"),
    ],
)
def test_values_that_do_not_fit(tmp_path: Path, stated: dict[str, Any], phrase: str) -> None:
    with pytest.raises((ConfigError, ModelError), match=phrase):
        opened(tmp_path, conditioned("other", [1]), inputs=stated)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("inputs = 3", "inputs must be a table"),
        ("[models.net.inputs]\nx = [[1, 2], [3]]", "'x' must be a number"),
        ("[models.net.inputs]\nx = nan", "'x' must be a number"),
        ("[models.net.inputs]\nx = []", "'x' must be a number"),
        ("[models.net.inputs]\nx = [2020-01-01]", "'x' must be a number"),
        ('[models.net.inputs]\nx = "../outside.npy"', "no .npy file in the folder"),
        ('[models.net.inputs]\nx = "/etc/passwd"', "no .npy file in the folder"),
        ('[models.net.inputs]\nx = "link.npy"', "no .npy file in the folder"),
        ('[models.net.inputs]\nx = "gone.npy"', "no .npy file in the folder"),
    ],
)
def test_inputs_that_make_no_sense(tmp_path: Path, text: str, phrase: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    np.save(tmp_path / "outside.npy", np.ones(1))
    (folder / "link.npy").symlink_to(tmp_path / "outside.npy")
    (folder / "own.toml").write_text(text if text.startswith("[") else f"[models.net]\n{text}")
    with pytest.raises(ConfigError, match=rf"own\.toml \[models\.net\]: .*{phrase}"):
        load_config(folder / "own.toml")


@pytest.mark.parametrize("values", [np.array(["a"]), np.array([np.nan]), np.array([1j])])
def test_files_without_finite_numbers(tmp_path: Path, values: Any) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ConfigError, match=r"x\.npy (does not hold finite numbers|can't be read)"):
        opened(tmp_path, conditioned("other", [1]), inputs={"other": str(tmp_path / "x.npy")})


def test_inspection_marks_no_encoder_that_can_not_be_computed(tmp_path: Path) -> None:
    from onnxspace.model.describe import describe

    proto = conditioned("timestep", [1])
    lacking, stated = (describe(opened(tmp_path, proto, inputs=inputs)) for inputs in (None, {"timestep": 1}))
    assert lacking.encoder.tensors == ()
    assert "needs values of timestep besides the image" in lacking.encoder.why
    assert stated.encoder.tensors
    assert lacking.inputs == stated.inputs == {"image": "float [?, 3, 16, 16]", "timestep": "float [1]"}
    assert {candidate.tensor for candidate in lacking.candidates} < {candidate.tensor for candidate in stated.candidates}
