"""What an exported program (.pt2) may hold: Torch resolves, evaluates and executes text of its JSON while it reads the archive.

So every member and every text is compared with a list before Torch sees the archive: operators of a few namespaces, names,
numbers, and arithmetic of sizes. Text that is neither is refused, unless the user allows code.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from onnxspace.errors import ModelError
from onnxspace_converters.expressions import ExpressionError, check_guard, check_size_expression, is_name

_MEMBERS = re.compile(
    r"models/[\w.-]+\.json|data/(weights|constants)/[\w.-]+|data/sample_inputs/[\w.-]+\.pt|extra/[\w./-]+"
    r"|\.data/(version|serialization_id)|archive_format|archive_version|byteorder|version|serialized_[a-z_]+\.(json|pt)"
)
_JSON_BYTES = 256 * 2**20
_DEPTH = 200
#: Dotted names of parameters, and names of files inside the archive.
_DOTTED = re.compile(r"[\w.\-]{0,512}")
_VERSION = re.compile(r"[\w.+\-]{0,64}")
_OPERATOR = re.compile(r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.([A-Za-z_]\w*)\.([A-Za-z]\w*)", re.ASCII)
#: Operators of Python and Torch on sizes. Those of `operator` compute with numbers, or select from a tuple.
_OF_SIZES = frozenset(
    f"_operator.{name}"
    for name in (
        "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos", "eq", "ne", "lt", "le", "gt", "ge", "and_", "or_",
        "getitem",
    )
) | {f"math.{name}" for name in ("ceil", "floor", "trunc", "sqrt")} | {
    f"torch.{name}" for name in ("sym_float", "sym_int", "sym_ite", "sym_max", "sym_min", "sym_not", "sym_sum", "_sym_sqrt")
}  # fmt: skip
_OF_GRAPHS = frozenset(
    f"torch.ops.higher_order.{name}" for name in ("wrap_with_set_grad_enabled", "wrap_with_autocast", "cond")
)
#: Operators that read or write files.
FILE_OPERATORS = frozenset({"from_file", "save"})
#: Texts that are kept, and shown in messages at most.
_NOTES = frozenset({"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "custom", "from_node"})
_TREES = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})


def check_program(path: Path) -> None:
    """Check all members of an exported program. Raises ModelError naming the first that would need code.

    Torch's own reader of archives is asked too, so that what is checked is what it will read.
    """
    for name, content in _members(path):
        if _MEMBERS.fullmatch(name) is None and not _MEMBERS.fullmatch(name.partition("/")[2]):
            raise _refusal(path, f"the member {name[:80]!r}")
        if content is not None:
            _check_json(content, path, name)


def _members(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """Names of all members, and the content of those in JSON, by both readers that Torch uses."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".json") and entry.file_size > _JSON_BYTES:
                raise ModelError(f"{path} has a description of more than {_JSON_BYTES:,} bytes. Export it again.")
            yield entry.filename, archive.read(entry) if entry.filename.endswith(".json") else None
    try:
        reader = torch._C.PyTorchFileReader(str(path))
    except RuntimeError:  # the archive of older releases, which Torch reads by zipfile
        return
    for name in reader.get_all_records():
        yield name, reader.get_record(name) if name.endswith(".json") else None


def _check_json(content: bytes, path: Path, name: str) -> None:
    try:
        _check_value(json.loads(content), "", path)
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} is damaged: {name} is not JSON. Export or copy it again.") from error


def _check_value(value: Any, key: str, path: Path, depth: int = 0) -> None:
    """Check a value of the JSON that stands under `key`, and all within it."""
    if depth > _DEPTH:
        raise ModelError(f"{path} is nested too deeply to be an exported program. Export it again.")
    if isinstance(value, str):
        _check_text(value, key, path)
    elif isinstance(value, list):
        for each in value:
            _check_value(each, key, path, depth + 1)
    elif isinstance(value, dict):
        for inner, each in value.items():
            if _DOTTED.fullmatch(inner) is None:
                raise _refusal(path, f"the name {inner[:80]!r}")
            if inner == "guards_code" and not (isinstance(each, list) and all(isinstance(text, str) for text in each)):
                raise ModelError(f"{path} is damaged: its conditions are not a list of texts. Export or copy it again.")
            if not (key == "metadata" and inner in _NOTES and isinstance(each, str)):
                _check_value(each, inner, path, depth + 1)


def _check_text(text: str, key: str, path: Path) -> None:
    fits = _TEXTS.get(key, _is_dotted)
    if not fits(text):
        raise _refusal(path, f"{_WORDS.get(key, key or 'a text')} {text[:80]!r}")


def _refusal(path: Path, what: str) -> ModelError:
    what = " ".join(what.split())
    return ModelError(
        f"{path} has {what}, which is not of a plain exported program and can run code. If you trust it, add --allow-code."
    )


def _is_dotted(text: str) -> bool:
    return _DOTTED.fullmatch(text) is not None


def _is_name_or_empty(text: str) -> bool:
    return not text or is_name(text)


def is_known_operator(text: str) -> bool:
    """Whether a text names an operator that only computes.

    >>> is_known_operator("torch.ops.aten.relu.default"), is_known_operator("torch.os.system")
    (True, False)
    """
    if text in _OF_SIZES or text in _OF_GRAPHS:
        return True
    parts = _OPERATOR.fullmatch(text)
    if parts is None or parts[2].strip("_") in FILE_OPERATORS or "__" in parts[2] + parts[3]:
        return False
    packet = getattr(getattr(torch.ops, parts[1]), parts[2], None)
    return isinstance(getattr(packet, parts[3], None), torch._ops.OpOverload)


def _by(check: Callable[[str], None]) -> Callable[[str], bool]:
    def passes(text: str) -> bool:
        try:
            check(text)
        except ExpressionError:
            return False
        return True

    return passes


def _is_tree(text: str) -> bool:
    """Whether a text describes how inputs or outputs are nested, in tuples, lists and dictionaries alone."""
    try:
        version, tree = json.loads(text)
        return isinstance(version, int) and _is_plain_tree(tree)
    except (ValueError, TypeError, RecursionError):
        return False


def _is_plain_tree(tree: Any) -> bool:
    if not isinstance(tree, dict) or tree.keys() - {"type", "context", "children_spec"}:
        return False
    kind, context, inner = tree.get("type"), tree.get("context"), tree.get("children_spec")
    if not isinstance(inner, list) or not (kind is None or kind in _TREES):
        return False
    if context is not None:
        names = json.loads(context)
        if not (names is None or (isinstance(names, list) and all(isinstance(n, str) and is_name(n) for n in names))):
            return False
    return all(map(_is_plain_tree, inner))


#: How the texts under a key are checked; those under any other are dotted names.
_TEXTS: Mapping[str, Callable[[str], bool]] = {
    "expr_str": _by(check_size_expression),
    "guards_code": _by(check_guard),
    "target": is_known_operator,
    "as_operator": is_known_operator,
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    "as_string": lambda text: True,  # an argument, which Torch writes as a quoted text
    "as_strings": lambda text: True,
    "torch_version": lambda text: _VERSION.fullmatch(text) is not None,
    "name": _is_name_or_empty,
    "as_name": _is_name_or_empty,
    "forward_arg_names": is_name,
}
_WORDS: Mapping[str, str] = {
    "expr_str": "the expression", "guards_code": "the condition", "target": "the operator", "as_operator": "the operator",
    "in_spec": "the structure of inputs", "out_spec": "the structure of outputs", "name": "the name", "as_name": "the name",
    "forward_arg_names": "the name of an argument",
}  # fmt: skip
