"""Results as plain text that reads the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxspace.affinity import Affinity


def one_line(message: str) -> str:
    """A message without line breaks or control characters: names come from files that nobody vouches for."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in message).split())


def matrix(result: Affinity) -> Iterator[str]:
    """The affinity matrix; columns are numbered like the rows."""
    probe = result.probe
    yield f"Affinity: mean cosine of {one_line(result.method_words)} maps on {probe['images']} images ({probe['name']})"
    yield ""
    count = len(result.names)
    digits = len(str(count))
    names = [one_line(name) for name in result.names]
    wide = max(map(len, names))
    yield " " * (digits + wide + 3) + " ".join(f"{n:>6}" for n in range(1, count + 1))
    for row, (name, values) in enumerate(zip(names, result.matrix, strict=True), 1):
        yield f"{row:>{digits}}  {name:<{wide}} " + " ".join(_number(value) for value in values)


def _number(value: float) -> str:
    """Three decimals, and no minus before a zero."""
    return f"{round(float(value), 3) + 0.0:6.3f}"


def rankings(result: Affinity, targets: Sequence[str]) -> Iterator[str]:
    """For every target its sources in order."""
    wide = max(len(one_line(name)) for name in result.names)
    for name in targets:
        yield f"Sources for {one_line(name)}, best first"
        for place, (source, affinity) in enumerate(result.rank(name).sources, 1):
            yield f"  {place:>3}. {one_line(source):<{wide}} {_number(affinity)}"
        yield ""


def assumptions(result: Affinity) -> Iterator[str]:
    """What was assumed of each model, a line each."""
    for model in result.models:
        if model.assumed:
            yield f"assumed for {one_line(model.name)}: {one_line('; '.join(model.assumed))}"


def warnings(result: Affinity) -> Iterator[str]:
    """Warnings, a line each."""
    for warning in result.warnings:
        yield f"warning: {one_line(warning)}"
