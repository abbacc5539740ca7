"""Verdicts in formats for other programs. Names come from untrusted files, so each format escapes them."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as Xml

from onnxspace.checking.measure import METRICS
from onnxspace.checking.verdict import SCHEMA, Finding, Verdict, distinguish

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_WORDS = {"same": "as expected", "different": "not as expected", "trouble": "could not be compared"}


def as_json(found: Sequence[Verdict]) -> str:
    """Verdicts as one JSON object of the schema `onnxspace/check/1`."""
    return json.dumps({"schema": SCHEMA, "verdicts": [verdict.to_dict() for verdict in found]}, allow_nan=False) + "\n"


def as_junit(found: Sequence[Verdict]) -> str:
    """Verdicts as JUnit XML for Jenkins, GitLab and GitHub: an artifact is a test case, which fails where it differs."""
    counts = {
        "tests": len(found), "failures": sum(v.outcome == "different" for v in found),
        "errors": sum(v.outcome == "trouble" for v in found),
    }  # fmt: skip
    times = {"time": f"{sum(verdict.seconds for verdict in found):.3f}"}
    numbers = {key: str(value) for key, value in counts.items()} | times
    root = Xml.Element("testsuites", numbers)
    suite = Xml.SubElement(root, "testsuite", {"name": "onnxspace check", **numbers})
    for verdict in found:
        facts = {"name": _clean_xml(verdict.name), "classname": "onnxspace.check", "time": f"{verdict.seconds:.3f}"}
        case = Xml.SubElement(suite, "testcase", facts)
        if verdict.outcome != "same":
            kind = "failure" if verdict.outcome == "different" else "error"
            Xml.SubElement(case, kind, {"message": _clean_xml(headline(verdict)), "type": verdict.outcome}).text = _clean_xml(
                details(verdict)
            )
        elif verdict.warnings:
            Xml.SubElement(case, "system-out").text = _clean_xml("\n".join(verdict.warnings))
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _clean_xml(text: str) -> str:
    """Replace characters that XML can't hold."""
    return _NOT_XML.sub("\ufffd", text)


def as_sarif(found: Sequence[Verdict]) -> str:
    """Verdicts as SARIF 2.1.0: a rule per metric, a result per metric beyond its limit and per artifact not compared."""
    rules = [{"id": name, "shortDescription": {"text": metric.words}} for name, metric in METRICS.items()]
    rules.append({"id": "trouble", "shortDescription": {"text": "the artifact could not be compared"}})
    results = [result for verdict in found for result in _results(verdict)]
    driver = {"name": "onnxspace", "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _results(verdict: Verdict) -> Iterator[Mapping[str, object]]:
    place = [{"physicalLocation": {"artifactLocation": {"uri": _uri(verdict.path)}}}]
    if verdict.outcome == "trouble":
        yield {"ruleId": "trouble", "level": "error", "message": {"text": headline(verdict)}, "locations": place}
    for finding in verdict.failed:
        text = "\n".join([f"{verdict.name}: {finding.words}", *verdict.reasons])
        yield {"ruleId": finding.metric, "level": "error", "message": {"text": text}, "locations": place}


def _uri(path: str) -> str:
    """A path as a URI reference: relative as given, absolute with a scheme."""
    place = Path(path)
    text = quote(place.as_posix().encode("utf-8", "surrogateescape"))
    return f"file://{text}" if place.is_absolute() else text


def as_github(found: Sequence[Verdict]) -> str:
    """Verdicts as GitHub workflow commands, which annotate the pull request, and a summary line."""
    lines = [
        f"::error file={_escape_property(v.path)},title={_escape_property(f'onnxspace check: {v.name}')}::{_escape_data(details(v))}"
        for v in found
        if v.outcome != "same"
    ]
    lines += [f"::warning file={_escape_property(v.path)}::{_escape_data(warning)}" for v in found for warning in v.warnings]
    return "\n".join([*lines, _escape_data(count_outcomes(found))]) + "\n"


def _escape_data(text: str) -> str:
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return escaped.replace("::", ":\u200b:")  # so that text from a file can't start a workflow command


def _escape_property(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A").replace(",", "%2C")


def as_markdown(found: Sequence[Verdict]) -> str:
    """Verdicts as a Markdown table, and a section per artifact that is not as expected."""
    names = [name for name in METRICS if any(name in verdict.measures for verdict in found)]
    rows = [["artifact", "outcome", *names], ["---", "---", *["---:" for _ in names]]]
    rows += [[_escape_markdown(v.name), _WORDS[v.outcome], *(_cell(v, name) for name in names)] for v in found]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        "\n\n".join(
            [f"## onnxspace check: {count_outcomes(found)}", table, *(_section(v) for v in found if v.outcome != "same")]
        )
        + "\n"
    )


def _cell(verdict: Verdict, name: str) -> str:
    if name not in verdict.measures:
        return ""
    finding = next((one for one in verdict.findings if one.metric == name), None)
    text = f"{verdict.measures[name]:.4g}" if finding is None else distinguish(verdict.measures[name], finding.limit)[0]
    return f"**{text}**" if finding is not None and not finding.kept else text


def _section(verdict: Verdict) -> str:
    return "\n".join(
        [
            f"### {_escape_markdown(verdict.name)}",
            "",
            *(f"- {_escape_markdown(line)}" for line in details(verdict).splitlines()),
        ]
    )


def _escape_markdown(text: str) -> str:
    """Escape Markdown and HTML, on one line."""
    return _MARKS.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False)).replace("@", "&#64;")


def headline(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    if verdict.error is not None:
        return verdict.error
    if not verdict.failed:
        return f"{verdict.name} is as expected."
    return f"{verdict.name} against {verdict.against}: {'; '.join(finding.words for finding in verdict.failed)}."


def details(verdict: Verdict) -> str:
    """The verdict's findings, reasons and file changes, a line each."""
    lines = [verdict.error] if verdict.error is not None else [_finding_line(finding) for finding in verdict.failed]
    lines += [f"Why: {reason}" for reason in verdict.reasons]
    lines += [f"First different layer: {verdict.layer}"] if verdict.layer else []
    lines += [f"Maps differ on {name}: cosine {cosine:.3f}" for _, name, cosine in verdict.images]
    lines += [f"Both graphs side by side: {verdict.page}"] if verdict.page else []
    return "\n".join([*lines, *(f"File: {change}" for change in verdict.changes)])


def _finding_line(finding: Finding) -> str:
    return f"{finding.metric}: {finding.words}"


def count_outcomes(found: Sequence[Verdict]) -> str:
    """Count verdicts by outcome: `2 as expected, 1 not as expected`."""
    numbers = [(sum(v.outcome == outcome for v in found), words) for outcome, words in _WORDS.items()]
    return ", ".join(f"{number} {words}" for number, words in numbers if number)


FORMATS: Mapping[str, Callable[[Sequence[Verdict]], str]] = {
    "json": as_json,
    "junit": as_junit,
    "sarif": as_sarif,
    "github": as_github,
    "markdown": as_markdown,
}
