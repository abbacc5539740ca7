"""Untrusted models, run in processes of their own: none hangs or ends the check."""

from __future__ import annotations

import json
import os
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxspace.checking.sandbox import Limits, parse_limits, run_in_child
from onnxspace.errors import ConfigError, ModelError
from tests.helpers.commands import Run
from tests.helpers.hostile import add_endless_loop
from tests.helpers.nets import Net, classifier, save

pytest_plugins = ["pytester"]
COMMAND = "check"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a healthy model in it."""
    monkeypatch.chdir(tmp_path)
    save(classifier(), tmp_path / "good.onnx")
    return tmp_path


def endless() -> onnx.ModelProto:
    """A Loop that ends after 2⁶² rounds."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1, 1, 1, 1]))
    x = add_endless_loop(net, x)
    return net.model([net.conv(x, 4, 2)])


def greedy() -> onnx.ModelProto:
    """A few hundred bytes that ask for a tensor of 2⁴⁰ numbers."""
    net = Net()
    shape = net.weight(np.array([1, 2**20, 2**10, 2**10], np.int64))
    large = net.add("ConstantOfShape", shape, value=numpy_helper.from_array(np.zeros(1, np.float32)))
    x = net.add("Relu", net.conv("image", 3, 4))
    return net.model([net.add("Add", x, net.add("ReduceSum", large, keepdims=0))])


def tiny() -> onnx.ModelProto:
    """152 bytes that ask for 6.6 TB."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8, 1], raw_data=np.ones(8, np.float32).tobytes())
    shape = TensorProto(name="s", data_type=TensorProto.INT64, dims=[1], int64_data=[2**36])
    graph = onnx.GraphProto(
        node=[helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Expand", ["a", "s"], ["y"])],
        name="g",
        input=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        output=[helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializer=[weight, shape],
    )
    return onnx.ModelProto(ir_version=8, graph=graph, opset_import=[onnx.OperatorSetIdProto(version=17)])


def foreign() -> onnx.ModelProto:
    """An operator of a library that is not loaded."""
    model = classifier()
    model.graph.node[0].op_type, model.graph.node[0].domain = "Magic", "acme"
    model.opset_import.append(onnx.OperatorSetIdProto(domain="acme", version=1))
    return model


def linked(folder: Path) -> None:
    """External data that is another file, by a symlink."""
    (folder / "secret").write_bytes(b"\0" * 4096)
    onnx.save(classifier(), folder / "linked.onnx", save_as_external_data=True, location="linked.bin", size_threshold=0)
    (folder / "linked.bin").unlink()
    (folder / "linked.bin").symlink_to(folder / "secret")


HOSTILE = {
    "endless": "stopped after 2 seconds of processor time",
    "greedy": "more than the 4 GiB that one tensor may have",
    "tiny": "more than the 4 GiB that one tensor may have",
    "foreign": "'acme'",
    "linked": "which is not followed",
    "broken": "broken.onnx",
}


def test_hostile_models_are_stopped_and_the_rest_is_checked(
    run: Run, tmp_path: Path, sandboxed: None, warm_children: None
) -> None:
    """An endless loop, demands for terabytes, an operator of another library, external data behind a symlink, what is no
    model; and a healthy one.
    """
    for name, made in (("endless", endless()), ("greedy", greedy()), ("tiny", tiny()), ("foreign", foreign())):
        save(made, tmp_path / f"{name}.onnx")
    assert (tmp_path / "tiny.onnx").stat().st_size == 152
    linked(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(os.urandom(200))
    assert run("good.onnx", "--against", "good.fp", "--images", "2", "--update", "--quiet")[0] == 0
    models = [*(f"{name}.onnx" for name in HOSTILE), "good.onnx"]
    code, out, err = run(*models, "--against", "good.fp", "--limits", "memory=6G,cpu=2", "--format", "json", "--quiet")
    assert code == 2
    outcomes = {one["name"]: one["outcome"] for one in json.loads(out)["verdicts"]}
    assert outcomes == {**dict.fromkeys(HOSTILE, "trouble"), "good": "same"}, err
    lines = err.splitlines()
    assert len(lines) == len(HOSTILE), err
    for line, (name, words) in zip(lines, HOSTILE.items(), strict=True):
        assert f"{name}.onnx" in line
        assert words in line


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def compress_zeros(mebibytes: int) -> bytes:
    """So many MiB of zeros, compressed, without compressing them all: each MiB is the same block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = (mebibytes * 2**20 % 65521) << 16 | 1
    return b"\x78\xda" + block * mebibytes + packer.flush() + checksum.to_bytes(4, "big")


