"""Photos that can't be read: every command that takes photos names all of them, and goes on without them by --skip-broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import runner, save_classifiers, without_table

MODELS = ("a.onnx", "b.onnx")
COMMANDS = {
    "score": ("score", *MODELS, "--probe", "photos"),
    "space create": ("space", "create", "new.space", "--probe", "photos"),
    "fingerprint": ("fingerprint", "a.onnx", "-o", "a.fp", "--probe", "photos"),
    "layers": ("layers", *MODELS, "--probe", "photos"),
    "transfer": ("transfer", *MODELS, "--data", "photos", "--by", "knn"),
    "explain": ("explain", "a.onnx", *(f"photos/{name}/{k}.png" for name in "xy" for k in range(6)), "-o", "maps.png"),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two networks, and twelve photos of two classes, two of which are broken."""
    monkeypatch.chdir(tmp_path)
    save_classifiers(tmp_path, "ab")
    rng = np.random.default_rng(0)
    for name in "xy":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(6):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(tmp_path / f"photos/{name}/{k}.png")
    (tmp_path / "photos/x/2.png").write_bytes(b"nothing")
    (tmp_path / "photos/y/4.png").write_bytes(b"nothing at all")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_all_broken_photos_are_named(place: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, err = runner(capsys)(*COMMANDS[command])
    assert code == 2
    assert out == ""
    assert without_table(err).count("\n") == 1
    named = "2 of 12 photos can't be used: photos/x/2.png is not an image; photos/y/4.png is not an image."
    assert f"{named} Remove them, or save them again; --skip-broken goes on without." in err


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_go_on_without_them(place: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, _, err = runner(capsys)(*COMMANDS[command], "--skip-broken")
    assert code == 0, err
    line = "2 photos that can't be used left out: photos/x/2.png is not an image; photos/y/4.png is not an image."
    assert err.count(line) == 1


def test_quiet_keeps_remarks_to_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = runner(capsys)(*COMMANDS["layers"], "--skip-broken", "--quiet")
    assert (code, err) == (0, "")


def test_a_space_gets_the_same_photos_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys, "space")
    assert run("create", "new.space", "--probe", "photos", "--images", "6", "--skip-broken")[0] == 0
    code, _, err = run("add", "new.space", "a.onnx", "--probe", "photos", "--skip-broken")
    assert code == 0, err


def test_other_files_are_counted(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "photos/list.txt").write_text("text")
    (place / "photos/x/copy.png").write_bytes((place / "photos/x/1.png").read_bytes())
    _, _, err = runner(capsys)(*COMMANDS["layers"], "--skip-broken")
    assert "photos: 1 file that is not an image was left out (1 .txt)." in err
    assert "photos: 1 copy of other photos of it counts once." in err


def test_finetuning_without_labels_reads_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = runner(capsys)("score", *MODELS, "--probe", "photos", "--by", "finetune", "--target", "a")
    assert code == 2
    assert "2 of 12 photos can't be used" in err


def test_check_leaves_no_photo_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = runner(capsys)("check", "a.onnx", "--against", "b.onnx", "--probe", "photos")
    assert code == 2
    assert "2 of 12 photos can't be used" in err
    assert "Remove them, or save them again." in err
