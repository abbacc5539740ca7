"""Models that nobody vouches for, run in processes of their own: none hangs or ends the check."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxspace.checking.plan import Plan, single
from onnxspace.checking.run import check
from onnxspace.checking.sandbox import Limits, in_child, limits_from
from onnxspace.errors import ConfigError, ModelError
from tests.commands import Run, runner
from tests.networks import Net, classifier, save

pytest_plugins = ["pytester"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    save(classifier(), tmp_path / "good.onnx")
    return runner(capsys, "check")


def endless() -> onnx.ModelProto:
    """A Loop that ends after 2⁶² rounds."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Sin", ["x"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, None)],
        [value("again", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1, 1, 1, 1]))
    rounds, go = net.weight(np.array(2**62, np.int64)), net.weight(np.array(True))
    x = net.add("Loop", rounds, go, x, body=body)
    return net.model([net.conv(x, 4, 2)])


def greedy() -> onnx.ModelProto:
    """A few hundred bytes that ask for a tensor of 2⁴⁰ numbers."""
    net = Net()
    shape = net.weight(np.array([1, 2**20, 2**10, 2**10], np.int64))
    large = net.add("ConstantOfShape", shape, value=numpy_helper.from_array(np.zeros(1, np.float32)))
    x = net.add("Relu", net.conv("image", 3, 4))
    return net.model([net.add("Add", x, net.add("ReduceSum", large, keepdims=0))])


def test_an_endless_loop_is_stopped(tmp_path: Path) -> None:
    path = str(save(endless(), tmp_path / "endless.onnx"))
    found = check(Plan(single([path], path, {}, False, None), images=1), Limits(cpu=8))
    assert found[0].outcome == "trouble"
    assert "endless.onnx was stopped after 8 seconds of processor time" in str(found[0].error)


def test_hostile_models_are_stopped_and_the_rest_is_checked(run: Run, tmp_path: Path) -> None:
    """A demand for terabytes, external data behind a symlink, and what is no model at all."""
    save(greedy(), tmp_path / "greedy.onnx")
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    linked = classifier()
    onnx.save(linked, tmp_path / "linked.onnx", save_as_external_data=True, location="linked.bin", size_threshold=0)
    (tmp_path / "linked.bin").unlink()
    (tmp_path / "linked.bin").symlink_to(tmp_path / "secret")
    (tmp_path / "broken.onnx").write_bytes(os.urandom(200))
    models = ["greedy.onnx", "linked.onnx", "broken.onnx", "good.onnx"]
    bounds = ("--images", "2", "--limits", "memory=6G")
    code, out, err = run(*models, "--against", "good.onnx", *bounds, "--format", "json", "--quiet")
    assert code == 2
    outcomes = {one["name"]: one["outcome"] for one in json.loads(out)["verdicts"]}
    assert outcomes == {"greedy": "trouble", "linked": "trouble", "broken": "trouble", "good": "same"}
    lines = err.splitlines()
    assert len(lines) == 3, err
    assert all(f"{name}.onnx" in line for name, line in zip(("greedy", "linked", "broken"), lines, strict=True))
    assert "memory" in lines[0]


def test_a_child_that_ends_by_itself_is_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    for code, words in (
        ("kill -9 $$", "ended the process that read it, probably for want of memory"),
        ("exit 3", r"\(code 3\)"),
    ):
        script.write_text(f"#!/bin/sh\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        with pytest.raises(ModelError, match=words):
            in_child("observe", {}, tmp_path, Limits(), "x.onnx")


def test_whatever_a_child_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/other\nsleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(ModelError, match="was stopped after 1 seconds"):
        in_child("observe", {}, tmp_path, Limits(wall=1), "x.onnx")
    state = Path(f"/proc/{(tmp_path / 'other').read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_limits_are_read() -> None:
    assert limits_from("memory=4G,cpu=600,wall=300") == Limits(4 * 2**30, 600, 300)
    assert limits_from("wall=5") == Limits(wall=5)
    for wrong in ("memory=4", "memory=1M", "cpu=0", "time=3", "wall=x", ""):
        with pytest.raises(ConfigError, match="--limits"):
            limits_from(wrong)


def test_baselines_written_and_checked_from_the_command_line(run: Run, tmp_path: Path) -> None:
    save(classifier(seed=1), tmp_path / "other.onnx")
    (tmp_path / "onnxspace.toml").write_text('[check]\nimages = 2\n[check.artifacts.net]\nmodel = "good.onnx"\n')
    (tmp_path / "torch.py").write_text("raise SystemExit('imported from the current folder')")
    (tmp_path / "baselines").mkdir()
    code, out, err = run("--update", "--quiet")
    assert (code, out) == (0, "wrote baselines/net.fp\n"), err
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
        (("good.onnx",), "a model and --against go together"),
        (("--limit", "affinity=1"), "these options go with a model"),
        (("good.onnx", "--against", "good.onnx", "--limit", "affinity"), "is no METRIC=NUMBER"),
        (("good.onnx", "--against", "good.onnx", "--format", "html"), "is none of json, junit, sarif, github, markdown"),
        (("good.onnx", "--against", "good.onnx", "--format", "json", "--format", "junit"), "only one of json and junit"),
        (("--calibrate", "--update"), "are two things"),
        (("--form", "half"), "--form goes with --calibrate"),
        ((), "Nothing says what to check"),
    ],
)
def test_bad_options_are_one_sentence(run: Run, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_the_pytest_plugin_fails_a_test_with_the_reason(pytester: pytest.Pytester) -> None:
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
