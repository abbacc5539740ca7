"""Find exporters through the entry-point group `onnxspace.exporters`, and run the one for a source.

An entry point names an `Exporter`. Its module must not import a framework, since `accepts` is called for sources of all kinds.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError, ModelError, ModelNotFoundError, OnnxspaceError, describe
from onnxspace.exporters.api import Exporter, Facts, Request, Source
from onnxspace.inputs.nearest_names import describe_missing_file, describe_unknown, find_nearest

GROUP = "onnxspace.exporters"


@cache
def exporters() -> Mapping[str, Exporter]:
    """All installed exporters by name; those that can't be loaded are left out (see `broken`)."""
    return {exporter.name: exporter for exporter in _load_all() if isinstance(exporter, Exporter)}


def broken() -> Mapping[str, str]:
    """The reasons why entry points can't be loaded, by name."""
    return {
        entry.name: why for entry, made in zip(_entries(), _load_all(), strict=True) if (why := _load_error(made)) is not None
    }


def _load_error(made: object) -> str | None:
    if isinstance(made, Exporter):
        return None
    return f"{type(made).__name__}: {made}" if isinstance(made, Exception) else "it is not an Exporter"


@cache
def _load_all() -> Sequence[object]:
    return [_load(entry) for entry in _entries()]


@cache
def _entries() -> Sequence[Any]:
    """Entry points of every distribution on the path, so that a stale copy of one's metadata does not hide another's."""
    found = {(e.name, e.value): e for made in distributions() for e in made.entry_points if e.group == GROUP}
    return [found[key] for key in sorted(found)]


def _load(entry: Any) -> object:
    try:
        return entry.load()
    except Exception as error:  # a third party's module may raise anything
        return error


def is_source(text: str) -> bool:
    """Whether `text` names something that an exporter may convert; an `.onnx` or `.fp` file does not."""
    source = Source(text)
    return bool(accepting(source)) or source.is_callable


def is_model(text: str) -> bool:
    """Whether `text` names a model, an ONNX file or what an exporter may convert, by its form alone.

    >>> is_model("net.onnx"), is_model("cat.jpg")
    (True, False)
    """
    return Path(text).suffix.lower() == ".onnx" or is_source(text)


def is_named(text: str) -> bool:
    """Whether `text` names a source that is not a path, `timm:NAME` and the like; it runs no code but that of installed packages."""
    source = Source(text)
    return ":" in text and not source.exists and bool(accepting(source))


def is_factory(text: str) -> bool:
    """Whether `text` names code of the user that builds a network, `package.module:factory`."""
    source = Source(text)
    return source.is_callable and not accepting(source)


def accepting(source: Source) -> list[Exporter]:
    """The exporters that accept `source` by its name or file."""
    return [exporter for exporter in exporters().values() if exporter.accepts(source)]


def run(text: str, destination: Path, request: Request) -> Facts:
    """Convert the source `text` in this process, and write the ONNX file to `destination`; return its facts.

    Raises ModelError and its subclasses, ConfigError for a request that can't be met. `onnxspace.exporters.export.to_onnx`
    calls this in a process of its own.
    """
    request.progress("looking for an exporter", 0, 1)
    exporter, source = find(Source(text), request)
    _require_packages(exporter, text)
    facts = exporter.export(source, destination, request)
    _check_output(destination, exporter, text)
    return facts


def find(source: Source, request: Request) -> tuple[Exporter, Source]:
    """The exporter for a source, and the source with the object that its callable returned.

    Raises ConfigError where no exporter or several ones fit, ModelError for a callable that fails.
    """
    if request.using is not None:
        return _exporter_named(request.using, source), _make_object(source, request, (_exporter_named(request.using, source),))
    fitting = accepting(source)
    if len(fitting) > 1:
        names = ", ".join(exporter.name for exporter in fitting)
        raise ConfigError(f"{source.text} can be converted by several exporters ({names}). Name one with --using.")
    if fitting:
        return fitting[0], source
    if not source.is_callable:
        raise _unknown_source(source)
    ready = _make_object(source, request, tuple(exporters().values()))
    return _exporter_for(ready), ready


def _exporter_named(name: str, source: Source) -> Exporter:
    if name not in exporters():
        raise ConfigError(f"{source.text}: {describe_unknown('exporter', name, exporters())}")
    return exporters()[name]


def refuse_unknown_word(text: str) -> None:
    """Raise ModelError where `text` is no file, but begins as `timm:NAME` does with a word that no exporter takes."""
    source = Source(text)
    if re.match(r"[a-z]\w+:(?!//)", text) and Path(text).suffix.lower() not in (".onnx", ".fp") and not source.exists:
        raise _unknown_source(source)


