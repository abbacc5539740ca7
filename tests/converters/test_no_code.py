"""No file of PyTorch runs code: each payload would leave a marker, is refused by name, and runs where the user allows it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from onnxspace.errors import ModelError
from onnxspace.exporters import Request, Source
from onnxspace_converters.expressions import ExpressionError, check_guard, check_size_expression, is_name
from onnxspace_converters.from_torch import load_network
from onnxspace_converters.loaded_network import LoadedNetwork
from onnxspace_converters.program_files import is_known_operator
from tests.helpers import torchnets

Program = dict[str, Any]
BATCH = torch.export.Dim("batch", min=1, max=64)


def exported(path: Path) -> Path:
    """A plain exported program with an open batch."""
    made = torch.export.export(
        torchnets.plain(), (torch.randn(2, *torchnets.SHAPE),), dynamic_shapes=({0: BATCH},), strict=False
    )
    torch.export.save(made, path)
    return path


def changed(path: Path, change: Callable[[Program], None], members: dict[str, bytes] | None = None) -> Path:
    """The archive with its program changed, and further members."""
    with zipfile.ZipFile(path) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    (name,) = (each for each in content if each.endswith("models/model.json"))
    program = json.loads(content[name])
    change(program)
    content[name] = json.dumps(program).encode()
    folder = name.partition("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for each, held in (content | {f"{folder}/{key}": value for key, value in (members or {}).items()}).items():
            archive.writestr(each, held)
    return path


def graph_of(program: Program) -> Any:
    return program["graph_module"]["graph"]


def signature_of(program: Program) -> Any:
    return program["graph_module"]["module_call_graph"][0]["signature"]


def load(path: Path, **given: Any) -> LoadedNetwork:
    return load_network(Source(str(path)), Request(input=torchnets.SHAPE, **given))


def run(network: LoadedNetwork) -> None:
    network.forward(torch.randn(1, *network.shape).numpy())


def in_guard(code: str, program: Program) -> None:
    program["guards_code"].append(f"{code} is None")


def in_size(code: str, program: Program) -> None:
    sizes = [size for value in graph_of(program)["tensor_values"].values() for size in value["sizes"] if "as_expr" in size]
    sizes[0]["as_expr"]["expr_str"] = f"Symbol({code} and 's77')"


def in_placeholder(code: str, program: Program) -> None:
    """A name that ends the generated function's arguments."""
    (last,) = (each for each in graph_of(program)["inputs"] if each["as_tensor"]["name"] == "input")
    last["as_tensor"]["name"] = f"x={code}"


def in_argument_names(code: str, program: Program) -> None:
    signature_of(program)["forward_arg_names"] = [f"x={code}"]


def in_structure(code: str, program: Program) -> None:
    """Torch imports the module of an enumeration to learn its members."""
    inner = json.dumps([{"__enum__": True, "fqn": "marking:Kind", "name": "a"}])
    tree = {"type": "builtins.dict", "context": inner, "children_spec": [{"type": None, "context": None, "children_spec": []}]}
    signature_of(program)["out_spec"] = json.dumps([1, tree])


def in_operator(code: str, program: Program) -> None:
    path = code.split("'")[1]
    node = graph_of(program)["nodes"][0]
    node["target"] = "torch.os.system"
    node["inputs"] = [{"name": "", "arg": {"as_string": f"touch {path}"}, "kind": 1}]


