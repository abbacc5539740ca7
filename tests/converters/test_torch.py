"""Networks of PyTorch, from every kind of source: the same outputs, the same maps, and a sentence for what can't be done."""

from __future__ import annotations

import importlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import onnxspace as ox
from onnxspace.errors import ConfigError, ModelError, ModelNotFoundError
from onnxspace.exporters import Facts, Request, run
from onnxspace.inputs.config import ModelOptions
from onnxspace.model import runtime
from tests.helpers import torchnets
from tests.helpers.slopes import along, last, nearest, of_torch
from tests.helpers.torchnets import SHAPE

SIZED = Request(input=SHAPE)


def callable_source(folder: Path, network: nn.Module) -> tuple[str, Request]:
    return f"tests.helpers.torchnets:{'plain' if isinstance(network, nn.Sequential) else 'attending'}", Request(
        input=SHAPE, arguments={"seed": 3}
    )


def with_safetensors(folder: Path, network: nn.Module) -> tuple[str, Request]:
    save_file(network.state_dict(), folder / "weights.safetensors")
    return "tests.helpers.torchnets:plain", Request(input=SHAPE, weights=str(folder / "weights.safetensors"))


def with_checkpoint(folder: Path, network: nn.Module) -> tuple[str, Request]:
    held = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}
    torch.save(held, folder / "checkpoint.pth")
    return "tests.helpers.torchnets:plain", Request(input=SHAPE, weights=str(folder / "checkpoint.pth"))


def program(folder: Path, network: nn.Module, *, batch: int | None = None) -> tuple[str, Request]:
    axes = ({0: torch.export.Dim("batch")},) if batch is None else None
    made = torch.export.export(network, (torch.randn(batch or 2, *SHAPE),), dynamic_shapes=axes)
    torch.export.save(made, folder / "net.pt2")
    return str(folder / "net.pt2"), Request()


def single_program(folder: Path, network: nn.Module) -> tuple[str, Request]:
    return program(folder, network, batch=1)


def torchscript(folder: Path, network: nn.Module) -> tuple[str, Request]:
    torch.jit.save(torch.jit.trace(network, torch.randn(1, *SHAPE), check_trace=False), folder / "net.pt")
    return str(folder / "net.pt"), SIZED


def trusted_pickle(folder: Path, network: nn.Module) -> tuple[str, Request]:
    torch.save(network, folder / "net.pth")
    return str(folder / "net.pth"), Request(input=SHAPE, allow_pickle=str(folder / "net.pth"))


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


@pytest.mark.parametrize(("opset", "route"), [(13, "torchscript"), (18, "dynamo"), (20, "dynamo")])
def test_the_route_fits_the_opset(opset: int, route: str, tmp_path: Path) -> None:
    facts = run("tests.helpers.torchnets:plain", tmp_path / "net.onnx", Request(input=SHAPE, opset=opset))
    assert (facts.opset, facts.route) == (opset, route)
    assert max(entry.version for entry in onnx.load(tmp_path / "net.onnx").opset_import) == opset


def test_nothing_of_the_machine_is_in_the_file(tmp_path: Path) -> None:
    run("tests.helpers.torchnets:plain", tmp_path / "net.onnx", SIZED)
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


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("run",)


def pickled(path: Path) -> str:
    torch.save(torchnets.plain(), path / "whole.pt")
    return str(path / "whole.pt")


def evil_checkpoint(path: Path) -> str:
    torch.save({"weight": Evil()}, path / "evil.pth")
    return str(path / "evil.pth")


