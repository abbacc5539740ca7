"""Files, weights and requests that PyTorch's exporter refuses, each in a sentence, and without running what a pickle contains."""

from __future__ import annotations

import pickle
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onnxspace.errors import ConfigError, ModelError, ModelNotFoundError
from onnxspace.exporters import Request, run
from tests.helpers import torchnets
from tests.helpers.torchnets import SHAPE, write_program

SIZED = Request(input=SHAPE)


@cache
def make_program() -> bytes:
    """The content of an exported program."""
    with tempfile.TemporaryDirectory() as folder:
        return write_program(Path(folder), torchnets.plain()).read_bytes()


def write_sound(folder: Path) -> None:
    """An exported program that is to be damaged, `net.pt2`."""
    (folder / "net.pt2").write_bytes(make_program())


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
    write_sound(path)
    with zipfile.ZipFile(path / "net.pt2") as old, zipfile.ZipFile(path / "evil.pt2", "w") as new:
        root = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr(f"{root}/data/constants/custom_obj_0", pickle.dumps(Evil()))
    return str(path / "evil.pt2")


def evil_sample(path: Path) -> str:
    """An exported program whose example inputs are a pickle that runs code."""
    write_sound(path)
    torch.save((Evil(),), path / "sample.pt")
    with zipfile.ZipFile(path / "net.pt2") as old, zipfile.ZipFile(path / "evil.pt2", "w") as new:
        for name in old.namelist():
            fake = "sample_inputs" in name
            new.writestr(name, (path / "sample.pt").read_bytes() if fake else old.read(name))
    return str(path / "evil.pt2")


def truncated(path: Path) -> str:
    write_sound(path)
    (path / "cut.pt2").write_bytes((path / "net.pt2").read_bytes()[:-200])
    return str(path / "cut.pt2")


def flipped(path: Path) -> str:
    write_sound(path)
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
    source = str(write_program(tmp_path, torchnets.plain()))
    with pytest.raises(ConfigError, match="takes images of 3×16×16, not of 3×32×32"):
        run(source, tmp_path / "out.onnx", Request(input=(3, 32, 32)))
    source = str(write_program(tmp_path, torchnets.plain(), batch=4))
    with pytest.raises(ModelError, match="takes batches of 4 only"):
        run(source, tmp_path / "out.onnx", Request())


def test_a_missing_file_is_said_as_such(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no such file"):
        run(str(tmp_path / "none.pt2"), tmp_path / "out.onnx", Request())
