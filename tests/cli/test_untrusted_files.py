"""Untrusted files: each is refused in one line that names it and the way out, and the rest is done."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.helpers import nets
from tests.helpers.sentences import Cli, assert_sentence, parsed, refused

NASTY = "x\n\x1b[31m\u202ey\u2028"
WEIGHTS = nets.classifier_weights()


def node(kind: str, inputs: list[str], *outputs: str, **said: str) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, list(outputs), **said)


def conv(source: str = "image") -> onnx.NodeProto:
    return node("Conv", [source, "kernel"], "conv")


def after_conv(*start: onnx.NodeProto, weights: list[TensorProto] | None = None, **parts: object) -> onnx.ModelProto:
    """The classifier with other nodes in the place of its Conv."""
    nodes = [*start, *nets.classifier_nodes()[1:]]
    return nets.model(nodes, WEIGHTS if weights is None else weights, **parts)  # type: ignore[arg-type]


def without_conv_and_relu(*start: onnx.NodeProto, **parts: object) -> onnx.ModelProto:
    return nets.model([*start, *nets.classifier_nodes()[2:]], WEIGHTS, **parts)  # type: ignore[arg-type]


def with_kernel(values: float) -> onnx.ModelProto:
    kernel = nets.constant("kernel", np.full((4, 3, 3, 3), values))
    return nets.model(nets.classifier_nodes(), [kernel, nets.constant("shift", np.zeros(4)), WEIGHTS[2]])


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    proto = nets.plain_classifier()
    change(proto)
    return proto


def with_dims(*dims: int, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    proto = nets.plain_classifier()
    kernel = proto.graph.initializer[0]
    kernel.ClearField("dims")
    kernel.dims.extend(dims)
    kernel.data_type = kind
    return proto


def external(dims: tuple[int, ...] = (4, 3, 3, 3), **said: str) -> onnx.ModelProto:
    proto = with_dims(*dims)
    kernel = proto.graph.initializer[0]
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    for key, text in said.items():
        kernel.external_data.add(key=key, value=text)
    return proto


def with_functions(levels: int) -> onnx.ModelProto:
    """A function that calls another twice, and so on: 2 to the power of `levels` nodes."""
    opsets = [helper.make_opsetid("", nets.OPSET), helper.make_opsetid("own", 1)]
    proto = after_conv(node("F0", ["image"], "x", domain="own"), conv("x"), opsets={"own": 1})
    for level in range(levels):
        inner = f"F{level + 1}"
        calls = [node(inner, ["a"], "t", domain="own"), node(inner, ["t"], "b", domain="own")]
        body = calls if level + 1 < levels else [node("Relu", ["a"], "b")]
        proto.functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], body, opsets))
    return proto


def calling_itself() -> onnx.ModelProto:
    opsets = [helper.make_opsetid("", nets.OPSET), helper.make_opsetid("own", 1)]
    proto = after_conv(node("F", ["image"], "x", domain="own"), conv("x"), opsets={"own": 1})
    proto.functions.append(helper.make_function("own", "F", ["a"], ["b"], [node("F", ["a"], "b", domain="own")], opsets))
    return proto


def not_utf8(name: bytes) -> bytes:
    return nets.plain_classifier().SerializeToString().replace(name, b"\xff" * len(name))


UNREADABLE: dict[str, tuple[bytes | onnx.ModelProto, str]] = {
    "text": (b"These are not the weights.\n" * 9, "is not an ONNX file"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not an ONNX file"),
    "empty": (b"", "is empty"),
    "random": (np.random.default_rng(0).bytes(3000), "is not an ONNX file"),
    "no graph": (onnx.ModelProto(ir_version=8), "contains no graph"),
    "no outputs": (changed(lambda m: m.graph.ClearField("output")), "contains no graph"),
    "no opset": (changed(lambda m: m.ClearField("opset_import")), "declares no opset"),
    "opset of tomorrow": (changed(lambda m: setattr(m.opset_import[0], "version", 999)), "opset 999"),
    "opset zero": (changed(lambda m: setattr(m.opset_import[0], "version", 0)), "opset 0"),
    "format of tomorrow": (changed(lambda m: setattr(m, "ir_version", 999)), "version 999 of the ONNX format"),
    "name not text": (not_utf8(b"active"), "not UTF-8"),
    "operator not text": (not_utf8(b"Relu"), "not UTF-8"),
    "cycle": (
        without_conv_and_relu(conv(), node("Add", ["conv", "back"], "active"), node("Relu", ["active"], "back")),
        "cycle",
    ),
    "own input": (without_conv_and_relu(conv(), node("Add", ["conv", "active"], "active")), "cycle"),
    "twice made": (
        without_conv_and_relu(conv(), node("Relu", ["conv"], "active"), node("Tanh", ["conv"], "active")),
        "'active' is defined twice",
    ),
    "twice stored": (after_conv(conv(), weights=[*WEIGHTS, WEIGHTS[0]]), "'kernel' is defined twice"),
    "image overwritten": (
        without_conv_and_relu(node("Conv", ["image", "kernel"], "image"), node("Relu", ["image"], "active")),
        "'image' is defined twice",
    ),
    "never made": (after_conv(node("Conv", ["image", "nowhere"], "conv")), "'nowhere' is used but never defined"),
    "output never made": (
        nets.model(nets.classifier_nodes(), WEIGHTS, outputs=[nets.value("elsewhere", None)]),
        "'elsewhere' is used but never defined",
    ),
    "node without output": (after_conv(conv(), node("Relu", ["conv"])), "has no output"),
    "function calls itself": (calling_itself(), "functions"),
    "function bomb": (with_functions(40), "expand to more than"),
    "more promised": (with_dims(4, 3, 3, 300), "fewer or more values"),
    "less promised": (with_dims(4, 3, 3, 2), "fewer or more values"),
    "beyond 2**63": (with_dims(2**62, 2**62, 3, 3), "fewer or more values"),
    "negative size": (with_dims(-4, -3, 3, 3), "negative size"),
    "unknown element type": (with_dims(4, 3, 3, 3, kind=999), "element type 999"),
    "texts promised": (with_dims(4, 3, 3, 3, kind=TensorProto.STRING), "fewer or more values"),
    "data absolute": (external(location="/etc/passwd"), "outside the model's folder"),
    "data above": (external(location="../data.bin"), "outside the model's folder"),
    "data above, Windows": (external(location="..\\data.bin"), "outside the model's folder"),
    "data on a drive": (external(location="C:\\data.bin"), "outside the model's folder"),
    "data behind a link": (external(location="link.bin"), "outside the model's folder"),
    "data behind a linked folder": (external(location="linked/data.bin"), "outside the model's folder"),
    "data nowhere": (external(), "names no file for its external data"),
    "data with NUL": (external(location="a\0b"), "names no file for its external data"),
    "data missing": (external(location="gone.bin"), "'gone.bin'"),
    "data is a folder": (external(location="folder"), "not a regular file"),
    "data is a pipe": (external(location="pipe"), "not a regular file"),
    "no data from a pipe": (external((0, 3, 3, 3), location="pipe"), "not a regular file"),
    "offset negative": (external(location="data.bin", offset="-4"), "has a negative offset"),
    "offset huge": (external(location="data.bin", offset=str(10**30)), "which has only 432"),
    "offset too far": (external(location="data.bin", offset="4"), "which has only 432"),
    "offset of 5000 digits": (external(location="data.bin", offset="9" * 5000), "is not a number"),
    "length not a number": (external(location="data.bin", length="many"), "is not a number"),
    "length too large": (external(location="data.bin", length="999999"), "its shape needs 432"),
    "rank 2": (
        nets.model([node("Gemm", ["image", "head"], "logits")], WEIGHTS, [nets.value("image", [1, 4])]),
        "no image input",
    ),
    "no rank": (nets.model(nets.classifier_nodes(), WEIGHTS, [nets.value("image", None)]), "no image input"),
    "no input": (nets.model([node("Relu", ["kernel"], "logits")], WEIGHTS, []), "no image input"),
    "four channels": (nets.plain_classifier(channels=4), "nothing says what the fourth is"),
    "two images": (
        after_conv(node("Add", ["image", "other"], "both"), conv("both"), inputs=[nets.image(), nets.image(name="other")]),
        "several images (image, other)",
    ),
    "which axis": (
        nets.model(
            [node("Flatten", ["image"], "flat"), node("Gemm", ["flat", "wide"], "logits")],
            [nets.weight("wide", 144, 4)],
            [nets.value("image", [1, 3, 16, 3])],
        ),
        "holds the channels",
    ),
    "image too large": (nets.plain_classifier(size=100_000), "100000×100000 pixels"),
    "untrained": (nets.model([node("GlobalAveragePool", ["image"], "logits")]), "nothing to explain"),
    "nasty names": (
        after_conv(node("Conv", [NASTY, "kernel"], "conv"), inputs=[nets.image(4, name=NASTY)]),
        "4 channels (x ?[31m?y ",
    ),
}

UNSCORABLE: dict[str, tuple[onnx.ModelProto, str]] = {
    "unknown operator": (after_conv(node("Frobnicate", ["image"], "x"), conv("x")), "Frobnicate (x) is unknown"),
    "unknown domain": (after_conv(node("Magic", ["image"], "x", domain="acme"), conv("x"), opsets={"acme": 1}), "'acme'"),
    "nasty operator": (after_conv(node(f"Fro{NASTY}b", ["image"], "x"), conv("x")), "is unknown"),
    "no such function": (after_conv(node("F", ["image"], "x", domain="own"), conv("x"), opsets={"own": 1}), "'own'"),
    "second input": (
        after_conv(node("Mul", ["image", "factor"], "x"), conv("x"), inputs=[nets.image(), nets.value("factor", [1])]),
        "factor besides the image",
    ),
    "six channels": (nets.plain_classifier(channels=6), "takes images of 6 channels, but the probe images have 3"),
    "wrong shape": (nets.model(nets.classifier_nodes(), nets.classifier_weights(channels=5)), "ONNX Runtime"),
    "missing input": (after_conv(node("Identity", [], "x"), node("Sub", ["image", "x"], "y"), conv("y")), "ONNX Runtime"),
    "missing attribute": (after_conv(node("If", ["image"], "x"), conv("x")), "If (x) lacks its attribute 'else_branch'"),
    "NaN weights": (with_kernel(np.nan), "NaN or infinity"),
    "infinite weights": (with_kernel(np.inf), "NaN or infinity"),
    "overflowing weights": (with_kernel(3e38), "NaN or infinity"),
    "zero weights": (with_kernel(0), "every map is zero"),
}


def place(name: str, content: bytes | onnx.ModelProto) -> str:
    """A file of this name with everything that its external data may point at; gives its path."""
    path = Path(f"{name.replace(' ', '-')}.onnx")
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    Path("data.bin").write_bytes(bytes(432))
    Path("folder").mkdir()
    Path("linked").symlink_to("folder")
    Path("folder/data.bin").write_bytes(bytes(432))
    Path("link.bin").symlink_to("data.bin")
    os.mkfifo("pipe")
    return str(path)


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_model(cli: Cli, name: str) -> None:
    content, phrase = UNREADABLE[name]
    path = place(name, content)
    refused(cli("inspect", path), path, phrase)


@pytest.mark.parametrize("name", [*UNREADABLE, *UNSCORABLE])
def test_one_bad_model_among_good_ones(cli: Cli, name: str) -> None:
    content, phrase = (UNREADABLE | UNSCORABLE)[name]
    path = place(name, content)
    found = cli("score", "good.onnx", path, "fine.onnx", "--images", "2", "--quiet", "--json")
    assert found.code == 2
    assert_sentence(found.err, path, phrase)
    said = parsed(found.out)
    assert [model["name"] for model in said["models"]] == ["good", "fine"]
    assert [failure["path"] for failure in said["failed"]] == [path]


PATHS = {
    "gone.onnx": "no such file",
    "gone/x.onnx": "no such file",
    "folder": "is a folder",
    "zoo.space": "is a model space",
    ".": "contains several ONNX files",
    "/": "is a folder",
    "": "contains several ONNX files",
    "pipe": "not a regular file",
    "/dev/zero": "not a regular file",
    "good.onnx/x.onnx": "can't be read",
    "x" * 300 + ".onnx": "can't be read",
}


@pytest.mark.parametrize("path", PATHS)
def test_path_that_is_no_file(cli: Cli, path: str) -> None:
    place("unused", b"")
    Path("zoo.space").mkdir()
    Path("zoo.space/catalogue.sqlite").touch()
    refused(cli("inspect", path), path, PATHS[path])
    found = cli("score", path, "good.onnx", "--images", "2", "--quiet", "--json")
    assert found.code == 2
    assert [failure["path"] for failure in parsed(found.out)["failed"]] == [str(Path(path))]


def test_longest_name_that_a_file_can_have(cli: Cli) -> None:
    path = "x" * 250 + ".onnx"
    nets.save(nets.plain_classifier(), Path(path))
    assert cli("inspect", path).code == 0


def test_truncated_anywhere(cli: Cli) -> None:
    whole = nets.plain_classifier().SerializeToString()
    for length in range(0, len(whole), 7):
        Path("cut.onnx").write_bytes(whole[:length])
        refused(cli("inspect", "cut.onnx"), "cut.onnx")


def test_damaged_anywhere(cli: Cli) -> None:
    whole, dice = nets.plain_classifier().SerializeToString(), random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        Path("damaged.onnx").write_bytes(damaged)
        found = cli("inspect", "damaged.onnx")
        if found.code != 0:
            refused(found, "damaged.onnx")


def test_unknown_operator_above_the_encoder_is_fine(cli: Cli) -> None:
    nodes = [*nets.classifier_nodes()[:-1], node("Gemm", [nets.FEATURES, "head"], "last")]
    proto = nets.model([*nodes, node("Magic", ["last"], "logits", domain="acme")], WEIGHTS, opsets={"acme": 1})
    nets.save(proto, Path("magic.onnx"))
    found = cli("score", "magic.onnx", "good.onnx", "--images", "2", "--quiet")
    assert (found.code, found.err) == (0, "")


def test_nasty_names_print_as_one_line(cli: Cli) -> None:
    first = node("Conv", ["image", "kernel"], NASTY)
    nets.save(without_conv_and_relu(first, node("Relu", [NASTY], "active")), Path("nasty\x1b[31m.onnx"))
    for text in (cli("inspect", "nasty\x1b[31m.onnx"), cli("score", "nasty\x1b[31m.onnx", "good.onnx", "--images", "2")):
        assert text.code == 0
        assert "\x1b" not in text.out + text.err
        assert "\u202e" not in text.out + text.err
    assert cli("inspect", "nasty\x1b[31m.onnx", "--json").out.isascii()


def test_file_name_that_is_not_text(cli: Cli) -> None:
    path = "odd\udcff.onnx"
    nets.save(nets.plain_classifier(), Path(path))
    found = cli("score", path, "good.onnx", "--images", "2", "--quiet", "--json", "--output", "kept")
    assert found.code == 0
    assert parsed(found.out)["models"][0]["path"] == path
    assert parsed(Path("kept/score.json").read_text())["models"][0]["name"] == "odd\\udcff"


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and whose pixels are missing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