PAYLOADS = {
    "guard": (in_guard, "the condition"), "size": (in_size, "the expression"), "placeholder": (in_placeholder, "the name"),
    "arguments": (in_argument_names, "the name of an argument"), "structure": (in_structure, "the structure of outputs"),
    "operator": (in_operator, "the operator 'torch.os.system'"),
}  # fmt: skip


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that code in a model makes; also the module `marking` makes it when it is imported."""
    path = tmp_path / "marker"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/marking.py").write_text(f"open({str(path)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    return path


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_program_with_code_is_refused(name: str, tmp_path: Path, marker: Path) -> None:
    payload, words = PAYLOADS[name]
    path = changed(exported(tmp_path / "net.pt2"), lambda program: payload(f"open('{marker}','w')", program))
    with pytest.raises(ModelError, match=rf"net.pt2 has {words}.*can run code. If you trust it, add --allow-code."):
        run(load(path))
    assert not marker.exists()


@pytest.mark.parametrize("conditions", [None, True, 3, "x", {"a": "b"}, [["a", "b"]], [None]], ids=str)
def test_conditions_that_are_no_texts_are_damage(conditions: Any, tmp_path: Path) -> None:
    path = changed(exported(tmp_path / "net.pt2"), lambda program: program.update(guards_code=conditions))
    with pytest.raises(
        ModelError, match=r"net.pt2 is damaged: its conditions are not a list of texts\. Export or copy it again\."
    ):
        load(path)


def test_what_is_found_when_the_module_is_made_is_damage(tmp_path: Path) -> None:
    """Torch reads the conditions when it makes the module of a program, not when it reads the program."""
    path = changed(exported(tmp_path / "net.pt2"), lambda program: program.update(guards_code=["x3 <"]))
    with pytest.raises(ModelError, match=r"net.pt2 can't be read as an exported program \(.*\)\. Export or copy it again\."):
        load(path, allow_code=True)


@pytest.mark.parametrize("name", ["guard", "size", "structure"])
def test_the_payloads_would_run(name: str, tmp_path: Path, marker: Path) -> None:
    """Otherwise the test before this one would show nothing; the other payloads are stopped by the current Torch, but not by every one."""
    path = changed(exported(tmp_path / "net.pt2"), lambda program: PAYLOADS[name][0](f"open('{marker}','w')", program))
    with suppress(Exception):  # the rest of the program no longer fits
        run(load(path, allow_code=True))
    assert marker.exists()


@pytest.mark.parametrize(
    "kind", [("aotinductor", "data/aotinductor/model/code.so"), ("object", "data/constants/opaque_obj_0.bin/x")]
)
def test_a_program_with_compiled_code_is_refused(kind: tuple[str, str], tmp_path: Path) -> None:
    path = changed(exported(tmp_path / "net.pt2"), lambda program: None, {kind[1]: b"\x7fELF"})
    with pytest.raises(ModelError, match=r"net.pt2 has the member .*--allow-code"):
        load(path)


def test_text_that_torch_only_keeps_is_not_run(tmp_path: Path, marker: Path) -> None:
    def note(program: Program) -> None:
        for node in graph_of(program)["nodes"]:
            node["metadata"]["stack_trace"] = f"File x\n    open('{marker}','w')\nopen('{marker}','w')"
            node["metadata"]["custom"] = json.dumps({"a": f"open('{marker}','w')"})

    run(load(changed(exported(tmp_path / "net.pt2"), note)))
    assert not marker.exists()


@pytest.mark.parametrize("make", [torchnets.plain, torchnets.Attending])
def test_plain_programs_and_scripts_pass(make: Callable[[], torch.nn.Module], tmp_path: Path) -> None:
    module, image = make().eval(), torch.randn(2, *torchnets.SHAPE)
    torch.export.save(torch.export.export(module, (image,), dynamic_shapes=({0: BATCH},)), tmp_path / "net.pt2")
    torch.jit.save(torch.jit.script(module), tmp_path / "script.pt")
    torch.jit.save(torch.jit.trace(module, image, check_trace=False), tmp_path / "trace.pt")  # type: ignore[no-untyped-call]
    for name in ("net.pt2", "script.pt", "trace.pt"):
        run(load(tmp_path / name))


class Saving(torch.nn.Module):
    """Writes its input to a file when it runs."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x


class Reading(torch.nn.Module):
    """Reads a file when it runs."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file(self.path, False, 1)


class Restoring(torch.nn.Module):
    """Writes a file when it is read."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), state[0])


