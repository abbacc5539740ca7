"""Random changes of files: of bytes, of the messages in an ONNX file, of values in JSON, of a table's and a database's cells."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

NUMBERS = (0, 1, -1, 2, 3, 7, 64, 255, 256, 65_536, 2**24, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63))
TEXTS = (
    "", "x", "=1+1", "\x1b[31mred", "a\nb", "\u202eabc", "é", "../../x", "/dev/zero", "a" * 5000, "nan", "-1", "null", "{}", "'", '"',
    "${HOME}", "%s%n", "__class__", "auto", "\x00",
)  # fmt: skip
FLOATS = (0.0, -0.0, 1e-45, -1.0, 1e38, 1e308, float("inf"), float("-inf"), float("nan"))
Change = Callable[[bytes, random.Random], bytes]


def change_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to eight small changes: flipped bits, other bytes, cuts, repeats, a shorter file."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if not found:
            break
        at, length = rng.randrange(len(found)), rng.randint(1, 32)
        kind = rng.randrange(6)
        if kind == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            found[at] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            found[at:at] = found[at : at + length]
        elif kind == 4:
            found[at : at + length] = rng.choice(NUMBERS).to_bytes(8, "little", signed=True)[: rng.choice((1, 2, 4, 8))]
        elif rng.random() < 0.2:
            del found[at:]
    return bytes(found)


def change_text(content: bytes, rng: random.Random) -> bytes:
    """Words and numbers replaced by others, lines left out or repeated; sometimes bytes."""
    if rng.random() < 0.3:
        return change_bytes(content, rng)
    lines = content.decode("utf-8", "replace").split("\n")
    at = rng.randrange(len(lines))
    cells = re.split(r"([,\s=]+)", lines[at])  # words at even places, what is between them at odd ones
    cells[2 * rng.randrange((len(cells) + 1) // 2)] = rng.choice(
        (*TEXTS, *map(str, NUMBERS), *map(str, FLOATS), "[1, 2]", "{a = 1}", '"x"')
    )
    lines[at] = "".join(cells)
    if rng.random() < 0.3:
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def change_json(content: bytes, rng: random.Random) -> bytes:
    """One to three values replaced by others, members left out or repeated; sometimes bytes."""
    if rng.random() < 0.2:
        return change_bytes(content, rng)
    tree = json.loads(content)
    for _ in range(rng.randint(1, 3)):
        tree = _change_value(tree, rng)
    return json.dumps(tree).encode()


def _change_value(value: Any, rng: random.Random) -> Any:
    if isinstance(value, (dict, list)) and value and rng.random() < 0.93:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = rng.choice(keys)
        if rng.random() < 0.08:
            del value[key]
        else:
            value[key] = _change_value(value[key], rng)
        return value
    others: tuple[Any, ...] = (
        None,
        True,
        False,
        [],
        {},
        [[]],
        {"a": 1},
        rng.choice(NUMBERS),
        rng.choice(FLOATS),
        rng.choice(TEXTS),
        [value],
        {"a": value},
    )
    return rng.choice(others)


def change_archive(content: bytes, rng: random.Random, folder: Path) -> bytes:
    """A zip archive with one of its members changed, left out or added; sometimes bytes."""
    if rng.random() < 0.2:
        return change_bytes(content, rng)
    source = folder / "archive"
    source.write_bytes(content)
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice([each for each in members if each.endswith(".json")] if rng.random() < 0.8 else list(members))
    if rng.random() < 0.1:
        del members[name]
    else:
        change: Change = change_json if name.endswith(".json") else change_bytes
        members[name] = change(members[name], rng)
    with zipfile.ZipFile(source, "w") as archive:
        for each, held in members.items():
            archive.writestr(each, held)
    return source.read_bytes()


def change_database(content: bytes, rng: random.Random, folder: Path) -> bytes:
    """An SQLite file with one cell changed; often bytes."""
    if rng.random() < 0.6:
        return change_bytes(content, rng)
    source = folder / "database"
    source.write_bytes(content)
    with sqlite3.connect(source) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = rng.choice(tables)
        columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
        value = rng.choice(
            (None, rng.choice(NUMBERS), rng.choice(FLOATS), rng.choice(TEXTS), b"\xff\x00", json.dumps({"a": [1]}))
        )
        database.execute("PRAGMA ignore_check_constraints = 1")
        try:
            database.execute(f'UPDATE "{table}" SET "{rng.choice(columns)}" = ?', (value,))
        except sqlite3.Error:  # a constraint of the table
            return change_bytes(content, rng)
    database.close()
    return source.read_bytes()


def change_model(content: bytes, rng: random.Random) -> bytes:
    """An ONNX file with one to three changes of its graph; sometimes bytes."""
    if rng.random() < 0.15:
        return change_bytes(content, rng)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return change_bytes(content, rng)
    for _ in range(rng.randint(1, 3)):
        rng.choice((_change_attribute, _change_attribute, _change_node, _change_wiring, _change_weight, _change_header))(
            model, rng
        )
    return bytes(model.SerializeToString())


def _nodes(model: onnx.ModelProto) -> Any:
    holders = [model.graph, *model.functions]
    return next((h.node for h in reversed(holders) if h.node), model.graph.node) if len(holders) > 1 else model.graph.node


def _change_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = [node for node in (*model.graph.node, *(n for f in model.functions for n in f.node)) if node.attribute]
    defaults = [attribute for function in model.functions for attribute in function.attribute_proto]
    if not nodes and not defaults:
        return
    attribute = (
        rng.choice(defaults)
        if defaults and rng.random() < 0.3
        else rng.choice(rng.choice(nodes).attribute)
        if nodes
        else defaults[0]
    )
    kind = onnx.AttributeProto
    if attribute.type == kind.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == kind.INTS and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif attribute.type == kind.FLOAT:
        attribute.f = rng.choice((*FLOATS[:7], float("nan"))) if rng.random() < 0.9 else 1e38
    elif attribute.type == kind.STRING:
        attribute.s = rng.choice((*TEXTS, "SAME_UPPER", "linear", "cubic")).encode("utf-8", "surrogatepass")
    else:
        attribute.name = rng.choice(("axis", "axes", "group", "value", "perm", attribute.name))


_OPERATORS = (
    "Relu", "Conv", "ConvTranspose", "Gemm", "MatMul", "Reshape", "Flatten", "Transpose", "ReduceMean", "ReduceSum", "Resize", "Pad",
    "Expand", "Tile", "Range", "Loop", "If", "Gather", "Slice", "Split", "Softmax", "Attention", "Einsum", "OneHot", "EyeLike", "Div",
    "Mod", "TopK", "GridSample", "LSTM", "Cast", "NonZero", "Where", "RandomNormal", "ConstantOfShape", "MaxPool", "DFT", "Identity",
)  # fmt: skip


def _change_node(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = _nodes(model)
    if not len(nodes):
        return
    at, kind = rng.randrange(len(nodes)), rng.randrange(5)
    if kind == 0:
        nodes[at].op_type = rng.choice(_OPERATORS)
    elif kind == 1:
        nodes[at].domain = rng.choice(("", "ai.onnx", "com.microsoft", "local", "x"))
    elif kind == 2:
        nodes.add().CopyFrom(nodes[at])
    elif kind == 3 and len(nodes) > 1:
        del nodes[at]
    elif nodes[at].attribute:
        del nodes[at].attribute[rng.randrange(len(nodes[at].attribute))]


def _change_wiring(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = _nodes(model)
    names = [name for node in nodes for name in (*node.input, *node.output)] or ["x"]
    node = rng.choice(nodes) if len(nodes) else None
    if node is None:
        return
    place = node.input if rng.random() < 0.7 else node.output
    if place and rng.random() < 0.8:
        place[rng.randrange(len(place))] = rng.choice((*names, *names, "", rng.choice(TEXTS[:8]).replace("\x00", "")))
    else:
        place.append(rng.choice(names))


def _change_weight(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    kind = rng.randrange(4)
    if kind == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif kind == 1:
        tensor.data_type = rng.randrange(0, 26)
    elif kind == 2:
        tensor.raw_data = change_bytes(tensor.raw_data, rng)
    else:
        _change_number(tensor, rng)


def _change_number(tensor: onnx.TensorProto, rng: random.Random) -> None:
    try:
        values = numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError, KeyError):  # an earlier change broke it
        return
    if values.size and values.dtype.kind in "fiu":
        others: tuple[float, ...] = FLOATS[:5] if values.dtype.kind == "f" else (0, 1, 2, 100)
        values.reshape(-1)[rng.randrange(values.size)] = rng.choice(others)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _change_header(model: onnx.ModelProto, rng: random.Random) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        model.ir_version = rng.choice((0, 3, 8, 10, 99, 2**40))
    elif kind == 1 and model.opset_import:
        rng.choice(model.opset_import).version = rng.choice((0, 1, 7, 9, 11, 13, 17, 18, 20, 23, 99, -1))
    else:
        values = [*model.graph.input, *model.graph.output]
        shape = rng.choice(values).type.tensor_type.shape
        if shape.dim:
            rng.choice(shape.dim).dim_value = rng.choice(NUMBERS)
