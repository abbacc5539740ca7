"""The digest that says what a split's content depends on: its seed and size, and the code that draws.

Comments, docstrings, imports and the module in which a definition lies do not change what is drawn, and do not count.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

#: Digests by an earlier rule, which counted imports and the order of modules, and differed between Python 3.11, 3.12, and 3.13 or
#: later; by the digests of the same code by the present rule. Rooms, networks and losses that were kept under them stay valid; a
#: change of the code that draws ends that.
EARLIER = {
    "f9f0cb1133948e1148ab62d177074749bdecc7533d412454bad8596fc7b791b5": (  # train
        "f8f375dcd95e531587b076c194a805a1de9cea7fe5969bdb4c7e8ead6dc3ccf7",
        "a95bf5cf216a5a5c77b63ce445e3d60593b4df280d67eaecbf8b3a9a2a729a14",
        "d75c10b99302cde1adb26252bd7a6e83018b7242c9bbc48e041b31e493653813",
    ),
    "3966d302aa51bd5e7456dd41c7255e21f0b3a50a81c023effb8a57c8f9a21d47": (  # validation
        "fca60e8677dec94ae7f1a48c2498839697e9e51acf6d9758f42bf3ae68de39c9",
        "28d632c4be9dd57dc2c01e048bc821930f002d25fe5f2c0d25215fc62187bf14",
        "b71cce01fce562279d55e9ad4ad48461686e946726bb92dd60d7dab78cf238c6",
    ),
    "d66e945c329b4e8efa098221e3ecfd7c7ec1f4970f08cf7dcf1c3545573b4868": (  # transfer
        "c67821400fada9185051a7a781f4062ff5d50a72c75f3de02b9a05ae66fe5f76",
        "33ba39703515019246b249e06bfcbd339a529e776b50e81ac1c2402cb8c78fbc",
        "311cba2848663d0612d6b839b5eabe615212078cdba11d48a72fb955fb616130",
    ),
    "25e224b8741d330fe56a58ad1c4ec8384aaa0e5b3293af62fb02226dc85eddae": (  # test
        "2c49b9cec6302cf7b2854ffb459c57d911f68b02cfdee68fc8eb449a9212576b",
        "f62f590b12b91a6b0d4442ef176fe09f3b96196951b15c53d3a737eb1844e247",
        "8405bdd0c6e80b0d2d34fc8015e4a604352494f6fb19d16ca8a7575b30200f14",
    ),
    "bb8fe742a1d0d8f429c40e89edf26d8212c42914166c1408a503923f217c64b5": (  # probes
        "0d2242c5158011945bf3dd248e8e331997ff77cf80f0fea0bc7d9894fe24073b",
        "6f797ba067717fe6ff65bffeda10ea0d549f69e0ea42108381dfcd6c699d438c",
        "80fc1e523b8f8b2c1f68c0c685366d43752f05ca7618f9250c2d6defb6328b4b",
    ),
}


def digest(parameters: object, modules: Iterable[Path]) -> str:
    """64 hex digits for JSON values and the code in some files."""
    known = [json.dumps(parameters), *sorted(line for path in modules for line in dump_definitions(path.read_text("utf-8")))]
    found = hashlib.sha256("\n".join(known).encode()).hexdigest()
    earlier = EARLIER.get(found)
    return found if earlier is None else earlier[min(sys.version_info.minor, 13) - 11]


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