def evil_program(path: Path) -> str:
    """An exported program with a pickled object among its constants."""
    program(path, torchnets.plain())
    import pickle

    with zipfile.ZipFile(path / "net.pt2") as old, zipfile.ZipFile(path / "evil.pt2", "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr(f"{root}/data/constants/custom_obj_0", pickle.dumps(Evil()))
    return str(path / "evil.pt2")


def evil_sample(path: Path) -> str:
    """An exported program whose example inputs are a pickle that runs code."""
    program(path, torchnets.plain())
    torch.save((Evil(),), path / "sample.pt")
    with zipfile.ZipFile(path / "net.pt2") as old, zipfile.ZipFile(path / "evil.pt2", "w") as new:
        for name in old.namelist():
            fake = "sample_inputs" in name
            new.writestr(name, (path / "sample.pt").read_bytes() if fake else old.read(name))
    return str(path / "evil.pt2")


def truncated(path: Path) -> str:
    program(path, torchnets.plain())
    (path / "cut.pt2").write_bytes((path / "net.pt2").read_bytes()[:-200])
    return str(path / "cut.pt2")


def flipped(path: Path) -> str:
    program(path, torchnets.plain())
    content = bytearray((path / "net.pt2").read_bytes())
    with zipfile.ZipFile(path / "net.pt2") as archive:
        entry = next(e for e in archive.infolist() if e.filename.endswith("model.json"))
    content[entry.header_offset + 200] ^= 255
    (path / "flipped.pt2").write_bytes(content)
    return str(path / "flipped.pt2")


def strange(path: Path) -> str:
    with zipfile.ZipFile(path / "strange.pt", "w") as archive:
        archive.writestr("hello", "world")
    return str(path / "strange.pt")


def text(path: Path) -> str:
    (path / "text.pt").write_text("no archive")
    return str(path / "text.pt")


def weights_alone(path: Path) -> str:
    torch.save(torchnets.plain().state_dict(), path / "weights.pt")
    return str(path / "weights.pt")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pickled, "is a pickled network, and reading it runs any code in it"),
        (evil_checkpoint, "is a pickled network"),
        (evil_program, r"contains pickled objects \(custom_obj_0\)"),
        (evil_sample, "can't be read as an exported program|pickled code"),
        (truncated, "truncated archive"),
        (flipped, "damaged"),
        (strange, "is an archive, but not one of PyTorch"),
        (text, "is not a PyTorch archive"),
        (weights_alone, r"contains weights only \(.* entries\), and no network\. Name the code that builds it"),
    ],
)
def test_a_file_that_must_not_or_cannot_be_read_is_refused(
    make: Callable[[Path], str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(tmp_path)
    with pytest.raises(ModelError, match=words):
        run(source, tmp_path / "out.onnx", SIZED)
    assert "run\n" not in capsys.readouterr().out
    assert not (tmp_path / "out.onnx").exists()


def broken_safetensors(path: Path) -> str:
    (path / "w.safetensors").write_bytes(b"\xff" * 64)
    return str(path / "w.safetensors")


def other_weights(path: Path) -> str:
    save_file(torchnets.plain(width=7).state_dict(), path / "w.safetensors")
    return str(path / "w.safetensors")


def lacking_weights(path: Path) -> str:
    state = torchnets.plain().state_dict()
    save_file({name: value for name, value in state.items() if name != "head.bias"}, path / "w.safetensors")
    return str(path / "w.safetensors")


def more_weights(path: Path) -> str:
    save_file({**torchnets.plain().state_dict(), "tail.bias": torch.zeros(1)}, path / "w.safetensors")
    return str(path / "w.safetensors")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: str(path / "none.pth"), "none.pth: no such file. Check the path given to --weights"),
        (broken_safetensors, "can't be read as safetensors"),
        (other_weights, "has in another shape conv.bias and 6 more"),
        (lacking_weights, "it lacks head.bias. Give the weights of this network"),
        (more_weights, "has, unlike the network, tail.bias"),
        (evil_checkpoint, "is not a checkpoint of tensors only"),
    ],
)
def test_weights_that_do_not_fit_are_refused(make: Callable[[Path], str], words: str, tmp_path: Path) -> None:
    request = Request(input=SHAPE, weights=make(tmp_path))
    with pytest.raises(ModelError, match=words):
        run("tests.helpers.torchnets:plain", tmp_path / "out.onnx", request)


@pytest.mark.parametrize(
    ("source", "request_", "words"),
    [
        ("tests.helpers.torchnets:plain", Request(), "does not state the size of its images. Give it as --input"),
        ("tests.helpers.torchnets:plain", Request(input=(1, 16, 16)), "can't take images of 1×16×16"),
        (
            "tests.helpers.torchnets:plain",
            Request(input=SHAPE, encoder="neck"),
            "there is no layer 'neck'; there are conv, norm",
        ),
        (
            "tests.helpers.torchnets:plain",
            Request(input=SHAPE, opset=5),
            "can't be exported at opset 5. Give --opset from 9 to 25",
        ),
        (
            "tests.helpers.torchnets:plain",
            Request(input=SHAPE, arguments={"depth": 3}),
            "Give its arguments as --arg NAME=VALUE",
        ),
        (
            "tests.helpers.torchnets:failing",
            Request(arguments={"depth": 3}),
            "fails when it is called .ValueError: 3 is no depth",
        ),
        ("tests.helpers.torchnets:nothing", Request(), "returns an object of builtins.str, for which there is no exporter"),
        ("tests.helpers.torchnets:missing", Request(), "has no attribute 'missing'"),
        ("tests.nowhere:plain", Request(), "there is no module 'tests.nowhere'"),
        ("torchvision:resnet10", Request(), "torchvision:resnet10: there is no network 'resnet10'; did you mean resnet1"),
        ("torchvision:resnet18", Request(), "trained weights of torchvision:resnet18 are not on this machine"),
        ("model.unknown", Request(), "no such file"),
        ("strange:model/x", Request(), "is not a source that can be converted. Supported are: .*PyTorch"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    source: str, request_: Request, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises((ModelError, ConfigError), match=words):
        run(source, tmp_path / "out.onnx", request_)


def test_a_program_of_another_size_or_batch_is_refused(tmp_path: Path) -> None:
    source, _ = program(tmp_path, torchnets.plain())
    with pytest.raises(ConfigError, match="takes images of 3×16×16, not of 3×32×32"):
        run(source, tmp_path / "out.onnx", Request(input=(3, 32, 32)))
    source, _ = program(tmp_path, torchnets.plain(), batch=4)
    with pytest.raises(ModelError, match="takes batches of 4 only"):
        run(source, tmp_path / "out.onnx", Request())


def test_a_missing_file_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file"):
        run(str(tmp_path / "none.pt2"), tmp_path / "out.onnx", Request())


def test_torchvision_networks_come_by_name(tmp_path: Path) -> None:
    facts = run("torchvision:squeezenet1_1", tmp_path / "net.onnx", Request(input=(3, 64, 64), random_weights=1))
    assert facts.remarks == ("its weights are random (seed 1)",)
    assert (facts.said.size, facts.said.mean) == ((64, 64), (0.485, 0.456, 0.406))
    torch.manual_seed(1)
    network = importlib.import_module("torchvision.models").squeezenet1_1(weights=None).eval()
    assert nearest(tmp_path / "net.onnx", last(tmp_path / "net.onnx"), lambda x: of_torch(network, x), 64) >= 0.9999