SCRIPTS = {
    "save": (Saving, "the operator aten::save"), "from_file": (Reading, "the operator aten::from_file"),
    "setstate": (Restoring, "code that is run while it is read"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_touches_files_is_refused(name: str, tmp_path: Path) -> None:
    kind, words = SCRIPTS[name]
    marker, path = tmp_path / "marker", tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(kind(str(marker))), path)
    with pytest.raises(ModelError, match=rf"net.pt has {words}.*If you trust it, add --allow-code."):
        run(load(path))
    assert not marker.exists()
    if name == "from_file":
        marker.write_bytes(bytes(4))
    run(load(path, allow_code=True))
    assert marker.exists()


def test_a_script_with_a_compiled_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    linear = torch.ao.nn.quantized.Linear(4, 4)  # type: ignore[no-untyped-call]
    torch.jit.save(torch.jit.script(linear), path)
    with pytest.raises(ModelError, match=r"net.pt has .*--allow-code"):
        load(path)


@pytest.mark.parametrize(
    "named", ["__torch__.torch.classes.quantized\nLinearPackedParamsBase", "posix\nsystem", "torch.distributed.rpc\nRRef"]
)
def test_a_script_whose_pickle_names_other_objects_is_refused(named: str, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torchnets.plain()), tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    (name,) = (each for each in content if each.endswith("/data.pkl"))
    content[name] = b"\x80\x02c" + named.encode() + b"\n)\x81."
    with zipfile.ZipFile(tmp_path / "net.pt", "w") as archive:
        for each, held in content.items():
            archive.writestr(each, held)
    words = re.escape(named.replace("\n", " "))
    with pytest.raises(ModelError, match=rf"net.pt has the object '{words}', .*--allow-code"):
        load(tmp_path / "net.pt")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    """Torch's reader and Python's could take another one each."""
    path = exported(tmp_path / "net.pt2")
    with zipfile.ZipFile(path) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("models/model.json"))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "{}")
    with pytest.raises(ModelError, match="two of its members have the same name"):
        load(path)


HARMFUL = (
    "__import__('os').system('x')", "Symbol('x').__class__", "exec('x')", "Symbol(exec('x'))", "Symbol('a', cls=exec('1'))",
    "[x for x in ()]", "(lambda: 1)()", "9**9**9", "Integer(9)**Integer(10**9)", "Pow(Integer(9), Pow(Integer(9), Integer(99)))",
    "Symbol('a; import os')", "Max(*[1])", "f'{1}'", "a.b", "Float('1e9999999')", "Symbol('s0', positive=exec('1'))", "s0 if s0 else s1",
    "L.x", "math", "math.prod(s0)", "torch.os", "L['x)\\n']", "(s0 := 1)", "L['x'].size(9)", "s0" + "+1" * 20_000, "1" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("text", HARMFUL)
def test_expressions_that_are_more_than_arithmetic_are_refused(text: str) -> None:
    for check in (check_size_expression, check_guard):
        with pytest.raises(ExpressionError):
            check(text)


def test_expressions_of_sizes_pass() -> None:
    for text in (
        "s0", "4*s0 + 1", "(s0 + 2)//3", "Min(Integer(768), Mul(Integer(768), Symbol('s77', positive=True, integer=True)))",
        "Pow(Symbol('s0'), Integer(-1))", "Float('1.5', precision=53)", "Rational(1, 2)", "Eq(s0, 3)", "FloorDiv(s0, 2)",
    ):  # fmt: skip
        check_size_expression(text)
    for text in (
        "L['x'].size()[0] % 2 == 0",
        "L['args'][0].size()[0] <= 7 and 2 != L['x'].stride()[1]",
        "math.ceil(s0 / 2) == 3",
    ):
        check_guard(text)


def test_names_and_operators() -> None:
    assert [is_name(text) for text in ("conv2d_1", "relu__1", "x): import os", "lambda", "__class__", "a b", "")] == [
        True
    ] * 2 + [False] * 5
    assert is_known_operator("torch.ops.aten.relu.default")
    assert is_known_operator("_operator.floordiv")
    refused = (
        "torch.os.system", "torch.ops.aten.from_file.default", "torch.ops.aten.relu.__class__", "torch.ops.image.write_file.default",
        "torch.ops.load_library", "torch.hub.load", "_operator.attrgetter", "_operator.call", "torch.ops.aten.none_such.default",
        "torch.ops.aten.relu.overloads", "#ns:op", "math.dist.__class__",
    )  # fmt: skip
    assert not any(map(is_known_operator, refused))
