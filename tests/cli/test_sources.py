"""Every command that takes a model takes a source of another framework too: its conversion is used under its own name."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import onnxspace as ox
from onnxspace.errors import ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source, cache, discovery, export
from tests.helpers import torchnets
from tests.helpers.commands import Run, runner
from tests.helpers.nets import classifier, save
from tests.helpers.paths import REPOSITORY

PROGRAM, FACTORY = "net.pt2", "tests.helpers.torchnets:named"
NAMES = {PROGRAM: "net", FACTORY: "tests.helpers.torchnets:named"}
IMAGES = ("--images", "4", "--quiet")
COMMANDS = {
    "inspect": ("inspect", "{}", "--json"),
    "score": ("score", "{}", "a.onnx", "--json", *IMAGES),
    "explain": ("explain", "{}", "cat.png", "-o", "maps.png"),
    "fingerprint": ("fingerprint", "{}", "-o", "net.fp", "--images", "4"),
    "layers": ("layers", "{}", "a.onnx", "--json", *IMAGES),
    "layers of a target": ("layers", "a.onnx", "{}", "--json", *IMAGES),
    "transfer": ("transfer", "{}", "a.onnx", "--data", "photos", "--by", "h_score", "--json", "--quiet"),
    "space add": ("space", "add", "zoo.space", "{}", "--json", "--quiet"),
    "space nearest": ("space", "nearest", "zoo.space", "{}", "--json", "--quiet"),
    "check": ("check", "{}", "--against", "net.onnx", "--json", *IMAGES),
    "check against": ("check", "net.onnx", "--against", "{}", "--json", *IMAGES),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Path:
    """A folder with an exported program, its conversion `net.onnx`, another model, photos and a space."""
    place = tmp_path_factory.mktemp("sources")
    axes = ({0: torch.export.Dim("batch")},)
    network = torchnets.named
    torch.export.save(torch.export.export(network, (torch.randn(2, *torchnets.SHAPE),), dynamic_shapes=axes), place / PROGRAM)
    save(classifier(), place / "a.onnx")
    rng = np.random.default_rng(0)
    for group in "xy":
        (place / "photos" / group).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(place / f"photos/{group}/{number}.png")
    shutil.copy(place / "photos/x/0.png", place / "cat.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr("sys.executable", str(warm_python))
        export.to_onnx(PROGRAM, "net.onnx")
        ox.Space.create("zoo.space", ox.Probes.generate(4)).add(["a.onnx"])
    return place


@pytest.fixture
def run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], warm_children: None
) -> Run:
    """The command line in a copy of `home`, with a cache of conversions that all tests share."""
    shutil.copytree(home, tmp_path / "here", ignore=shutil.ignore_patterns("cache"))
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(cache.VARIABLE, str(home / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return runner(capsys)


@pytest.mark.parametrize("source", NAMES, ids=["program", "factory"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_it(name: str, source: str, run: Run, home: Path) -> None:
    code, out, err = run(*(word.format(source) for word in COMMANDS[name]))
    assert code == 0, err
    assert str(home / "cache") not in out + err
    if "--json" in COMMANDS[name]:
        assert source in out
    if name.startswith("check"):
        (verdict,) = json.loads(out)["verdicts"]
        assert verdict["outcome"] == "same"  # the factory states its pixels, and the program takes them over
        assert verdict["measures"]["affinity"] > 0.999
    elif name == "space nearest":
        assert [one["name"] for one in json.loads(out)["nearest"]] == ["a"]
    elif name in ("explain", "fingerprint"):
        assert Path(COMMANDS[name][COMMANDS[name].index("-o") + 1]).stat().st_size > 500
    else:
        assert NAMES[source] in re.findall(r'"name": "([^"]*)"', out)


def test_python_makes_a_torch_graph_of_it(run: Run) -> None:
    images = torch.randn(2, *torchnets.SHAPE)
    for source in NAMES:
        with torch.no_grad():
            torch.testing.assert_close(ox.to_torch(source)(images), torchnets.named(images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in COMMANDS if "transfer" not in name and "score" not in name])
def test_what_cannot_be_converted_is_one_sentence(name: str, run: Run) -> None:
    Path("broken.pt2").write_bytes(b"PK")
    code, _, err = run(*(word.format("broken.pt2") for word in COMMANDS[name] if word != "a.onnx" or name.startswith("layers")))
    assert code == 2
    assert "broken.pt2 is not a PyTorch archive, or is truncated. Export or copy it again." in err


def _never(source: Source, destination: Path, request: Request) -> Facts:
    raise AssertionError


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "check against"])
def test_a_converter_that_is_not_installed_is_named(name: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conversion is done in this process, where the exporter can be replaced."""
    far = Exporter("far", lambda s: s.path.suffix == ".far", _never, "far", ("farframe",), "pip install 'onnxspace[far]'")
    monkeypatch.setattr(discovery, "exporters", lambda: {"far": far})
    monkeypatch.setattr(cache, "to_onnx", lambda source, target, request, limits: discovery.run(source, Path(target), request))
    Path("net.far").write_bytes(b"far")
    code, out, err = run(*(word.format("net.far") for word in COMMANDS[name]))
    assert code == 2
    assert "net.far needs farframe, which is not installed. Install it with: pip install 'onnxspace[far]'" in out + err


def test_errors_name_the_source_and_not_the_file_in_the_cache(run: Run, home: Path) -> None:
    code, _, err = run("inspect", FACTORY, "--config", "odd.toml")
    assert (code, "odd.toml" in err) == (2, True)
    Path("odd.toml").write_text(f'[models."{FACTORY}"]\nsize = [8, 8]\n')
    code, _, err = run("inspect", FACTORY, "--config", "odd.toml")
    assert code == 2
    assert err.startswith(f"onnxspace: {FACTORY}")
    assert str(home) not in err


def test_a_configuration_runs_no_code(run: Run) -> None:
    Path("marking.py").write_text("open('marker', 'w').close()\ndef make(): ...\n")
    for key in ("model", "against"):
        names = {"model": "a.onnx", "against": "a.onnx", key: "marking:make"}
        lines = "\n".join(f'{name} = "{value}"' for name, value in names.items())
        Path("onnxspace.toml").write_text(f"[check.artifacts.net]\n{lines}\n")
        code, _, err = run("check")
        assert code == 2
        assert f"artifacts.net]: {key} is 'marking:make', code that a configuration can't run. Give it on the command" in err
    assert not Path("marker").exists()


def test_a_space_that_is_not_there_is_no_code(run: Run) -> None:
    code, _, err = run("check", "a.onnx", "--against", "none.space:a", *IMAGES)
    assert code == 2
    assert "none.space" in err
    assert "module" not in err


def test_to_torch_names_the_source(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pt2: no such file"):
        ox.to_torch(tmp_path / "none.pt2")
