"""The names of a network's classes: written in its file, or in the `config.json` beside it. All of it is untrusted text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnx import NodeProto

from onnxspace.errors import ConfigError
from onnxspace.inputs.nearest_names import suggest
from onnxspace.model.graph import domain_of
from onnxspace.model.model import Model
from onnxspace.model.pixel_metadata.side_files import SideFiles

#: Keys of metadata under which exporters and users write the names of classes.
_KEYS = ("names", "id2label", "classes", "labels", "class_names", "class_labels", "label_names")
_MOST_NAMES, _MOST_TEXT, _LONGEST = 100_000, 2**22, 200
#: An entry of a dictionary as Python prints it, which is how Ultralytics writes names.
_ENTRY = re.compile(r"(\d{1,6})\s*:\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")")


def read_class_names(model: Model) -> tuple[str, ...]:
    """Return the names of the classes of `model`, in their order; empty where nothing states them.

    They are those of a map from classes to numbers that the graph ends with, of the file's metadata, or of `id2label` in
    `config.json` beside the file.
    """
    return next((names for names in _list_sources(model) if names), ())


def _list_sources(model: Model) -> Iterator[tuple[str, ...]]:
    source = model.file_network or model.network
    yield from (_read_map(node) for node in source.graph.nodes if node.op_type == "ZipMap" and domain_of(node) == "ai.onnx.ml")
    metadata = {entry.key.lower(): entry.value for entry in model.proto.metadata_props}
    yield from (_parse_names(metadata[key]) for key in _KEYS if key in metadata)
    config = SideFiles(Path(model.path)).find_json("config.json", above=True)
    found: Any = {} if config is None else config.content
    yield from (_order(found[key]) for key in ("id2label", "label_names") if key in found)


def _read_map(node: NodeProto) -> tuple[str, ...]:
    words = [text for attribute in node.attribute if attribute.name == "classlabels_strings" for text in attribute.strings]
    numbers = [n for attribute in node.attribute if attribute.name == "classlabels_int64s" for n in attribute.ints]
    return _clean([text.decode("utf-8", "replace") for text in words] or [str(n) for n in numbers])


def _parse_names(text: str) -> tuple[str, ...]:
    """Names in JSON, in a dictionary as Python prints it, or separated by lines or commas."""
    if len(text) > _MOST_TEXT:
        return ()
    try:
        return _order(json.loads(text))
    except (ValueError, RecursionError):
        pass
    if text.lstrip().startswith("{"):
        return _order({key: one or other for key, one, other in _ENTRY.findall(text)})
    parts = text.rstrip("\r\n").split("\n") if "\n" in text.strip() else text.strip("[]() ").split(",")
    return _clean([part.strip(" '\"\t\r") for part in parts])  # an empty name keeps its number


def _order(found: Any) -> tuple[str, ...]:
    """A list of names, or a mapping from 0, 1, … to names, or from names to these."""
    if isinstance(found, list):
        return _clean(found)
    if not isinstance(found, Mapping) or not 0 < len(found) <= _MOST_NAMES:
        return ()
    pairs = {str(key): value for key, value in found.items()}
    if all(isinstance(value, int) for value in pairs.values()):
        pairs = {str(value): key for key, value in pairs.items()}
    numbers = [str(n) for n in range(len(pairs))]
    return _clean([pairs[n] for n in numbers]) if all(n in pairs for n in numbers) else ()


def _clean(names: Sequence[Any]) -> tuple[str, ...]:
    """Names as texts of one line, empty ones among them; none where one is something else, where all are empty, and of a single one."""
    if not 1 < len(names) <= _MOST_NAMES or not all(isinstance(name, str) for name in names):
        return ()
    if not any(name.strip() for name in names):
        return ()
    return tuple("".join(c if c.isprintable() else " " for c in name[:_LONGEST]).strip() for name in names)


def find_class(word: str, names: Sequence[str], count: int, path: str) -> int:
    """Return the number of the class `word` among `count`: a name, one of the synonyms of a name, or a number from 0.

    Letters' case and underscores don't matter. Raises ConfigError, with the nearest names, for what the model `path` does not have.

    >>> find_class("cat", ["dog", "tabby, cat"], 2, "net.onnx")
    1
    """
    held = names if len(names) == count else ()
    if not word.strip():
        raise ConfigError(f"{path}: --class is empty. {_describe_choice(word, names, held, count).capitalize()}")
    plain = [_simplify(name) for name in held]
    synonyms = [{_simplify(part) for part in name.split(",")} for name in held]
    exact = [k for k, name in enumerate(held) if name == word] or [k for k, name in enumerate(plain) if name == _simplify(word)]
    found = exact or [k for k, parts in enumerate(synonyms) if _simplify(word) in parts]
    if len(found) == 1 or exact:
        return found[0]
    if len(found) > 1:
        raise ConfigError(
            f"{path} has {len(found)} classes called {word!r}. Give the number of one: {', '.join(map(str, found[:5]))}."
        )
    if re.fullmatch(r"\d{1,9}", word) and int(word) < count:
        return int(word)
    raise ConfigError(f"{path} has no class {word!r} among its {count}: {_describe_choice(word, names, held, count)}")


def _describe_choice(word: str, names: Sequence[str], held: Sequence[str], count: int) -> str:
    if held:
        return suggest(word, [name for name in held if name])
    why = f"its file names {len(names)}" if names else "its file names none"
    return f"{why}, so give {f'a number from 0 to {count - 1}' if count > 1 else '0'}."


def _simplify(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
