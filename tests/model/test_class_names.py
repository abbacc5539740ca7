"""Names of classes: where they are read, and how one is found among them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxspace.errors import ConfigError
from onnxspace.model.class_names import find_class, read_class_names
from onnxspace.model.model import open_model
from tests.helpers.nets import classifier, save


def write(path: Path, **metadata: str) -> Path:
    proto = classifier()
    onnx.helper.set_model_props(proto, metadata)
    return save(proto, path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"names": '["cat", "dog", "it\'s"]'},
        {"names": "{0: 'cat', 1: 'dog', 2: \"it's\"}"},
        {"names": '{"0": "cat", "1": "dog", "2": "it\'s"}'},
        {"classes": "cat,dog,it's"},
        {"labels": "cat\ndog\r\nit's\n"},
        {"id2label": '{"cat": 0, "dog": 1, "it\'s": 2}'},
        {"Class_Names": "['cat', 'dog', \"it's\"]"},
    ],
)
def test_metadata_names_classes(tmp_path: Path, metadata: dict[str, str]) -> None:
    assert read_class_names(open_model(write(tmp_path / "net.onnx", **metadata))) == ("cat", "dog", "it's")


@pytest.mark.parametrize("text", ["", "[1, 2, 3]", '["a"]', "{}", '{"0": "a", "2": "b"}', "[" * 100_000, "{0: 'a', 5: 'b'}"])
def test_what_is_no_list_of_names_names_none(tmp_path: Path, text: str) -> None:
    assert read_class_names(open_model(write(tmp_path / "net.onnx", names=text))) == ()


def test_names_are_one_line_and_short(tmp_path: Path) -> None:
    found = read_class_names(open_model(write(tmp_path / "net.onnx", names=json.dumps(["a\n\x1b[31mb", "c" * 900]))))
    assert found == ("a  [31mb", "c" * 200)


def test_a_configuration_beside_the_file_names_classes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "cat", "1": "dog", "2": "cow"}}))
    assert read_class_names(open_model(write(tmp_path / "net.onnx"))) == ("cat", "dog", "cow")
    assert read_class_names(open_model(write(tmp_path / "own.onnx", names='["x", "y", "z"]'))) == ("x", "y", "z")


def test_a_map_from_classes_to_numbers_names_them(tmp_path: Path) -> None:
    proto = classifier()
    logits = proto.graph.output[0].name
    node = onnx.helper.make_node("ZipMap", [logits], ["named"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog", "cow"])
    proto.graph.node.append(node)
    proto.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    one = onnx.helper.make_map_type_proto(
        onnx.TensorProto.STRING, onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
    )
    proto.graph.output[0].CopyFrom(onnx.helper.make_value_info("named", onnx.helper.make_sequence_type_proto(one)))
    model = open_model(save(proto, tmp_path / "net.onnx"))
    assert read_class_names(model) == ("cat", "dog", "cow")
    import onnxspace as ox

    images = ox.Probes.generate(2, 16)
    plain = ox.attribute(save(classifier(), tmp_path / "plain.onnx"), images, "gradient-x-input", target=1)
    np.testing.assert_allclose(ox.attribute(model, images, "gradient-x-input", target="dog"), plain, rtol=1e-5, atol=1e-7)


NAMES = ("tabby, tabby cat", "tiger cat", "7", "Snow_leopard")


@pytest.mark.parametrize(
    ("word", "number"),
    [("tabby cat", 0), ("TABBY", 0), ("tiger cat", 1), ("7", 2), ("snow leopard", 3), ("0", 0), ("3", 3)],
)
def test_a_class_is_a_name_a_synonym_or_a_number(word: str, number: int) -> None:
    assert find_class(word, NAMES, 4, "net.onnx") == number


def test_typos_and_numbers_out_of_range_say_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"net\.onnx has no class 'tigre cat' among its 4: did you mean tiger cat\?"):
        find_class("tigre cat", NAMES, 4, "net.onnx")
    with pytest.raises(ConfigError, match="its file names none, so give a number from 0 to 9"):
        find_class("cat", (), 10, "net.onnx")
    with pytest.raises(ConfigError, match="its file names 4, so give a number from 0 to 9"):
        find_class("10", NAMES, 10, "net.onnx")
    with pytest.raises(ConfigError, match=r"has 2 classes called 'cat'\. Give the number of one: 0, 1"):
        find_class("cat", ("cat, a", "cat, b"), 2, "net.onnx")
