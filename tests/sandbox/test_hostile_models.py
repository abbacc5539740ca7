"""Hostile models beside good ones, in worker processes: the good ones have the result that they have alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnxspace.sandbox.processors import count_processors
from tests.helpers.commands import Run
from tests.helpers.hostile import add_endless_loop
from tests.helpers.nets import Net
from tests.helpers.nets import save as save_model
from tests.sandbox.test_worker import is_running, wait_for_end

CLASSIFIERS = "ab"
LIMITS = "memory=1G,cpu=2,wall=40"


def scaled(part: str, net: Net, x: str) -> onnx.ModelProto:
    return finished(net, net.add("Mul", x, part))


def finished(net: Net, x: str) -> onnx.ModelProto:
    """A classifier on four channels, which is cut above them."""
    pooled = net.add("GlobalAveragePool", net.add("Relu", net.conv(x, 4, 3)))
    return net.model([net.dense(net.add("Flatten", pooled), 3, 2)])


def dividing() -> onnx.ModelProto:
    """A ConvTranspose in no groups."""
    net = Net((1, 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    return scaled(net.add("ReduceSum", net.add("ConvTranspose", x, net.random(4, 4, 1, 1), group=0), keepdims=0), net, x)


def greedy() -> onnx.ModelProto:
    """A tensor whose size depends on the image, so that no inference knows it: 2³² numbers and more."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    count = net.add(
        "Add", net.add("Cast", net.add("ReduceMax", x, keepdims=0), to=TensorProto.INT64), net.weight(np.array(2**32))
    )
    large = net.add("Expand", net.weight(np.float32([1])), net.add("Reshape", count, net.weight(np.array([1]))))
    return scaled(net.add("ReduceSum", net.add("Cos", large), keepdims=0), net, x)


def endless() -> onnx.ModelProto:
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = add_endless_loop(net, x)
    return finished(net, x)


def huge() -> onnx.ModelProto:
    """A tensor of 2³⁴ numbers, of which some are used."""
    net = Net()
    x = net.add("GlobalAveragePool", net.conv("image", 3, 4))
    x = net.add("Expand", x, net.weight(np.array([1, 4, 2**16, 2**16])))
    starts, ends, axes = (net.weight(np.array(numbers)) for numbers in ([0, 0], [8, 8], [2, 3]))
    return finished(net, net.add("Slice", x, starts, ends, axes))


HOSTILE = {
    "dividing": (dividing, "ended the process that read it (signal 8). Leave it out"),
    "greedy": (greedy, "memory"),
    "endless": (endless, "was stopped after 2 seconds of processor time"),
    "huge": (huge, "GiB that one tensor may have"),
}


@pytest.fixture
def hostile(place: Path) -> list[str]:
    """Files of each kind in the current folder, beside the good ones."""
    return [str(save_model(make(), place / f"{name}.onnx").name) for name, (make, _) in HOSTILE.items()]


