"""Encoders that a user names: one tensor or several, in the form in which they are printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.config import load_config
from onnxspace.inputs.names import encoders_for, list_encoders
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import open_model
from tests.helpers.nets import classifier, save


@pytest.mark.parametrize("wanted", ["t1 + t3", ["t1", "n3"], "t1 + n3"])
def test_several_tensors_are_named_as_they_are_printed(tmp_path: Path, wanted: str | list[str]) -> None:
    found = find_encoder(open_model(save(classifier(), tmp_path / "net.onnx"), wanted))
    assert found.tensors == ("t1", "t3")
    again = find_encoder(open_model(tmp_path / "net.onnx", str(found)))
    assert again == found


def test_a_tensor_whose_name_looks_like_several_is_one(tmp_path: Path) -> None:
    proto = classifier()
    proto.graph.node[1].output[0] = "t1 + t3"
    proto.graph.node[2].input[0] = "t1 + t3"
    assert find_encoder(open_model(save(proto, tmp_path / "net.onnx"), "t1 + t3")).tensors == ("t1 + t3",)


def test_deviations_are_named_as_they_are_printed(tmp_path: Path) -> None:
    found = find_encoder(open_model(save(classifier(), tmp_path / "net.onnx"), "t1 (deviations) + t3"))
    assert (found.tensors, found.deviations, str(found)) == (("t1", "t3"), ("t1",), "t1 (deviations) + t3")


def test_a_missing_one_of_several_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx: there is no tensor or node 'nowhere'\. `onnxspace inspect"):
        find_encoder(open_model(save(classifier(), tmp_path / "net.onnx"), "t1 + nowhere"))


def test_values_of_the_option_for_one_scope_are_explained_together() -> None:
    paths = [Path("a.onnx"), Path("b.onnx"), Path("c.onnx")]
    given = ["p3", "b=q3", "p4", "b=q4", "c.onnx=r1 + r2"]
    assert encoders_for(paths, ["a", "b", "c"], given) == ["p3 + p4", "q3 + q4", "r1 + r2"]
    assert encoders_for(paths[:1], ["a"], []) == [None]


def test_names_in_python() -> None:
    assert list_encoders(["p3", "p4"]) == ["p3", "p4"]
    assert list_encoders({"a": ["p3", "p4"], "b": "auto"}) == ["a=p3 + p4", "b=auto"]


def test_a_list_in_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "onnxspace.toml"
    file.write_text('[models.net]\nencoder = ["t1", "t3"]\n')
    options = load_config(file).options(tmp_path / "net.onnx")
    found = find_encoder(open_model(save(classifier(), tmp_path / "net.onnx"), options=options))
    assert found.tensors == ("t1", "t3")


@pytest.mark.parametrize("value", ["[]", '["t1", 3]', '[""]', "3"])
def test_other_values_in_the_configuration_are_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "onnxspace.toml"
    file.write_text(f"[models.net]\nencoder = {value}\n")
    with pytest.raises(ConfigError, match="encoder must be a name in quotes, or a list of such names"):
        load_config(file)
