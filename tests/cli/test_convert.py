"""`onnxspace convert` and other formats in `score`, from end to end: two files or none, one sentence, kept conversions."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxspace as ox
from onnxspace.errors import ConfigError, ModelError, OutputError
from onnxspace.exporters import Exporter, Facts, Request, Source, argument, broken, export, exporters, find, input_shape
from onnxspace.exporters.sidecar import FIRST_LINE, sidecar_text
from onnxspace.inputs.config import ModelOptions, load_sidecar
from onnxspace.model import runtime
from tests.helpers.commands import exit_code as command
from tests.helpers.paths import REPOSITORY
from tests.helpers.torchnets import SHAPE


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_command_writes_a_model_and_its_sidecar(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], warm_children: None
) -> None:
    target = tmp_path / "net.onnx"
    words = ["convert", "tests.helpers.torchnets:named", "-o", str(target), "--encoder", "features"]
    assert command(*words) == 0
    assert left(tmp_path) == ["net.onnx", "net.onnxspace.toml"]
    said = load_sidecar(target)
    assert (said.mean, said.size, said.color) == ((0.1, 0.2, 0.3), (16, 16), "RGB")
    model = ox.open_model(target)
    assert model.encoder == said.encoder
    assert not [text for text in model.assumed if "pixels" in text]
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(r"net.onnx: PyTorch, by dynamo, opset 18; outputs differ by \S+ at most", err)
    assert len(err.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tests.helpers.torchnets:plain"], "does not state the size of its images"),
        (["tests.helpers.torchnets:failing", "--arg", "depth=3"], r"ValueError: 3 is no depth"),
        (["none.pt2"], "none.pt2: no such file"),
        (["tests.helpers.torchnets:plain", "--input", "3by4"], "not the size of an image. Write it like 3x224x224"),
        (["tests.helpers.torchnets:plain", "--arg", "depth"], "not of the form NAME=VALUE"),
        (["tests.helpers.torchnets:plain", "--using", "magic"], "there is no exporter 'magic'"),
        (["tests.helpers.torchnets:plain", "--python", "no-such-python"], "--python no-such-python can't be started"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence_and_no_file(
    words: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], warm_children: None
) -> None:
    assert command("convert", *words, "-o", str(tmp_path / "net.onnx")) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert re.search(message, err)
    assert len(err.splitlines()) == 1
    assert left(tmp_path) == []


def test_an_output_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a name for an ONNX file"):
        export.to_onnx("a.pt2", tmp_path / "net.pb")


def interpreter(path: Path, lines: str) -> Path:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


@pytest.mark.process
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("echo 'No module named onnxspace_converters' >&2; exit 1", "has no onnxspace. Install it there: .* -m pip install"),
        (
            "echo 'library: out of memory' >&2; kill -9 $$",
            r"ended by signal 9 \(library: out of memory\). Leave it out, or allow more with",
        ),
        ("read order; echo chatter; exit 3", "ended with code 3"),
        ("""echo '{"answer": {"error": "ConfigError", "message": "So it is."}}'""", "So it is"),
        (
            """echo '{"progress": 3}'; echo '{"answer": {"result": {"framework": 3}}}'""",
            "net.pt2 ended .*answer has another form",
        ),
    ],
)
def test_another_interpreter_fails_in_one_sentence(lines: str, message: str, tmp_path: Path) -> None:
    other = interpreter(tmp_path / "python", lines)
    with pytest.raises((ModelError, ConfigError), match=message):
        export.to_onnx("net.pt2", tmp_path / "net.onnx", python=other)
    assert left(tmp_path) == ["python"]


@pytest.mark.process
def test_the_time_of_a_conversion_begins_anew_with_each_step(tmp_path: Path) -> None:
    step, end = (
        """echo '{"progress": ["a", 1, 5]}'; sleep 0.6""",
        """echo '{"answer": {"error": "ConfigError", "message": "Done."}}'""",
    )
    other = interpreter(tmp_path / "python", f"{'; '.join([step] * 4)}; {end}")
    with pytest.raises(ConfigError, match="Done"):
        export.to_onnx("net.pt2", tmp_path / "net.onnx", python=other, limits="wall=2")
    silent = interpreter(tmp_path / "silent", f"sleep 4; {end}")
    with pytest.raises(ModelError, match=r"net\.pt2 was stopped after 1 seconds"):
        export.to_onnx("net.pt2", tmp_path / "net.onnx", python=silent, limits="wall=1")


@pytest.mark.process
def test_another_interpreter_converts(tmp_path: Path, warm_python: Path) -> None:
    other = interpreter(tmp_path / "python", f'echo noise; exec "{warm_python}" "$@"')
    steps: list[str] = []
    facts = export.to_onnx(
        "tests.helpers.torchnets:plain",
        tmp_path / "net.onnx",
        Request(input=SHAPE),
        python=other,
        progress=lambda what, *_: steps.append(what),
    )
    assert facts.framework == "PyTorch"
    assert "exporting by dynamo" in steps


def test_a_sidecar_of_the_user_stays_and_one_of_ours_does_not(tmp_path: Path, warm_children: None) -> None:
    beside = tmp_path / "net.onnxspace.toml"
    for before, kept in (("name = 'Mine'\n", True), (f"{FIRST_LINE}\nname = 'Old'\n", False)):
        beside.write_text(before)
        facts = export.to_onnx("tests.helpers.torchnets:named", tmp_path / "net.onnx", Request(opset=13))  # the quickest
        assert (beside.read_text() == before) is kept
        assert any("left as it is" in remark for remark in facts.remarks) is kept


def test_a_sidecar_reads_as_it_was_written(tmp_path: Path) -> None:
    said = ModelOptions('a"b\\\n\x7f', None, "in", (3, 4), "NHWC", "BGR", "pad", 1 / 255, (0.1, 2.0, 3.0), (1.5,))
    facts = Facts("F\nname = 1", "r", 17, {"v": "1"}, "00", "enc'\t", 0.0, said)
    (tmp_path / "net.onnxspace.toml").write_text(sidecar_text("/some/where/net.x", facts), "utf-8")
    where = {"origin": "read", "source": "net.onnxspace.toml of its conversion"}
    assert load_sidecar(tmp_path / "net.onnx") == ModelOptions(**{**vars(said), "encoder": "enc'\t"} | where)
    assert "/some/where" not in (tmp_path / "net.onnxspace.toml").read_text("utf-8")


def test_facts_and_requests_survive_the_way_between_processes() -> None:
    said = ModelOptions(size=(3, 4), mean=(1.0, 2.0, 3.0))
    facts = Facts("F", "r", 17, {"v": "1"}, None, None, 1e-7, said, {"export": 1.0}, ("one",))
    request = Request((3, 4, 5), "e", 17, "w", {"a": [1, "b"]}, 3, "p", True, "torch", said)
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    assert Request.from_dict(json.loads(json.dumps(request.to_dict()))) == request


def test_words_of_the_command_line() -> None:
    assert argument("depth=3") == ("depth", 3)
    assert argument("name=resnet") == ("name", "resnet")
    assert argument("shape=(1, 2)") == ("shape", (1, 2))
    assert input_shape("3x32X16") == (3, 32, 16)
    for wrong in ("", "3x32", "0x1x1", "1x1x99999", "3x-1x2", "²x1x1"):
        with pytest.raises(ConfigError):
            input_shape(wrong)


def test_a_missing_framework_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Exporter(
        "far", lambda source: source.path.suffix == ".far", _never, "far", ("farframe",), "pip install 'onnxspace[far]'"
    )
    monkeypatch.setattr("onnxspace.exporters.discovery.exporters", lambda: {"far": lacking, "near": lacking})
    from onnxspace.exporters import run

    with pytest.raises(ConfigError, match=r"several exporters \(far, far\). Name one with --using"):
        find(Source("a.far"), Request())
    with pytest.raises(
        ModelError, match=r"a.far needs farframe, which is not installed. Install it with: pip install 'onnxspace\[far\]'"
    ):
        run("a.far", tmp_path / "x.onnx", Request(using="far"))


def _never(source: Source, destination: Path, request: Request) -> Facts:
    raise AssertionError


def test_an_exporter_that_writes_no_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def empty(source: Source, destination: Path, request: Request) -> Facts:
        destination.write_bytes(b"")
        return Facts("None", "none", 17)

    monkeypatch.setattr("onnxspace.exporters.discovery.exporters", lambda: {"bad": Exporter("bad", lambda source: True, empty)})
    from onnxspace.exporters import run

    with pytest.raises(ModelError, match=r"the exporter bad wrote an unreadable ONNX model .its file is empty"):
        run("a.b", tmp_path / "x.onnx", Request())


def test_every_exporter_of_the_package_loads_and_says_what_it_takes() -> None:
    assert {"torch", "timm", "torchvision", "huggingface"} <= set(exporters())
    assert broken() == {}
    assert all(exporter.takes for exporter in exporters().values())


@pytest.mark.process
def test_exporters_load_no_framework_until_they_are_used() -> None:
    code = "import sys, onnxspace.exporters.discovery as e; e.exporters(); print([n for n in ('torch', 'onnx', 'timm') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.process
def test_the_exporter_of_the_readme_is_installed_and_converts(tmp_path: Path) -> None:
    """As a third party's: its own distribution, found through its entry point."""
    text = (REPOSITORY / "converters/README.md").read_text("utf-8")
    for name, body in re.findall(r"<!-- exporter: (\S+) -->\n```\w+\n(.*?)```", text, re.S):
        (tmp_path / "package").mkdir(exist_ok=True)
        (tmp_path / "package" / name).write_text(body, "utf-8")
    install = [
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(tmp_path / "site"),
    ]
    subprocess.run([sys.executable, "-m", *install, str(tmp_path / "package")], check=True, capture_output=True)
    taps = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    np.savetxt(tmp_path / "edge.taps", taps)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    words = [sys.executable, "-m", "onnxspace", "convert", str(tmp_path / "edge.taps"), "-o", str(tmp_path / "edge.onnx")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "edge.onnx: Taps, by by hand, opset 17" in done.stderr
    image = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    (found,) = runtime.run(onnx.load(tmp_path / "edge.onnx"), {"image": image})
    by_hand = sum(np.apply_along_axis(np.convolve, 2, image[:, c], taps[c, ::-1], "valid") for c in range(3))
    np.testing.assert_allclose(found[:, 0], by_hand, atol=1e-4)
