"""Files beside a model that say how its pixels are prepared: found, bounded, contained in the model's folders, and parsed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from onnxspace.inputs.config import ModelOptions
from onnxspace.model.pixel_metadata.values import parse_object
from onnxspace.storage.regular_files import read_regular

_MOST_BYTES, _MOST_XML, _MOST_ENTRIES = 2**20, 2**24, 10_000


@dataclass(frozen=True)
class SideFile:
    """The content of a file beside a model: its `name` for messages, and the `source` to name as the origin of what it states."""

    name: str
    source: str
    content: Any


@dataclass
class SideFiles:
    """The files beside `model`; `warnings` collects a sentence for each that can't be used, `last` is the one that was read last."""

    model: Path
    warnings: list[str] = field(default_factory=list)
    last: str = ""
    _siblings: int | None = None

    @property
    def siblings(self) -> int:
        """The number of other ONNX files in the model's folder."""
        if self._siblings is None:
            self._siblings = len(self._list_onnx_files() - {self.model.name})
        return self._siblings

    def _list_onnx_files(self) -> set[str]:
        with suppress(OSError):
            entries = itertools.islice(self.model.absolute().parent.iterdir(), _MOST_ENTRIES)
            return {path.name for path in entries if path.suffix.lower() == ".onnx"}
        return set()

    def has(self, name: str) -> bool:
        """Whether there is something called `name` beside the model."""
        return (self.model.absolute().parent / name).exists()

    def find_json(self, name: str, *, above: bool = False) -> SideFile | None:
        """The object in the JSON file `name` beside the model, or `above` it where its folder is called `onnx`; None without one."""
        return self._find(name, lambda content: parse_object(content.decode("utf-8-sig"), "its content"), above=above)

    def find_yaml(self, name: str) -> SideFile | None:
        """The mapping in the YAML file `name` beside the model; None where there is none."""
        return self._find(name, _parse_yaml)

    def find_front_matter(self, name: str) -> SideFile | None:
        """The YAML between the first two lines `---` of the Markdown file `name` beside the model, or above its folder `onnx`."""
        return self._find(name, _parse_front_matter, above=True)

    def find_xml(self, name: str) -> SideFile | None:
        """The root of the XML file `name` beside the model; None where there is none."""
        return self._find(name, _parse_xml, most=_MOST_XML)

    def _find(
        self, name: str, parse: Callable[[bytes], Any], *, above: bool = False, most: int = _MOST_BYTES
    ) -> SideFile | None:
        folder = self.model.absolute().parent
        for place, words in ((folder, "beside it"), (folder.parent, "in the folder above")):
            if place != folder and not (above and folder.name.lower() == "onnx"):
                continue
            try:
                return SideFile(name, f"{name} {words}{self._describe_siblings()}", parse(self._read(place / name, most)))
            except FileNotFoundError:
                continue
            except (OSError, ValueError, RecursionError) as error:
                self.refuse(name, str(getattr(error, "strerror", None) or error))
        return None

    def _describe_siblings(self) -> str:
        return f", for all {self.siblings + 1} ONNX files there" if self.siblings else ""

    def _read(self, path: Path, most: int) -> bytes:
        """The content of a file that lies, links followed, in the model's folder, the folder above, or the real file's folder."""
        if not path.exists():
            raise FileNotFoundError(path)
        folder, real = self.model.absolute().parent, path.resolve()
        if real.parent not in {folder.resolve(), folder.resolve().parent, self.model.resolve().parent}:
            raise ValueError("it is a link to another folder")
        content = read_regular(real, most)
        if len(content) > most:
            raise ValueError(f"it has more than {most:,} bytes")
        return content

    def refuse(self, name: str, why: str) -> None:
        """Note that a side file is not used."""
        self.warnings.append(
            f"{self.model}: {name} beside it is not used ({why}). Correct or remove it, or state the pixels by --pixels."
        )

    def read(self, file: SideFile | None, parse: Callable[[Any, str], ModelOptions]) -> ModelOptions:
        """What `parse(content, source)` makes of a file; no options where there is none, or where it raises ValueError."""
        if file is not None:
            self.last = file.name
            try:
                return parse(file.content, file.source)
            except ValueError as error:
                self.refuse(file.name, str(error))
        return ModelOptions()


def _parse_yaml(content: bytes) -> Mapping[str, Any]:
    import yaml

    try:
        found = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the C parser needs a tenth of the time
    except yaml.YAMLError as error:
        raise ValueError("it is not valid YAML") from error
    if not isinstance(found, dict):
        raise ValueError("it is not a mapping in YAML")
    return found


def _parse_front_matter(content: bytes) -> Mapping[str, Any]:
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    if not lines or lines[0].strip() != b"---" or b"---" not in (rest := [line.strip() for line in lines[1:]]):
        return {}
    return _parse_yaml(b"\n".join(lines[1 : 1 + rest.index(b"---")]))


def _parse_xml(content: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("it defines entities")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ValueError("it is not valid XML") from error
