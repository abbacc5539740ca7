"""Reading untrusted files: what is no regular file is refused at once, in one sentence, wherever it is named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from onnxspace.storage.regular_files import NotRegularError, load_array, map_array, open_regular, read_regular
from tests.helpers.commands import exit_code, without_table
from tests.helpers.nets import classifier, save


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe that nobody writes to: opening it in the ordinary way never ends."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_only_regular_files_are_opened(pipe: Path) -> None:
    folder = pipe.parent
    (folder / "file").write_bytes(b"text")
    (folder / "link").symlink_to("file")
    assert open_regular(folder / "file").read() == b"text"
    assert read_regular(folder / "link", 2) == b"tex"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
        for path in (pipe, folder / "socket", Path("/dev/zero")):
            with pytest.raises(NotRegularError):
                open_regular(path)
    with pytest.raises(NotRegularError, match="link"):
        open_regular(folder / "link", follow=False)
    with pytest.raises(IsADirectoryError):
        open_regular(folder)


@pytest.mark.parametrize("read", [map_array, load_array])
def test_arrays_are_those_of_numpy(tmp_path: Path, read: object) -> None:
    assert callable(read)
    for number, array in enumerate((np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3, dtype="<f2")), np.array(3))):
        path = tmp_path / f"{number}.npy"
        np.save(path, array)
        np.testing.assert_array_equal(read(path), array)
        assert read(path).flags.f_contiguous == array.flags.f_contiguous
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '(((', " + b" " * 100)
    (tmp_path / "short.npy").write_bytes((tmp_path / "0.npy").read_bytes()[:-1])
    for name in ("object", "damaged", "short"):
        with pytest.raises(ValueError, match="it"):
            read(tmp_path / f"{name}.npy")


COMMANDS = {
    "model": ("score", "a.onnx", "pipe"),
    "fingerprint": ("score", "a.onnx", "pipe.fp"),
    "configuration": ("score", "a.onnx", "b.onnx", "--config", "pipe"),
    "table": ("score", "a.onnx", "b.onnx", "--known", "pipe"),
    "sidecar": ("score", "a.onnx", "beside.onnx"),
    "photos": ("score", "a.onnx", "b.onnx", "--probe", "photos"),
    "labels": ("transfer", "a.onnx", "--data", "pipe.csv"),
    "labelled photo": ("transfer", "a.onnx", "--data", "labels.csv"),
    "baseline image": ("score", "a.onnx", "b.onnx", "--baseline", "pipe", "--method", "gradient-x-input"),
    "image": ("explain", "a.onnx", "pipe", "-o", "maps.png"),
    "baseline of a check": ("check", "a.onnx", "--against", "pipe.fp"),
    "plan": ("check", "--config", "pipe"),
    "space": ("space", "list", "pipe"),
    "report": ("report", "folder", "--output", "page.html"),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_a_pipe_does_not_hang_a_command(
    pipe: Path, what: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pipe.parent)
    for seed, name in enumerate(("a", "b", "beside")):
        save(classifier(seed=seed), pipe.parent / f"{name}.onnx")
    for name in ("pipe.fp", "pipe.csv", "beside.onnxspace.toml", "photo.png", "photos/a.png", "folder/score.json"):
        Path(name).parent.mkdir(exist_ok=True)
        os.mkfifo(name)
    Path("labels.csv").write_text("path,label\nphoto.png,1\nphoto.png,2\n")
    assert exit_code(*COMMANDS[what], *(("--images", "2") if "score" in COMMANDS[what] else ())) == 2
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert without_table(err).count("\n") <= 3