def png(side: int, *chunks: bytes) -> bytes:
    """Black, a bit per pixel."""
    rows = zlib.compress(bytes(side * (1 + -(-side // 8))), 9)
    head = chunk(b"IHDR", side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(30_000), "bomb.png has more than 100000000 pixels"),
        (png(8, chunk(b"zTXt", b"a\0\0" + compress_zeros(2**8))), "bomb.png"),
    ],
)
def test_an_image_that_unfolds_is_refused_and_the_rest_is_checked(
    run: Run, tmp_path: Path, content: bytes, words: str, sandboxed: None, warm_children: None
) -> None:
    """Some hundred kilobytes that stand for 900 million pixels, or hold 256 MB of text."""
    (tmp_path / "photos").mkdir()
    assert len(content) < 300_000
    (tmp_path / "photos/bomb.png").write_bytes(content)
    (tmp_path / "onnxspace.toml").write_text(
        "[check]\nimages = 2\n"
        '[check.artifacts.bombed]\nmodel = "good.onnx"\nagainst = "good.onnx"\nprobe = "photos"\n'
        '[check.artifacts.healthy]\nmodel = "good.onnx"\nagainst = "good.onnx"\n'
    )
    tracemalloc.start()
    code, out, err = run("--quiet", "--format", "json")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 2
    assert {one["name"]: one["outcome"] for one in json.loads(out)["verdicts"]} == {"bombed": "trouble", "healthy": "same"}
    assert words in err
    assert len(err.splitlines()) == 1
    assert most < 2**26


@pytest.mark.process
def test_a_child_that_ends_by_itself_is_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    for code, words in (
        ("kill -9 $$", r"x\.onnx was not opened, .* ended while it started \(signal 9\)\. Allow more memory"),
        ("exit 3", r"\(code 3\)"),
        (
            "echo '{\"ready\": true}'; read line; kill -9 $$",
            r"ended the process that read it \(signal 9\), probably out of memory",
        ),
    ):
        script.write_text(f"#!/bin/sh\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        with pytest.raises(ModelError, match=words):
            run_in_child("observe", {}, tmp_path, Limits(), "x.onnx")


@pytest.mark.process
def test_whatever_a_child_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/other\nsleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr("onnxspace.sandbox.worker.START_SECONDS", 1.0)
    with pytest.raises(ModelError, match="had not started after 1 seconds"):
        run_in_child("observe", {}, tmp_path, Limits(), "x.onnx")
    state = Path(f"/proc/{(tmp_path / 'other').read_text().strip()}/stat")
    for _ in range(1000):  # it was killed, but may not have had the processor since
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(state.read_text())


def test_limits_are_read() -> None:
    assert parse_limits("memory=4G,cpu=600,wall=300") == Limits(4 * 2**30, 600, 300)
    assert parse_limits("wall=5") == Limits(wall=5)
    for wrong in ("memory=4", "memory=1M", "cpu=0", "time=3", "wall=x", ""):
        with pytest.raises(ConfigError, match="--limits"):
            parse_limits(wrong)


@pytest.mark.process
def test_baselines_written_and_checked_from_the_command_line(
    run: Run, tmp_path: Path, warm_python: Path, monkeypatch: pytest.MonkeyPatch, sandboxed: None
) -> None:
    """The baseline by an interpreter that is started for it, and imports nothing from the current folder."""
    save(classifier(seed=1), tmp_path / "other.onnx")
    (tmp_path / "onnxspace.toml").write_text('[check]\nimages = 2\n[check.artifacts.net]\nmodel = "good.onnx"\n')
    (tmp_path / "torch.py").write_text("raise SystemExit('imported from the current folder')")
    (tmp_path / "baselines").mkdir()
    code, out, err = run("--update", "--quiet")
    assert (code, out) == (0, "wrote baselines/net.fp\n"), err
    monkeypatch.setattr(sys, "executable", str(warm_python))
    code, out, err = run("--quiet", "--format", "junit=report.xml", "--format", "markdown=report.md")
    assert code == 0, err
    assert out.splitlines()[-1] == "1 as expected"
    assert (tmp_path / "report.xml").exists()
    (tmp_path / "good.onnx").write_bytes((tmp_path / "other.onnx").read_bytes())
    code, out, err = run("--quiet", "--format", "github")
    assert code == 1, err
    assert out.startswith("::error file=good.onnx,title=onnxspace check%3A net::affinity:")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("good.onnx",),
            "Say what to compare with: onnxspace check good.onnx --against BASELINE, a model, a .fp file or ZOO.space:NAME",
        ),
        (
            ("old.onnx", "new.onnx"),
            "Say which is the baseline: onnxspace check new.onnx --against old.onnx checks new.onnx, and onnxspace check old.onnx",
        ),
        (("--against", "old.fp"), "Name the model to compare with old.fp: onnxspace check MODEL.onnx --against old.fp"),
        (("--limit", "affinity=1"), "These options need a model"),
        (("good.onnx", "--against", "good.onnx", "--limit", "affinity"), "is not of the form METRIC=NUMBER"),
        (
            ("good.onnx", "--against", "good.onnx", "--format", "html"),
            "there are json, junit, sarif, github, markdown",
        ),
        (("good.onnx", "--against", "good.onnx", "--format", "json", "--format", "junit"), "Only one of json and junit"),
        (("--calibrate", "--update"), "exclude each other"),
        (("--form", "half"), "--form needs --calibrate"),
        ((), "There is nothing to check"),
    ],
)
def test_bad_options_are_one_sentence(run: Run, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_the_pytest_plugin_fails_a_test_with_the_reason(
    pytester: pytest.Pytester, sandboxed: None, warm_children: None
) -> None:
    save(classifier(), pytester.path / "a.onnx")
    pytester.makepyfile(
        """
        def test_same(onnxspace_check):
            assert onnxspace_check("a.onnx", "a.onnx", images=2).measures["affinity"] > 0.999

        def test_other(onnxspace_check):
            onnxspace_check("a.onnx", "a.onnx", images=2, distinct=True)
        """
    )
    found = pytester.runpytest("-p", "no:cacheprovider")
    found.assert_outcomes(passed=1, failed=1)
    found.stdout.fnmatch_lines(["*a against a.onnx: mean cosine of attribution maps: 1, must be below 0.9*"])
