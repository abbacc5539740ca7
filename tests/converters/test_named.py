"""Networks of timm and transformers, which are heavy: `pytest -m frameworks` runs these."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from onnxspace.errors import ModelError
from onnxspace.exporters import Request, run
from onnxspace.model import runtime
from onnxspace.torchgraph.onnx2torch import import_torchvision
from tests.helpers.nets import classifier, save
from tests.helpers.slopes import last, nearest, of_torch

pytestmark = pytest.mark.frameworks


def outputs_and_maps_agree(path: Path, network: torch.nn.Module, size: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32)
    with torch.no_grad():
        found = network(torch.from_numpy(x))
    expected = (found if isinstance(found, torch.Tensor) else found.logits).numpy()
    assert np.abs(runtime.run(onnx.load(path), {"image": x})[0] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert nearest(path, last(path), lambda values: of_torch(network, values), size) >= 0.9999


@pytest.fixture
def timm() -> Any:
    """timm wants a torchvision that can be imported, and the package sees to it that it can."""
    from onnxspace.torchgraph.onnx2torch import import_torchvision

    import_torchvision()
    return importlib.import_module("timm")


def test_a_network_of_timm_by_name(timm: Any, tmp_path: Path) -> None:
    facts = run("timm:resnet10t", tmp_path / "net.onnx", Request(random_weights=3, encoder="layer4", input=(3, 64, 64)))
    torch.manual_seed(3)
    outputs_and_maps_agree(tmp_path / "net.onnx", timm.create_model("resnet10t", pretrained=False).eval(), 64)
    assert (facts.said.mean, facts.said.size) == ((0.485, 0.456, 0.406), (64, 64))
    assert facts.said.resize == "crop"
    assert facts.encoder is not None
    assert "its weights are random (seed 3)" in facts.remarks


def test_weights_of_timm_from_a_file(timm: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(9)
    network = timm.create_model("resnet10t", pretrained=False).eval()
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    run("timm:resnet10t", tmp_path / "net.onnx", Request(weights=str(tmp_path / "w.safetensors"), input=(3, 64, 64)))
    outputs_and_maps_agree(tmp_path / "net.onnx", network, 64)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("timm:resnet10t", "trained weights of timm:resnet10t are not on this machine"),
        ("timm:resnet1000", "there is no network 'resnet1000'; did you mean resnet"),
        ("hf:nobody/nothing-at-all", "can't be downloaded from the hub"),
    ],
)
def test_what_is_not_here_is_said(source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=words):
        run(source, tmp_path / "net.onnx", Request())


def vit(folder: Path) -> torch.nn.Module:
    import_torchvision()  # transformers loads it, and a build for another Torch fails
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_labels=4,
    )
    made: torch.nn.Module = ViTForImageClassification(config).eval()
    made.save_pretrained(folder)  # type: ignore[operator]
    said = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.5, 0.4],
            "image_std": [0.5, 0.25, 0.5], "size": {"height": 32, "width": 32}}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return made


def test_a_folder_of_transformers_becomes_one_file(tmp_path: Path) -> None:
    network = vit(tmp_path / "vit")
    facts = run(str(tmp_path / "vit"), tmp_path / "net.onnx", Request())
    outputs_and_maps_agree(tmp_path / "net.onnx", network, 32)
    assert (facts.said.mean, facts.said.std, facts.said.size) == ((0.5, 0.5, 0.4), (0.5, 0.25, 0.5), (32, 32))
    assert facts.framework == "PyTorch (transformers)"


def test_code_of_a_folder_and_pickled_weights_are_refused(tmp_path: Path) -> None:
    vit(tmp_path / "vit")
    config = json.loads((tmp_path / "vit/config.json").read_text())
    (tmp_path / "vit/config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Evil"}}))
    with pytest.raises(ModelError, match=r"contains code \(evil.Evil\). If you trust it, add --allow-code"):
        run(str(tmp_path / "vit"), tmp_path / "net.onnx", Request())
    (tmp_path / "vit/config.json").write_text(json.dumps(config))
    (tmp_path / "vit/model.safetensors").rename(tmp_path / "vit/pytorch_model.bin")
    with pytest.raises(ModelError, match=r"has no weights as \.safetensors"):
        run(str(tmp_path / "vit"), tmp_path / "net.onnx", Request())


def test_a_folder_that_transformers_cannot_build_is_refused(tmp_path: Path) -> None:
    vit(tmp_path / "vit")
    config = json.loads((tmp_path / "vit/config.json").read_text())
    (tmp_path / "vit/config.json").write_text(json.dumps(config | {"architectures": ["NoSuchNetwork"]}))
    with pytest.raises(ModelError, match=r"transformers \S+ has no network NoSuchNetwork\. Update transformers"):
        run(str(tmp_path / "vit"), tmp_path / "net.onnx", Request())
    (tmp_path / "vit/config.json").write_text(json.dumps(config))
    (tmp_path / "vit/model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match=r"can't be loaded by transformers .*Download the folder again"):
        run(str(tmp_path / "vit"), tmp_path / "net.onnx", Request())


def test_arguments_that_a_factory_does_not_take_are_refused(timm: Any, tmp_path: Path) -> None:
    for source in ("timm:resnet10t", "torchvision:squeezenet1_1"):
        with pytest.raises(ModelError, match=rf"{source} can't be built .*Correct --arg"):
            run(source, tmp_path / "net.onnx", Request(random_weights=1, arguments={"colour": 3}))


def test_an_onnx_file_of_a_folder_is_carried_over(tmp_path: Path) -> None:
    (tmp_path / "hub/onnx").mkdir(parents=True)
    save(classifier(), tmp_path / "hub/onnx/model.onnx")
    (tmp_path / "hub/preprocessor_config.json").write_text(json.dumps({"size": 16, "do_rescale": False, "do_normalize": False}))
    facts = run(str(tmp_path / "hub"), tmp_path / "net.onnx", Request())
    assert (facts.said.scale, facts.said.size, facts.difference) == (1.0, (16, 16), None)
    assert onnx.load(tmp_path / "net.onnx").graph.node == onnx.load(tmp_path / "hub/onnx/model.onnx").graph.node
    save(classifier(), tmp_path / "hub/onnx/other.onnx")
    (tmp_path / "hub/onnx/model.onnx").rename(tmp_path / "hub/onnx/third.onnx")
    with pytest.raises(ModelError, match=r"contains several ONNX files \(onnx/other.onnx, onnx/third.onnx\)"):
        run(str(tmp_path / "hub"), tmp_path / "net.onnx", Request())