def _unknown_source(source: Source) -> OnnxspaceError:
    if not source.exists and ":" not in source.text:
        return ModelNotFoundError(f"{source.text}: {describe_missing_file(source.path)}")
    known = "; ".join(exporter.takes for exporter in exporters().values() if exporter.takes) or "nothing"
    own = f"{source.scheme}:" if source.scheme else source.path.suffix
    meant = _suggest_form(own) or "."
    failed = "".join(f" The exporter {name} can't be loaded ({why})." for name, why in broken().items())
    return ModelError(f"{source.text} is not a source that can be converted{meant} Supported are: {known}.{failed}")


def _suggest_form(own: str) -> str:
    """Words with the suffixes, or the words in front of a colon, that are near to `own` and that exporters take; or nothing."""
    near = list(dict.fromkeys(_list_forms()[word] for word in find_nearest(own, _list_forms()))) if own else []
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _list_forms() -> dict[str, str]:
    """Suffix, or word in front of a colon → itself; the name of an exporter, in front of a colon → the word that it takes there."""
    forms: dict[str, str] = {}
    for exporter in exporters().values():
        taken = re.findall(r"\.\w+|\b[a-z]+:", exporter.takes)
        named = [form for form in taken if form.endswith(":")]
        forms |= {form: form for form in taken} | {f"{exporter.name}:": form for form in named}
    return forms


def _require_packages(exporter: Exporter, text: str) -> None:
    if exporter.missing:
        command = f"Install it with: {exporter.install}" if exporter.install else "Install it."
        raise ModelError(f"{text} needs {' and '.join(exporter.missing)}, which is not installed. {command}")


def _check_output(destination: Path, exporter: Exporter, text: str) -> None:
    """Check that an exporter's file is a readable model, whoever wrote the exporter."""
    from onnxspace.model.reader import read_model

    try:
        read_model(destination)
    except OnnxspaceError as error:
        reason = str(error).replace(str(destination), "its file")
        raise ModelError(
            f"{text}: the exporter {exporter.name} wrote an unreadable ONNX model ({reason.rstrip('.')})."
        ) from error


def _make_object(source: Source, request: Request, known: Sequence[Exporter]) -> Source:
    """The source with the object that its callable returns; any other as it is."""
    if not source.is_callable:
        return source
    found = _find_factory(source)
    if callable(found) and not any(_takes_object(exporter, found) for exporter in known):
        found = _call_factory(found, source, request)
    return replace(source, made=found)


def _find_factory(source: Source) -> object:
    module, _, names = source.text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # last, so that no file there can stand for an installed package
        sys.path.append(here)
    try:
        found: object = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        meant = _suggest_form(f"{source.scheme}:") if error.name == module else ""
        raise ModelError(
            f"{source.text}: there is no module {error.name!r}{meant or '.'} Run this from the folder that holds it."
        ) from error
    except AttributeError as error:
        raise ModelError(f"{source.text}: {str(error).rstrip('.')}. Check the name of the factory.") from error
    except Exception as error:  # it is the user's own code
        raise ModelError(f"{source.text}: its module can't be imported ({describe(error)}). Correct it.") from error
    return found


def _call_factory(factory: Callable[..., object], source: Source, request: Request) -> object:
    try:
        return factory(**request.arguments)
    except Exception as error:  # it is the user's own code
        raise ModelError(
            f"{source.text} fails when it is called ({describe(error)}). Give its arguments as --arg NAME=VALUE."
        ) from error


def _takes_object(exporter: Exporter, made: object) -> bool:
    roots = {kind.__module__.partition(".")[0] for kind in type(made).__mro__}
    return not isinstance(made, type) and bool(roots.intersection(exporter.objects))


def _exporter_for(source: Source) -> Exporter:
    fitting = [exporter for exporter in exporters().values() if _takes_object(exporter, source.made)]
    if not fitting:
        kind = type(source.made)
        raise ModelError(
            f"{source.text} returns an object of {kind.__module__}.{kind.__qualname__}, for which there is no exporter. "
            "It must return a network."
        )
    return fitting[0]


def argument(text: str) -> tuple[str, Any]:
    """Parse `name=value` into a name and a Python literal, or text where it is none. Raises ConfigError.

    >>> argument("width=0.5"), argument("kind=tiny")
    (('width', 0.5), ('kind', 'tiny'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--arg {text!r} is not of the form NAME=VALUE.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value


def input_shape(text: str) -> tuple[int, ...]:
    """Parse the shape of an image, sizes of 1 to 8192 separated by `x`. Raises ConfigError.

    >>> input_shape("3x224x224")
    (3, 224, 224)
    """
    sizes = re.split("[x×,]", text.strip().lower())
    if len(sizes) != 3 or not all(size.isascii() and size.isdigit() and 1 <= int(size) <= 8192 for size in sizes):
        raise ConfigError(f"--input {text!r} is not the size of an image. Write it like 3x224x224, with sizes from 1 to 8192.")
    return tuple(map(int, sizes))
