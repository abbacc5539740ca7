"""The text that `onnxspace check` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote
from typing import TYPE_CHECKING

from onnxspace.checking.formats import count_outcomes
from onnxspace.checking.verdict import distinguish
from onnxspace.cli.text.lines import one_line, wrap

if TYPE_CHECKING:
    from onnxspace.checking.calibrate import Calibration
    from onnxspace.checking.verdict import Finding, Verdict


def verdicts(found: Sequence[Verdict]) -> Iterator[str]:
    """Lines for each artifact that was compared, and a summary."""
    for verdict in found:
        if verdict.outcome != "trouble":
            yield from _block(verdict)
            yield ""
    yield count_outcomes(found)


def _block(verdict: Verdict) -> Iterator[str]:
    same = "ok" if verdict.outcome == "same" else "FAIL"
    title = one_line(f"{verdict.name} against {verdict.against} ({verdict.seconds:.1f} s)")
    yield from wrap(title, f"{same:<5} ", " " * 6)
    if verdict.distinct:
        yield "      must not be a copy"
    limits = {finding.metric: finding for finding in verdict.findings}
    for name, value in verdict.measures.items():
        yield _measure_line(name, value, limits.get(name))
    for name, why in verdict.missing.items():
        yield from wrap(f"not compared: {one_line(why)}", f"    {name:<16} ", " " * 21)
    for title, lines in (("why", verdict.reasons), ("file", verdict.changes)):
        for line in lines:
            yield from _wrap_reason(f"{title}: {one_line(line)}")
    if verdict.layer is not None:
        yield from _wrap_reason(f"first different layer: {one_line(verdict.layer)}")
    for _, name, cosine in verdict.images:
        yield from _wrap_reason(f"maps differ on {one_line(name)}: cosine {cosine:.3f}")
    if verdict.picture is not None:
        yield from _wrap_reason(f"picture: {one_line(verdict.picture)}")
    if (graphs := _describe_graphs(verdict)) is not None:
        yield from _wrap_reason(f"graphs: {graphs}")


def _describe_graphs(verdict: Verdict) -> str | None:
    """The page of both graphs, or the command that writes it where a layer was found that differs."""
    if verdict.page is not None:
        return one_line(verdict.page)
    if verdict.outcome != "different" or verdict.layer is None:
        return None
    old, new = (quote(one_line(path)) for path in (verdict.against, verdict.path))
    return f"side by side with onnxspace diff {old} {new} -o diff.html"


def _wrap_reason(text: str) -> Iterator[str]:
    yield from wrap(text, " " * 4, " " * 8)


def _measure_line(name: str, value: float, finding: Finding | None) -> str:
    """A metric, with a mark where it is beyond its limit, and with as many digits as show that."""
    if finding is None:
        return f"    {name:<16} {value:>10.4g}"
    number, bound = distinguish(value, finding.limit)[0], finding.words.rpartition(", ")[2]
    return f"  {' ' if finding.kept else '!'} {name:<16} {number:>10}  ({bound})"


def written_baselines(found: Sequence[Verdict]) -> Iterator[str]:
    """A line per baseline that was written."""
    for verdict in found:
        if verdict.outcome == "same":
            yield f"wrote {one_line(verdict.against)}"


def errors(found: Sequence[Verdict]) -> Iterator[str]:
    for verdict in found:
        if verdict.error is not None:
            yield f"onnxspace: {one_line(verdict.error)}"


def warnings(found: Sequence[Verdict]) -> Iterator[str]:
    for verdict in found:
        for warning in verdict.warnings:
            yield f"warning: {one_line(warning)}"


def calibrations(found: Sequence[Calibration]) -> Iterator[str]:
    """The metrics of each form, a line each."""
    for one in found:
        for form, values in one.forms.items():
            yield f"{one_line(one.name)} as {form}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def calibration_errors(found: Sequence[Calibration]) -> Iterator[str]:
    for one in found:
        for error in one.failed.values():
            yield f"onnxspace: {one_line(error)}"
