"""What the converters of Keras, TensorFlow, TFLite, JAX and scikit-learn refuse before any framework is asked."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxspace.errors import ModelError, ModelNotFoundError
from onnxspace.exporters import Request, Source, discovery
from onnxspace_converters.from_huggingface import HUGGINGFACE
from onnxspace_converters.from_jax import JAX
from onnxspace_converters.from_keras import KERAS
from onnxspace_converters.from_sklearn import SKLEARN, refuse_without_gradient, unpickle
from onnxspace_converters.from_tensorflow import TENSORFLOW
from onnxspace_converters.from_tflite import TFLITE
from onnxspace_converters.keras_files import check_layers
from onnxspace_converters.tflite_files import read_content

ALL = {"keras": KERAS, "tensorflow": TENSORFLOW, "tflite": TFLITE, "jax": JAX, "sklearn": SKLEARN}


def layer(kind: str, config: Any = None, module: str = "keras.layers") -> dict[str, Any]:
    return {"class_name": kind, "module": module, "config": {"name": kind.lower()} if config is None else config}


def archive(path: Path, *layers: dict[str, Any]) -> Path:
    """A `.keras` file whose network has these layers, and no weights."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", json.dumps(layer("Functional", {"layers": list(layers)}, "keras")))
        made.writestr("metadata.json", "{}")
        made.writestr("model.weights.h5", b"\0" * 400)
    return path


def truncated(path: Path) -> Path:
    archive(path, layer("Dense"))
    path.write_bytes(path.read_bytes()[:-60])
    return path


def flipped(path: Path) -> Path:
    found = bytearray(archive(path, layer("Dense")).read_bytes())
    found[60] ^= 255
    path.write_bytes(found)
    return path


def empty(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("readme", "none")
    return path


def bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("config.json", b" " * (80 * 2**20))
    return path


def no_json(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", "{")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (truncated, "is not an archive of Keras, or is truncated. Save or copy it again"),
        (flipped, "is damaged|damaged archive"),
        (empty, "is not a Keras archive: it has no config.json"),
        (bomb, "would expand to 83,886,080 bytes"),
        (no_json, "has a configuration that is not JSON"),
        (
            lambda path: archive(path, layer("Lambda", {"name": "twice"})),
            "contains the Lambda layer 'twice', which is code. .*--allow-code",
        ),
        (
            lambda path: archive(path, layer("Dense", {"activation": layer("__lambda__", {"value": "4w=="})})),
            "contains a function, which is code",
        ),
        (
            lambda path: archive(path, layer("get_file", module="keras.utils")),
            r"has 'get_file' of keras.utils, which is none of the layers that only compute. If you trust it, add --allow-code",
        ),
        (lambda path: archive(path, layer("TFSMLayer", {"filepath": "/x"})), "has 'TFSMLayer' of keras.layers"),
        (lambda path: archive(path, layer("TorchModuleWrapper")), "has 'TorchModuleWrapper'"),
        (lambda path: archive(path, layer("StringLookup", {"vocabulary": "/etc/passwd"})), "has 'StringLookup'"),
        (
            lambda path: archive(path, layer("Dense", {"inner": [layer("get_file", module="keras.src.utils.file_utils")]})),
            "has 'get_file'",
        ),
        (lambda path: archive(path, layer("Layer", {}, "keras.src.ops.numpy.sneaky")), "has 'Layer'"),
        (lambda path: archive(path, layer("function", "get_file", "keras.utils")), "contains a function, which is code"),
        (lambda path: archive(path, layer("function", "mine>relu", "builtins")), "contains a function, which is code"),
        (lambda path: archive(path, layer("__typespec__", {"spec_name": "x"})), "has '__typespec__'"),
        (lambda path: archive(path, layer("Mine", module="my_layers")), r"\(my_layers.Mine\). Write a function that builds it"),
        (lambda path: path, "no such file"),
    ],
)
def test_files_of_keras_are_looked_into_before_they_are_loaded(make: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        check_layers(make(tmp_path / "net.keras"), allow_code=False)


def test_keras_own_layers_and_functions_pass(tmp_path: Path) -> None:
    relu = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}
    start = layer("GlorotUniform", {"seed": None}, "keras.initializers")
    check_layers(
        archive(tmp_path / "net.keras", layer("Dense", {"activation": relu, "kernel_initializer": start})), allow_code=False
    )
    check_layers(archive(tmp_path / "operation.keras", layer("Mean", {}, "keras.src.ops.numpy")), allow_code=False)
    check_layers(archive(tmp_path / "code.keras", layer("Lambda")), allow_code=True)


def test_pickles_are_not_read_unless_they_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.joblib"
    path.write_bytes(pickle.dumps({"weights": 3}))
    for request in (Request(), Request(allow_pickle=str(tmp_path / "other.joblib"))):
        with pytest.raises(
            ModelError, match=r"is a pickle, and reading it runs any code in it. If you trust it, add --allow-pickle"
        ):
            unpickle(path, request)
    assert unpickle(path, Request(allow_pickle=str(path))) == {"weights": 3}


def test_a_file_that_is_no_tflite_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"no flatbuffer at all")
    with pytest.raises(ModelError, match=r"net\.tflite is not a TFLite file. Convert or copy it again"):
        read_content(tmp_path / "net.tflite")
    with pytest.raises(ModelNotFoundError, match="no such file"):
        read_content(tmp_path / "none.tflite")


