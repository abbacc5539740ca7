"""Networks of PyTorch, from every kind of source: the same outputs, the same maps, and a sentence for what can't be done."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import onnxspace as ox
from onnxspace.exporters import Facts, Request, run
from onnxspace.inputs.config import ModelOptions
from onnxspace.model import runtime
from tests.helpers import torchnets
from tests.helpers.slopes import along, last, nearest, of_torch
from tests.helpers.torchnets import SHAPE, write_program

SIZED = Request(input=SHAPE)
#: By the quickest exporter, where a network is read in another way and exported as any other.
QUICK = Request(input=SHAPE, opset=13)


def callable_source(folder: Path, network: nn.Module) -> tuple[str, Request]:
    return f"tests.helpers.torchnets:{'plain' if isinstance(network, nn.Sequential) else 'attending'}", Request(
        input=SHAPE, arguments={"seed": 3}
    )


def with_safetensors(folder: Path, network: nn.Module) -> tuple[str, Request]:
    save_file(network.state_dict(), folder / "weights.safetensors")
    return "tests.helpers.torchnets:plain", replace(QUICK, weights=str(folder / "weights.safetensors"))


def with_checkpoint(folder: Path, network: nn.Module) -> tuple[str, Request]:
    held = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}
    torch.save(held, folder / "checkpoint.pth")
    return "tests.helpers.torchnets:plain", replace(QUICK, weights=str(folder / "checkpoint.pth"))


def program(folder: Path, network: nn.Module) -> tuple[str, Request]:
    return str(write_program(folder, network)), Request()


def single_program(folder: Path, network: nn.Module) -> tuple[str, Request]:
    return str(write_program(folder, network, batch=1)), Request()


def torchscript(folder: Path, network: nn.Module) -> tuple[str, Request]:
    torch.jit.save(torch.jit.trace(network, torch.randn(1, *SHAPE), check_trace=False), folder / "net.pt")
    return str(folder / "net.pt"), SIZED


def trusted_pickle(folder: Path, network: nn.Module) -> tuple[str, Request]:
    torch.save(network, folder / "net.pth")
    return str(folder / "net.pth"), replace(QUICK, allow_pickle=str(folder / "net.pth"))


SOURCES: list[Callable[[Path, nn.Module], tuple[str, Request]]] = [
    callable_source, with_safetensors, with_checkpoint, program, single_program, torchscript, trusted_pickle,
]  # fmt: skip


def check(network: nn.Module, facts: Facts, path: Path, layer: str = "features") -> None:
    """Outputs within 1e-5 of the largest value at two sizes of batch; maps along PyTorch's own gradients."""
    model, encoder = onnx.load(path), facts.encoder
    onnx.checker.check_model(model, full_check=True)
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    for batch in (1,) if fixed else (1, 5):
        x = np.random.default_rng(batch).standard_normal((batch, *SHAPE)).astype(np.float32)
        expected = network(torch.from_numpy(x)).detach().numpy()
        (found,) = runtime.run(model, {"image": x})
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    along(path, encoder, lambda values: of_torch(network, values, layer))
    along(path, last(path), lambda values: of_torch(network, values))


@pytest.mark.parametrize("make", SOURCES)
def test_each_kind_of_source_gives_pytorchs_outputs_and_maps(
    make: Callable[[Path, nn.Module], tuple[str, Request]], tmp_path: Path
) -> None:
    network, target = torchnets.plain(seed=3), tmp_path / "net.onnx"
    source, request = make(tmp_path, network)
    named = "view" if make is torchscript else "features"
    facts = run(source, target, request if make is torchscript else Request(**{**vars(request), "encoder": named}))
    if make is torchscript:  # its layers have no names: the encoder that is found is the same tensor
        facts = Facts(**{**vars(facts), "encoder": None})
    check(network, facts, target)
    assert facts.difference is not None
    assert facts.difference < 1e-5
    assert facts.source_sha256 is None if make is callable_source else len(facts.source_sha256 or "") == 64


