"""What the converters say of networks, files and folders that they can't take: one sentence, which names the way out."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from onnxspace.errors import ConversionError, ModelError
from onnxspace.exporters import Request, Source, run
from onnxspace.inputs.config import ModelOptions
from onnxspace_converters import write_model
from onnxspace_converters.deliver import deliver
from onnxspace_converters.from_huggingface import read_preprocessing
from onnxspace_converters.from_jax import load_network as of_jax
from onnxspace_converters.from_sklearn import unpickle
from onnxspace_converters.loaded_network import LoadedNetwork, Route
from onnxspace_converters.sklearn_graph import to_standard_operators
from onnxspace_converters.tflite_files import read_content
from onnxspace_converters.torch_routes import adapt_module
from tests.converters.test_torch_refused import Evil
from tests.helpers import torchnets
from tests.helpers.nets import classifier
from tests.helpers.torchnets import SHAPE


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def saved(program: torch.export.ExportedProgram, path: Path) -> Path:
    torch.export.save(program, path)
    return path


def two_inputs(folder: Path) -> Path:
    image = torch.randn(2, *SHAPE)
    return saved(torch.export.export(Two(), (image, image)), folder / "two.pt2")


def open_size(folder: Path) -> Path:
    axes = {2: torch.export.Dim("high"), 3: torch.export.Dim("wide")}
    made = torch.export.export(nn.ReLU(), (torch.randn(1, *SHAPE),), dynamic_shapes=(axes,))
    return saved(made, folder / "open.pt2")


def bomb(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", b"\0" * (80 * 2**20))
    return folder / "bomb.pt"


def no_script(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "net.pt", "w") as archive:
        archive.writestr("net/constants.pkl", b"no pickle")
        archive.writestr("net/code/none.py", "")
    return folder / "net.pt"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (two_inputs, r"must have one batch of images as its only input\. Export it again so"),
        (open_size, r"has images of open size\. Export it again with a fixed one"),
        (bomb, r"would expand to 83,886,080 bytes\. Export or copy it again"),
        (no_script, r"can't be read as a TorchScript network|holds pickled code"),
    ],
)
def test_a_file_of_pytorch_that_holds_no_network_of_one_image(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        run(str(make(tmp_path)), tmp_path / "out.onnx", Request(input=SHAPE if make is no_script else None))


def test_a_trusted_pickle_must_hold_a_network(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(ModelError, match=r"contains a dict, not a network\. Name the code that builds it, with --weights"):
        run(str(path), tmp_path / "out.onnx", Request(allow_pickle=str(path)))
    path.write_bytes(pickle.dumps(Evil())[:-4])
    with pytest.raises(ModelError, match=r"can't be unpickled .*Run this where its classes can be imported"):
        run(str(path), tmp_path / "out.onnx", Request(allow_pickle=str(path)))


def test_a_checkpoint_without_a_table_is_no_set_of_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "loss": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"does not contain a table of tensors\. Save the network's state_dict"):
        run("tests.helpers.torchnets:plain", tmp_path / "out.onnx", Request(input=SHAPE, weights=str(tmp_path / "w.pth")))


def test_an_exporter_that_was_named_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"returns a builtins\.str, not a torch\.nn\.Module"):
        run("tests.helpers.torchnets:nothing", tmp_path / "out.onnx", Request(using="torch"))
    with pytest.raises(ModelError, match=r"is not a JAX network\. Give a callable as PACKAGE\.MODULE:FACTORY"):
        of_jax(Source("net.jax"), Request())


def test_a_layer_that_the_exporter_merged_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the exporter merged layer 'conv' with another\. Name the layer after it"):
        run("tests.helpers.torchnets:plain", tmp_path / "out.onnx", Request(input=SHAPE, encoder="conv", opset=13))


def by_hand(model: onnx.ModelProto) -> LoadedNetwork:
    return LoadedNetwork(
        "By hand", ["numpy"], SHAPE, lambda x: [x], [Route("by hand", lambda _opset, _dynamic: model, range(17, 18), 17)]
    )


def unknown_operator() -> onnx.ModelProto:
    made = classifier()
    made.graph.node[1].op_type = "Reluctant"
    return made


def unknown_domain() -> onnx.ModelProto:
    made = classifier()
    made.graph.node[1].domain = "com.example"
    return made


def two_images() -> onnx.ModelProto:
    made = classifier()
    made.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 3, 3, 3]))
    made.graph.node[0].input.append("other")
    return made


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unknown_operator, r"has operators that are not in ONNX \(Reluctant\)"),
        (unknown_domain, r"has operators that are not in ONNX \(com\.example\.Relu\)"),
        (two_images, r"has inputs image, other, but must have one image"),
    ],
)
def test_an_exported_graph_with_what_onnx_does_not_know(
    make: Callable[[], onnx.ModelProto], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=words):
        deliver(by_hand(make()), "net", tmp_path / "out.onnx", Request())
    assert not (tmp_path / "out.onnx").exists()


def test_a_file_of_more_than_one_message_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_model, "MAX_BYTES", 2000)
    with pytest.raises(ModelError, match=r"net is larger than one ONNX file can be \(2 GiB\)\. .*external_data=True"):
        deliver(adapt_module(torchnets.plain(), SHAPE, ModelOptions()), "net", tmp_path / "out.onnx", Request())
    assert not (tmp_path / "out.onnx").exists()


def test_a_written_file_is_the_message(tmp_path: Path) -> None:
    """Field by field, as protobuf itself reads it: raw values, values in lists, none at all, and long lengths."""
    wanted = classifier()
    wanted.graph.initializer.append(helper.make_tensor("listed", TensorProto.FLOAT, [2], [1.0, 2.0]))
    wanted.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((0, 3), np.float32), "none"))
    wanted.graph.initializer.append(onnx.numpy_helper.from_array(np.arange(70_000, dtype=np.float32), "long"))
    spent = onnx.ModelProto()
    spent.CopyFrom(wanted)
    write_model.write_model(spent, tmp_path / "net.onnx", "net")
    assert onnx.load(tmp_path / "net.onnx") == wanted


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml"), "its TreeEnsembleRegressor has no form"),
        (
            helper.make_node(
                "LinearClassifier", ["x"], ["l", "y"], domain="ai.onnx.ml", post_transform="PROBIT", coefficients=[1.0], intercepts=[0.0]
            ),
            "its linear classifier ends in PROBIT, which has no form",
        ),
    ],
)  # fmt: skip
def test_operators_of_scikit_learn_without_a_standard_form(node: onnx.NodeProto, words: str) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in ("x", "y"))
    model = helper.make_model(helper.make_graph([node], "net", [x], [y]), opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(ModelError, match=words):
        to_standard_operators(model, labelled=False)


def test_a_trusted_pickle_of_scikit_learn_may_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "net.joblib"
    path.write_bytes(pickle.dumps({"weights": 3})[:-3])
    with pytest.raises(ModelError, match=r"can't be unpickled .*Save it with the scikit-learn that is installed here"):
        unpickle(path, Request(allow_pickle=str(path)))


def folder(tmp_path: Path, config: str, **files: str) -> Path:
    """A folder as the hub's are."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/model.safetensors").write_bytes(b"")
    for name, text in {"config": config, **files}.items():
        (tmp_path / f"hub/{name}.json").write_text(text)
    return tmp_path / "hub"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", r"config\.json is not a JSON file\. Download it again"),
        ("[]", r"config\.json does not contain a JSON object\. Download it again"),
        (json.dumps({"note": "x" * 2**20}), r"config\.json is too large for a configuration\. Download it again"),
        *(
            (
                json.dumps({"architectures": bad}),
                r"config\.json does not name its network in `architectures` .*Download it again",
            )
            for bad in ([{"a": 1}], {"a": 1}, "ViTModel", [["ViTModel"]], [3], ["os.system"], ["a\x1b[31m"], ["Ａ"])
        ),
        (json.dumps({"auto_map": {"AutoModel": "evil.Evil"}}), r"contains code \(evil\.Evil\)\. .*add --allow-code"),
    ],
)
def test_a_folder_with_no_readable_configuration(config: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        run(str(folder(tmp_path, config)), tmp_path / "out.onnx", Request())


@pytest.mark.parametrize("stated", [{"a": 1}, [1], "1/255", None, True])
def test_a_folder_with_odd_preprocessing(stated: Any, tmp_path: Path) -> None:
    path = folder(tmp_path, "{}", preprocessor_config=json.dumps({"rescale_factor": stated, "image_mean": [stated] * 3}))
    with pytest.raises(ModelError, match=r"preprocessor_config\.json states a rescale_factor that is not a number"):
        read_preprocessing(path)
    path = path / "preprocessor_config.json"
    path.write_text(json.dumps({"rescale_factor": 0.5, "image_mean": [stated] * 3}))
    assert read_preprocessing(path.parent).mean == (0.0,)


def test_a_folder_of_pickled_weights_alone(tmp_path: Path) -> None:
    path = folder(tmp_path, "{}")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"has no weights as \.safetensors\. Download them; pickled ones \(\.bin\) are not read"
    ):
        run(str(path), tmp_path / "out.onnx", Request())


def test_sizes_beyond_a_files_form_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace_converters.tflite_files._MAX", 3)
    (tmp_path / "net.tflite").write_bytes(b"____TFL3")
    with pytest.raises(ModelError, match=r"is larger than a TFLite file can be \(2 GiB\)\. Convert or copy it again"):
        read_content(tmp_path / "net.tflite")


@pytest.mark.parametrize("size", [8, 12, 1056])
def test_images_of_a_size_that_no_picture_is_generated_in(size: int, tmp_path: Path) -> None:
    """The pictures are drawn at the nearest size there is, and brought to the network's own."""

    def forward(x: Any) -> Any:
        return [x.max((2, 3))]

    image, found = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, *rest])
        for name, rest in (("x", (size, size)), ("y", ()))
    )
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["x"], ["y"], axes=[2, 3], keepdims=0)], "largest", [image], [found]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    loaded = LoadedNetwork(
        "By hand", ["numpy"], (3, size, size), forward, [Route("by hand", lambda _o, _d: model, range(17, 18), 17)]
    )
    facts = deliver(loaded, "net", tmp_path / "out.onnx", Request())
    assert (facts.difference, facts.remarks) == (0, ())