def test_steps_that_jump_are_refused_by_name() -> None:
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.tree import DecisionTreeClassifier

    for step, name in (
        (DecisionTreeClassifier(), "sklearn.tree.DecisionTreeClassifier"),
        (KNeighborsClassifier(), "KNeighborsClassifier"),
    ):
        with pytest.raises(ModelError, match=rf"{name}, which is not known to have a gradient"):
            refuse_without_gradient(step, "net")


@pytest.mark.parametrize(
    ("name", "source", "command"),
    [
        ("keras", "net.keras", "pip install 'onnxspace[tensorflow]'"),
        ("keras", "net.h5", "pip install 'onnxspace[tensorflow]'"),
        ("tensorflow", "net.pb", "pip install 'onnxspace[tensorflow]'"),
        ("tflite", "net.tflite", "pip install 'onnxspace[tflite]'"),
        ("sklearn", "net.joblib", "pip install 'onnxspace[sklearn]'"),
    ],
)
def test_a_missing_framework_is_named_with_what_installs_it(
    name: str, source: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / source
    path.write_bytes(b"anything")
    lacking = replace(ALL[name], needs=("a_framework_that_is_not_here",))
    monkeypatch.setattr(discovery, "exporters", lambda: {name: lacking})
    with pytest.raises(ModelError) as caught:
        discovery.run(str(path), tmp_path / "out.onnx", Request())
    assert str(caught.value) == f"{path} needs a_framework_that_is_not_here, which is not installed. Install it with: {command}"


@pytest.mark.parametrize(
    ("source", "name"),
    [("a.keras", "keras"), ("a.h5", "keras"), ("a.hdf5", "keras"), ("a.pb", "tensorflow"), ("a.tflite", "tflite"),
     ("a.pkl", "sklearn"), ("a.joblib", "sklearn")],
)  # fmt: skip
def test_one_exporter_takes_each_kind_of_file(source: str, name: str) -> None:
    assert [exporter.name for exporter in discovery.accepting(Source(source))] == [name]


def test_a_folder_with_a_saved_model_is_tensorflows(tmp_path: Path) -> None:
    assert not TENSORFLOW.accepts(Source(str(tmp_path)))
    (tmp_path / "saved_model.pb").touch()
    assert TENSORFLOW.accepts(Source(str(tmp_path)))
    assert not JAX.accepts(Source(str(tmp_path)))


class RepositoryNotFoundError(Exception):
    """Of this name is the hub's error for a model that it does not show."""


def absent(*_: object, **__: object) -> None:
    raise RepositoryNotFoundError("401 Client Error")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "google/vit-bse",
            r"^hf:google/vit-bse: the hub shows no model of this name; did you mean google/vit-base\? A private one",
        ),
        ("google/zz", r"^hf:google/zz: the hub shows no model of this name. A private one needs `hf auth login`\.$"),
        ("", r"^hf: names no model of the hub\. Write hf:ORG/NAME"),
        ("../secret/x", r"^hf:\.\./secret/x names no model of the hub"),
    ],
)
def test_an_unknown_name_of_the_hub_gets_the_nearest(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def list_models(**query: object) -> list[SimpleNamespace]:
        asked.append(query)
        return [SimpleNamespace(id="google/vit-base")]

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=absent, list_models=list_models))
    with pytest.raises(ModelError, match=words):
        HUGGINGFACE.export(Source(f"hf:{name}"), tmp_path / "net.onnx", Request())
    assert [(query["author"], query["limit"]) for query in asked] == ([("google", 100)] if "google" in name else [])
