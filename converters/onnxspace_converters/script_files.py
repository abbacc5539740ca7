"""What a TorchScript file may hold: operators of tensors and plain values; none that touches files, and none that runs while it is read.

A method `__setstate__` runs while Torch reads the file, and objects of C++ classes restore themselves. Both are refused before.
All other code runs after its operators have been compared with a list.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from onnxspace.errors import ModelError
from onnxspace_converters.program_files import FILE_OPERATORS

_MEMBERS = re.compile(
    r"code/[\w./-]+\.py(\.debug_pkl)?|(data|constants|attributes|tensors|traced_inputs)/[\w.-]+|(data|constants|attributes|traced_inputs)\.pkl"
    r"|\.data/(version|serialization_id)|version|byteorder|extra/[\w./-]+|model\.json"
)
_CODE_BYTES = 256 * 2**20
_AT_READING = (b"__setstate__", b"__getstate__", b"torch.classes")
#: What the pickles of a TorchScript file name: its own classes, tensors and their storage, lists and dictionaries.
_PICKLED = re.compile(
    r"__torch__(?!\.torch\.classes\b)(\.\w+)* \w+|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_v2)|collections OrderedDict"
    r"|torch [A-Z][A-Za-z0-9]*Storage|torch\.jit\._pickle (restore_type_tag|build_\w+list)|torch (float|int|uint|bool|complex|bfloat)\w*"
)
#: Steps of the interpreter on plain values, and the calls of the file's own functions.
_PRIMITIVES = frozenset({
    "CallFunction", "CallMethod", "Constant", "ConstantChunk", "CreateObject", "DictConstruct", "Enter", "Exit", "GetAttr", "If",
    "IfThenElse", "ListConstruct", "ListUnpack", "Loop", "ModuleContainerIndex", "NumToTensor", "Print", "RaiseException", "SetAttr",
    "StringIndex", "TupleConstruct", "TupleIndex", "TupleSlice", "TupleUnpack", "Uninitialized", "VarConcat", "VarStack", "abs",
    "data", "device", "dtype", "index", "is_cpu", "is_cuda", "is_meta", "is_mkldnn", "is_mps", "is_nested", "is_quantized",
    "is_sparse", "is_sparse_csr", "is_vulkan", "is_xla", "is_xpu", "isinstance", "itemsize", "layout", "max", "min", "name", "nbytes",
    "rangelist", "requires_grad", "tolist", "type", "unchecked_cast", "unchecked_unwrap_optional", "Closure", "annotate",
})  # fmt: skip


def check_script(path: Path) -> None:
    """Check what Torch runs while it reads a TorchScript file. Raises ModelError."""
    for name, content in _members(path):
        if _MEMBERS.fullmatch(name) is None and not _MEMBERS.fullmatch(name.partition("/")[2]):
            raise _refusal(path, f"the member {name[:80]!r}")
        if name.endswith(".py"):
            found = next((word for word in _AT_READING if word in content), None)
            if found is not None:
                raise _refusal(path, f"code that is run while it is read ({found.decode()})")
        elif name.endswith(".pkl"):
            _check_pickle(content, path)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names of all members, and the content of code and pickles, by Torch's own reader of archives."""
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist() if entry.filename.endswith((".py", ".pkl"))) > _CODE_BYTES:
            raise ModelError(f"{path} has code of more than {_CODE_BYTES:,} bytes. Save it again.")
        yield from ((entry.filename, _read(archive, entry.filename)) for entry in archive.infolist())
    try:
        reader = torch._C.PyTorchFileReader(str(path))
    except RuntimeError as error:
        raise ModelError(f"{path} can't be read as a TorchScript network: its archive is damaged. Save it again.") from error
    for name in reader.get_all_records():
        yield name, reader.get_record(name) if name.endswith((".py", ".pkl")) else b""


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    return archive.read(name) if name.endswith((".py", ".pkl")) else b""


def _check_pickle(content: bytes, path: Path) -> None:
    try:
        for step, value, _ in pickletools.genops(content):
            if step.name == "STACK_GLOBAL" or step.name in ("INST", "OBJ", "EXT1", "EXT2", "EXT4"):
                raise _refusal(path, f"an object by {step.name}")
            if step.name == "GLOBAL" and _PICKLED.fullmatch(str(value)) is None:
                raise _refusal(path, f"the object {str(value)[:80]!r}")
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{path} can't be read as a TorchScript network: one of its pickles is damaged. Save or copy it again."
        ) from error


def check_operators(functions: Iterator[Any], path: Path) -> None:
    """Check the operators of all functions of a network that was read and has not run. Raises ModelError naming the first."""
    for function in functions:
        for kind in _kinds(function.graph):
            if not _is_known(kind):
                raise _refusal(path, f"the operator {kind}")


def _kinds(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)


def _is_known(kind: str) -> bool:
    namespace, _, name = kind.partition("::")
    return name in _PRIMITIVES if namespace == "prim" else namespace == "aten" and name not in FILE_OPERATORS


def _refusal(path: Path, what: str) -> ModelError:
    return ModelError(f"{path} has {what}, which is not of a plain TorchScript network. If you trust it, add --allow-code.")