@pytest.mark.parametrize(
    "make",
    [
        program,
        pytest.param(callable_source, marks=pytest.mark.exhaustive),
        pytest.param(torchscript, marks=pytest.mark.exhaustive),
    ],
)
def test_attention_of_pytorch_is_exported(make: Callable[[Path, nn.Module], tuple[str, Request]], tmp_path: Path) -> None:
    """With an open batch, but for TorchScript, in whose files the batch is a number."""
    network, target = torchnets.attending(seed=3), tmp_path / "net.onnx"
    source, request = make(tmp_path, network)
    facts = run(source, target, request)
    (dim, *_) = onnx.load(target).graph.input[0].type.tensor_type.shape.dim
    assert (dim.dim_param, facts.route.endswith("fixed batch")) == (("", True) if make is torchscript else ("batch", False))
    x = np.random.default_rng(0).standard_normal((dim.dim_value or 5, *SHAPE)).astype(np.float32)
    expected = network(torch.from_numpy(x)).detach().numpy()
    assert np.abs(runtime.run(onnx.load(target), {"image": x})[0] - expected).max() <= 1e-5 * np.abs(expected).max()
    along(target, last(target), lambda values: of_torch(network, values))


def test_where_no_batch_can_be_open_one_image_is_taken(tmp_path: Path) -> None:
    from onnxspace_converters.deliver import deliver
    from onnxspace_converters.torch_routes import adapt_module

    loaded = adapt_module(torchnets.OneByOne().eval(), SHAPE, ModelOptions())
    single = type(loaded)(**{**vars(loaded), "batch": 1})
    facts = deliver(single, "one", tmp_path / "one.onnx", Request())
    assert facts.route == "dynamo, fixed batch"
    assert onnx.load(tmp_path / "one.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_outputs_keep_their_order_and_the_input_is_named(tmp_path: Path) -> None:
    run("tests.helpers.torchnets:heads", tmp_path / "net.onnx", SIZED)
    model = onnx.load(tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((2, *SHAPE)).astype(np.float32)
    expected = torchnets.heads()(torch.from_numpy(x))
    assert [value.name for value in model.graph.input] == ["image"]
    for found, wanted in zip(runtime.run(model, {"image": x}), expected.values(), strict=True):
        np.testing.assert_allclose(found, wanted.detach().numpy(), atol=1e-5)


def test_what_a_network_says_of_its_images_is_kept(tmp_path: Path) -> None:
    facts = run("tests.helpers.torchnets:named", tmp_path / "net.onnx", Request())
    assert (facts.said.mean, facts.said.std, facts.said.size) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), (16, 16))
    held = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert held["onnxspace.framework"] == "PyTorch"
    assert torch.__version__.startswith(held["onnxspace.version.torch"])
    assert held["onnxspace.input.mean"] == "(0.1, 0.2, 0.3)"


@pytest.mark.parametrize(
    ("opset", "route"), [(13, "torchscript"), (20, "dynamo"), pytest.param(18, "dynamo", marks=pytest.mark.exhaustive)]
)
def test_the_route_fits_the_opset_and_nothing_of_the_machine_is_in_the_file(opset: int, route: str, tmp_path: Path) -> None:
    facts = run("tests.helpers.torchnets:plain", tmp_path / "net.onnx", Request(input=SHAPE, opset=opset))
    assert (facts.opset, facts.route) == (opset, route)
    assert max(entry.version for entry in onnx.load(tmp_path / "net.onnx").opset_import) == opset
    content = (tmp_path / "net.onnx").read_bytes()
    assert str(Path.cwd()).encode() not in content
    assert b"stack_trace" not in content
    assert b".py" not in content


def test_a_file_that_computes_otherwise_is_refused_with_its_layer(tmp_path: Path) -> None:
    from onnxspace_converters.deliver import deliver
    from onnxspace_converters.torch_routes import adapt_module, script_route

    class Doubling(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = torchnets.Stray.apply(x)
            return made

    made = torchnets.plain()
    made.act = Doubling()  # the fifth layer is exported as nothing at all
    loaded = adapt_module(made, SHAPE, ModelOptions())
    only = type(loaded)(**{**vars(loaded), "routes": [script_route(made, SHAPE)]})
    with pytest.raises(
        ox.errors.ConversionError, match=r"torchscript: its outputs differ .* first at layer act; torchscript, fixed"
    ):
        deliver(only, "net", tmp_path / "net.onnx", Request())
    assert not (tmp_path / "net.onnx").exists()


def test_torchvision_networks_come_by_name(tmp_path: Path) -> None:
    facts = run("torchvision:squeezenet1_1", tmp_path / "net.onnx", Request(input=(3, 64, 64), random_weights=1))
    assert facts.remarks == ("its weights are random (seed 1)",)
    assert (facts.said.size, facts.said.mean) == ((64, 64), (0.485, 0.456, 0.406))
    torch.manual_seed(1)
    network = importlib.import_module("torchvision.models").squeezenet1_1(weights=None).eval()
    assert nearest(tmp_path / "net.onnx", last(tmp_path / "net.onnx"), lambda x: of_torch(network, x), 64) >= 0.9999