def children() -> set[int]:
    """Processes whose parent is this one, of the kind that reads models."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                mine = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid()
                if mine and b"onnxspace.sandbox.child" in (folder / "cmdline").read_bytes():
                    found.add(int(folder.name))
            except OSError:
                continue
    return found


def test_the_good_models_have_their_result(run: Run, hostile: list[str], sandboxed: None, warm_children: None) -> None:
    alone = json.loads(run("score", "a.onnx", "b.onnx", "--images", "2", "--quiet", "--json")[1])
    before, start = children(), time.monotonic()
    code, out, err = run(
        "score",
        "a.onnx",
        *hostile,
        "b.onnx",
        "--images",
        "2",
        "--quiet",
        "--json",
        "--limits",
        LIMITS,
        "--encoder",
        "endless=t6",
    )
    assert time.monotonic() - start < 400
    assert code == 2
    found = json.loads(out)
    for name in ("models", "affinity", "rankings"):
        assert found.get(name) == alone.get(name)
    assert [failure["path"] for failure in found["failed"]] == hostile
    lines = err.splitlines()
    assert len(lines) == len(HOSTILE), err
    for line, (name, (_, sentence)) in zip(lines, HOSTILE.items(), strict=True):
        assert line.startswith(f"onnxspace: {name}.onnx ")
        assert sentence in line
        assert "Leave it out" in line
    assert len(children() - before) <= 2  # the workers that wait for the next call


COMMANDS = {
    "inspect": ("inspect", "dividing.onnx"),
    "explain": ("explain", "dividing.onnx", "image.png", "-o", "maps.png"),
    "fingerprint": ("fingerprint", "dividing.onnx", "-o", "dividing.fp", "--images", "2"),
    "layers": ("layers", "a.onnx", "dividing.onnx", "--images", "3"),
    "transfer": ("transfer", "a.onnx", "dividing.onnx", "--data", "photos", "--by", "knn"),
    "space add": ("space", "add", "zoo.space", "a.onnx", "dividing.onnx"),
    "check": ("check", "dividing.onnx", "--against", "a.onnx", "--images", "2"),
    "finetune": ("transfer", "a.onnx", "dividing.onnx", "--data", "photos", "--by", "finetune", "--workers", "1"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_dies(run: Run, place: Path, command: str, sandboxed: None, warm_children: None) -> None:
    from PIL import Image

    save_model(dividing(), place / "dividing.onnx")
    rng = np.random.default_rng(0)
    for number in range(12):
        file = place / f"photos/{'xy'[number % 2]}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(file)
    (place / "image.png").write_bytes((place / "photos/x/0.png").read_bytes())
    if command == "space add":
        assert run("space", "create", "zoo.space", "--images", "2")[0] == 0
    code, out, err = run(*COMMANDS[command], "--quiet") if command != "inspect" else run(*COMMANDS[command])
    assert code == (0 if command == "inspect" and "candidates" in out else 2), err
    assert code == 0 or "dividing.onnx ended the process that read it (signal 8)" in err
    if command == "transfer":
        assert "a " in out


def start_command(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "onnxspace", *arguments]
    # Tests that run in the background of a shell have SIGINT ignored, and so would their children.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed)


def children_of(parent: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                    found.append(int(folder.name))
    return found


def wait_for_children(parent: int, count: int) -> list[int]:
    """So many processes, which read models for a command."""
    for _ in range(3000):
        if len(found := children_of(parent)) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {count} children")


@pytest.mark.process
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_by_a_command_that_is_stopped(place: Path, how: signal.Signals) -> None:
    save_model(endless(), place / "endless.onnx")
    command = start_command("score", "a.onnx", "endless.onnx", "--images", "2", "--output", "kept", "--encoder", "endless=t6")
    both = wait_for_children(command.pid, min(2, count_processors()))
    time.sleep(4)
    assert all(map(is_running, both))
    command.send_signal(how)
    _, err = command.communicate(timeout=60)
    assert b"Traceback" not in err
    assert command.returncode == (130 if how == signal.SIGINT else 143 if how == signal.SIGTERM else -9)
    for child in both:
        wait_for_end(child)


_MEASURED = """import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "onnxspace", *sys.argv[1:]], capture_output=True, text=True)
most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([done.returncode, done.stdout, done.stderr, most * 1024]))
"""


def overlapping(folder: Path, kind: int, bytes_each: int, count: int) -> Path:
    """A classifier that uses `count` stored tensors of 16 MiB, which all lie in the same bytes of one sparse file."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    for number in range(count):
        total = net.add("ReduceSum", f"extra{number}", keepdims=0)
        x = net.add("Add", x, net.add("Cast", total, to=TensorProto.FLOAT))
    model = finished(net, x)
    for number in range(count):
        tensor = TensorProto(
            name=f"extra{number}", data_type=kind, dims=[2**24 // bytes_each], data_location=TensorProto.EXTERNAL
        )
        for key, value in (("location", "sparse.bin"), ("offset", 0), ("length", 2**24)):
            tensor.external_data.add(key=key, value=str(value))
        model.graph.initializer.append(tensor)
    with (folder / "sparse.bin").open("wb") as file:
        file.truncate(2**24)
    return save_model(model, folder / "overlapping.onnx")


@pytest.mark.parametrize(
    ("kind", "bytes_each", "count"),
    [
        pytest.param(TensorProto.FLOAT, 4, 70, id="single", marks=pytest.mark.exhaustive),
        pytest.param(TensorProto.FLOAT16, 2, 35, id="half"),
    ],
)
def test_tensors_that_share_their_bytes_stay_within_the_memory(
    run: Run, place: Path, kind: int, bytes_each: int, count: int
) -> None:
    """1.1 GiB of weights by their declarations; half precision is widened, which each tensor needs memory of its own for."""
    overlapping(place, kind, bytes_each, count)
    words = ["score", "a.onnx", "overlapping.onnx", "b.onnx", "--images", "2", "--quiet", "--json", "--limits", "memory=1G"]
    done = subprocess.run([sys.executable, "-c", _MEASURED, *words], cwd=place, capture_output=True, text=True, check=True)
    code, out, err, most = json.loads(done.stdout)
    found = json.loads(out)
    assert most < 1.25 * 2**30
    names = [model["name"] for model in found["models"]]
    if code == 0:
        assert names == ["a", "overlapping", "b"]
        plain = finished(*_plain())
        save_model(plain, place / "plain.onnx")
        _, twin, _ = run("score", "plain.onnx", "b.onnx", "--images", "2", "--quiet", "--json")
        assert found["affinity"][1][2] == pytest.approx(json.loads(twin)["affinity"][0][1], abs=1e-5)
    else:
        assert (code, names) == (2, ["a", "b"])
        sentence = " ".join(err.split())  # it is wrapped where it is longer than a line
        assert re.fullmatch(r"onnxspace: overlapping\.onnx .*memory.*--limits memory=\S*", sentence)


def _plain() -> tuple[Net, str]:
    """The classifier without its stored tensors, which are all zero."""
    net = Net()
    return net, net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
