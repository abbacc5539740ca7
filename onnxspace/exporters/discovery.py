"""Who turns a model of some framework into an ONNX file: exporters, found through the entry-point group `onnxspace.exporters`.

An entry point names an `Exporter`. Its module must load no framework when it is imported: it is asked what it accepts before
anybody knows whether its framework is wanted.
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

from onnxspace.errors import ConfigError, ModelError, ModelNotFoundError, OnnxspaceError
from onnxspace.exporters.api import Exporter, Facts, Request, Source

GROUP = "onnxspace.exporters"


@cache
def exporters() -> Mapping[str, Exporter]:
    """Every exporter that is installed, by name; one that can't be loaded is left out."""
    return {exporter.name: exporter for exporter in _loaded() if isinstance(exporter, Exporter)}


def broken() -> Mapping[str, str]:
    """Entry points that can't be loaded, and why."""
    return {entry.name: why for entry, made in zip(_entries(), _loaded(), strict=True) if (why := _wrong(made)) is not None}


def _wrong(made: object) -> str | None:
    if isinstance(made, Exporter):
        return None
    return f"{type(made).__name__}: {made}" if isinstance(made, Exception) else "it is no Exporter"


@cache
def _loaded() -> Sequence[object]:
    return [_load(entry) for entry in _entries()]


@cache
def _entries() -> Sequence[Any]:
    """Those of every distribution on the path: a stale copy of one's metadata hides nothing that the other says."""
    found = {(e.name, e.value): e for made in distributions() for e in made.entry_points if e.group == GROUP}
    return [found[said] for said in sorted(found)]


def _load(entry: Any) -> object:
    try:
        return entry.load()
    except Exception as error:  # a third party's module fails in ways of its own
        return error


def is_source(text: str) -> bool:
    """Whether this names something that an exporter turns into ONNX: no `.onnx` or `.fp` file."""
    source = Source(text)
    return bool(accepting(source)) or source.is_callable


def accepting(source: Source) -> list[Exporter]:
    """The exporters that take this for one of their files or names."""
    return [exporter for exporter in exporters().values() if exporter.accepts(source)]


def run(text: str, destination: Path, request: Request) -> Facts:
    """Convert here, in this process. The file at `destination` is not yet in its place: `onnxspace.exporters.export` moves it.

    Raises ModelError and its kin, ConfigError for a request that can't be met.
    """
    request.progress("looking for an exporter", 0, 1)
    exporter, source = find(Source(text), request)
    _require(exporter, text)
    facts = exporter.export(source, destination, request)
    _check(destination, exporter, text)
    return facts


def find(source: Source, request: Request) -> tuple[Exporter, Source]:
    """The exporter for a source, and the source with what its callable made."""
    if request.using is not None:
        return _named(request.using, source), _made_for(source, request, (_named(request.using, source),))
    fitting = accepting(source)
    if len(fitting) > 1:
        names = ", ".join(exporter.name for exporter in fitting)
        raise ConfigError(f"{source.text} can be converted by several exporters ({names}). Name one with --using.")
    if fitting:
        return fitting[0], source
    if not source.is_callable:
        raise _unknown(source)
    ready = _made_for(source, request, tuple(exporters().values()))
    return _for_object(ready), ready


def _named(name: str, source: Source) -> Exporter:
    if name not in exporters():
        raise ConfigError(f"{source.text}: there is no exporter {name!r}; there are {', '.join(exporters()) or 'none'}.")
    return exporters()[name]


def _unknown(source: Source) -> OnnxspaceError:
    if not source.exists and ":" not in source.text:
        return ModelNotFoundError(f"{source.text}: no such file. Check the path.")
    known = "; ".join(exporter.takes for exporter in exporters().values() if exporter.takes) or "nothing"
    failed = "".join(f" The exporter {name} can't be loaded ({why})." for name, why in broken().items())
    return ModelError(f"{source.text} is of no kind that can be converted. Known are: {known}.{failed}")


def _require(exporter: Exporter, text: str) -> None:
    if exporter.missing:
        command = f"Install it with: {exporter.install}" if exporter.install else "Install it."
        raise ModelError(f"{text} needs {' and '.join(exporter.missing)}, which is not installed. {command}")


def _check(destination: Path, exporter: Exporter, text: str) -> None:
    """What an exporter wrote must be a model that can be opened, whoever wrote the exporter."""
    from onnxspace.model.reader import read_model

    try:
        read_model(destination)
    except OnnxspaceError as error:
        reason = str(error).replace(str(destination), "its file")
        raise ModelError(
            f"{text}: the exporter {exporter.name} wrote no readable ONNX model ({reason.rstrip('.')})."
        ) from error


def _made_for(source: Source, request: Request, known: Sequence[Exporter]) -> Source:
    """The source with the object that its callable gives; any other as it is."""
    if not source.is_callable:
        return source
    found = _attribute(source)
    if callable(found) and not any(_takes(exporter, found) for exporter in known):
        found = _called(found, source, request)
    return replace(source, made=found)


def _attribute(source: Source) -> object:
    module, _, names = source.text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{source.text}: there is no module {error.name!r}. Run this from the folder that holds it."
        ) from error
    except AttributeError as error:
        raise ModelError(f"{source.text}: {str(error).rstrip('.')}. Check the name of the factory.") from error
    except Exception as error:  # it is the user's own code
        raise ModelError(f"{source.text}: its module fails when it is imported ({_brief(error)}). Correct it.") from error
    return found


def _called(factory: Callable[..., object], source: Source, request: Request) -> object:
    try:
        return factory(**request.arguments)
    except Exception as error:  # it is the user's own code
        raise ModelError(
            f"{source.text} fails when it is called ({_brief(error)}). Give what it takes as --arg NAME=VALUE."
        ) from error


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": .")


def _takes(exporter: Exporter, made: object) -> bool:
    roots = {kind.__module__.partition(".")[0] for kind in type(made).__mro__}
    return not isinstance(made, type) and bool(roots.intersection(exporter.objects))


def _for_object(source: Source) -> Exporter:
    fitting = [exporter for exporter in exporters().values() if _takes(exporter, source.made)]
    if not fitting:
        kind = type(source.made)
        raise ModelError(
            f"{source.text} gives an object of {kind.__module__}.{kind.__qualname__}, for which there is no exporter. "
            "It must give a network."
        )
    return fitting[0]


def argument(text: str) -> tuple[str, Any]:
    """`name=value` as a name and a Python literal, or the text as it is. Raises ConfigError."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ConfigError(f"--arg {text!r} is not of the form NAME=VALUE.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name, value


def input_shape(text: str) -> tuple[int, ...]:
    """`3x224x224` as (3, 224, 224). Raises ConfigError."""
    sizes = re.split("[x×,]", text.strip().lower())
    if len(sizes) != 3 or not all(size.isascii() and size.isdigit() and 1 <= int(size) <= 8192 for size in sizes):
        raise ConfigError(f"--input {text!r} is no size of an image. Write it as 3x224x224, from 1 to 8192 each.")
    return tuple(map(int, sizes))
