"""The digest that says what a split's content depends on: its seed and size, and the code that draws.

Comments, docstrings, imports and the module in which a definition lies do not change what is drawn, and do not count.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

#: Digests by an earlier rule (imports and the order of modules counted; Python 3.11) for the digests of the same code by the
#: present rule. Rooms, networks and losses that were kept under them stay valid; a change of the code that draws ends that.
EARLIER = {
    "f9f0cb1133948e1148ab62d177074749bdecc7533d412454bad8596fc7b791b5": "f8f375dcd95e531587b076c194a805a1de9cea7fe5969bdb4c7e8ead6dc3ccf7",  # train
    "3966d302aa51bd5e7456dd41c7255e21f0b3a50a81c023effb8a57c8f9a21d47": "fca60e8677dec94ae7f1a48c2498839697e9e51acf6d9758f42bf3ae68de39c9",  # validation
    "d66e945c329b4e8efa098221e3ecfd7c7ec1f4970f08cf7dcf1c3545573b4868": "c67821400fada9185051a7a781f4062ff5d50a72c75f3de02b9a05ae66fe5f76",  # transfer
    "25e224b8741d330fe56a58ad1c4ec8384aaa0e5b3293af62fb02226dc85eddae": "2c49b9cec6302cf7b2854ffb459c57d911f68b02cfdee68fc8eb449a9212576b",  # test
    "bb8fe742a1d0d8f429c40e89edf26d8212c42914166c1408a503923f217c64b5": "0d2242c5158011945bf3dd248e8e331997ff77cf80f0fea0bc7d9894fe24073b",  # probes
}


def digest(parameters: object, modules: Iterable[Path]) -> str:
    """64 hex digits for JSON values and the code in some files."""
    known = [json.dumps(parameters), *sorted(line for path in modules for line in dump_definitions(path.read_text("utf-8")))]
    found = hashlib.sha256("\n".join(known).encode()).hexdigest()
    return EARLIER.get(found, found)


def dump_definitions(code: str) -> list[str]:
    """Each top-level statement of a module but its imports and docstrings, as text that no version of Python changes."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return [_dump(node) for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]


def _dump(value: object) -> str:
    """A node without its position and without empty fields: versions of Python differ in whether these are there."""
    if isinstance(value, list):
        return f"[{', '.join(_dump(one) for one in value if not isinstance(one, ast.Import | ast.ImportFrom))}]"
    if not isinstance(value, ast.AST):
        return repr(value)
    fields = ((name, part) for name, part in ast.iter_fields(value) if part is not None and part != [])
    return f"{type(value).__name__}({', '.join(f'{name}={_dump(part)}' for name, part in fields)})"
