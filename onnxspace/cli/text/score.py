"""The text that `onnxspace score` prints, the same on a terminal and in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxspace.similarity.affinity import Affinity
    from onnxspace.similarity.certainty import Certainty, SourceCertainty

#: A ranking whose last change lies within this share of the images counts as stable.
_EARLY = 0.75


def one_line(message: str) -> str:
    """A message without line breaks and control characters, since names come from untrusted files."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in message).split())


def matrix(result: Affinity) -> Iterator[str]:
    """The affinity matrix; columns are numbered like the rows."""
    probe = result.probe
    words = f"Affinity: mean cosine of {result.method_words} maps" if result.by == "attribution" else _summary(result.by)
    yield one_line(f"{words} on {probe['images']} images ({probe['name']})")
    yield ""
    count = len(result.names)
    digits = len(str(count))
    names = [one_line(name) for name in result.names]
    wide = max(map(len, names))
    yield " " * (digits + wide + 3) + " ".join(f"{n:>6}" for n in range(1, count + 1))
    for row, (name, values) in enumerate(zip(names, result.matrix, strict=True), 1):
        yield f"{row:>{digits}}  {name:<{wide}} " + " ".join(_format_number(value) for value in values)


def _summary(by: str) -> str:
    from onnxspace.scores.registry import find_spec

    one = find_spec(by)
    return f"{by}: {one.summary}{' (a row per target)' if one.directed else ''},"


def _format_number(value: float, error: float = 0.0) -> str:
    """Three decimals without a minus before zero, and the standard error of an estimate."""
    text = "   n/a" if math.isnan(value) else f"{round(float(value), 3) + 0.0:6.3f}"
    return f"{text} ± {error:.3f}" if error else text


def score_notes(result: Affinity) -> Iterator[str]:
    """Notes on what predictivity and depara are, where they are among the scores."""
    if "predictivity" in result.scores:
        yield ""
        yield "predictivity is the share of a target's outputs that a source's features predict linearly, at most 1."
    if "depara" in result.details:
        yield ""
        yield f"depara is S_V + {result.details['depara']['lambda']:.3g} · S_E: mean cosine of maps, and similarity of images."


def estimate_note(result: Affinity) -> Iterator[str]:
    """A note on the standard error of affinities from fingerprints, where there are any."""
    highest = 0.0 if result.errors is None else float(result.errors.max(initial=0.0))
    if highest:
        yield ""
        yield f"Affinities from fingerprints have a standard error of up to {highest:.3f}; the rankings show each after ±."


def rankings(result: Affinity, targets: Sequence[str]) -> Iterator[str]:
    """For every target its ranked sources, with standard errors of estimates, and certainty where it was computed."""
    wide = max((len(one_line(name)) for name in result.names), default=0)
    if len(result.scores) > 1:
        for name in targets:
            yield from _ranking_by_scores(result, name, wide)
        return
    for name in targets:
        yield from ranking(name, list(sources(result, name)), wide, result.certainty.get(name))


def ranking(target: str, rows: Sequence[tuple[str, float, float]], wide: int, sure: Certainty | None = None) -> Iterator[str]:
    """Ranked sources of one target, each with its affinity and standard error; names are padded to `wide` characters."""
    yield f"Sources for {one_line(target)}, best first{', with 95 % intervals' if sure else ''}"
    numbers = [_format_number(value, error) for _, value, error in rows]
    room = max(map(len, numbers), default=0)
    for place, ((source, _, _), number) in enumerate(zip(rows, numbers, strict=True)):
        line = f"  {place + 1:>3}. {one_line(source):<{wide}} "
        yield line + (number if sure is None else f"{number:<{room}}  {_format_interval(sure.sources[place])}")
    if sure is not None and len(sure.sources) > 1:
        yield _stability_line(sure)
    yield ""


def _ranking_by_scores(result: Affinity, target: str, wide: int) -> Iterator[str]:
    """Sources of one target, ranked by `result.ranks_by`, each with its value and rank by every score."""
    shown = sorted(result.scores, key=lambda by: by != result.ranks_by)
    rankings = {by: dict(result.rank(target, by).sources) for by in shown}
    places = {by: {source: place for place, source in enumerate(values, 1)} for by, values in rankings.items()}
    sure = result.certainty.get(target)
    certain = {} if sure is None else {one.source: _format_interval(one) for one in sure.sources}
    words = ", with 95 % intervals" if sure else ""
    yield f"Sources for {one_line(target)}, best first by {one_line(result.ranks_by)}{words}; value and rank by each score"
    yield " " * (wide + 7) + "  ".join(f"{one_line(by):>12}" for by in rankings)
    first = list(rankings[result.ranks_by])
    for line, source in enumerate([*first, *(n for n in result.names if n not in first and n != target)], 1):
        cells = (_cell(rankings[by].get(source), places[by].get(source)) for by in rankings)
        yield f"  {line:>3}. {one_line(source):<{wide}} " + "  ".join((*cells, *filter(None, (certain.get(source),))))
    if sure is not None and len(sure.sources) > 1:
        yield _stability_line(sure)
    yield ""


def _cell(value: float | None, place: int | None) -> str:
    return f"{'n/a':>12}" if value is None else f"{_format_number(value)} {f'({place})':>5}"


def sources(result: Affinity, target: str) -> Iterator[tuple[str, float, float]]:
    """The ranked sources of a target: name, affinity, and its standard error, 0 where it is not estimated."""
    place = {name: i for i, name in enumerate(result.names)}
    row = None if result.errors is None else result.errors[place[target]]
    for source, value in result.rank(target).sources:
        yield source, value, 0.0 if row is None else float(row[place[source]])


def _format_interval(sure: SourceCertainty) -> str:
    edges = f"[{_format_number(sure.low)}, {_format_number(sure.high)}]"
    return edges if sure.ahead is None else f"{edges}  ahead of the next in {_format_share(sure.ahead)} of resamples"


def _format_share(share: float) -> str:
    """A share in whole percent; only exactly 0 and 1 become 0 % and 100 %."""
    percent = round(100 * share)
    if share not in (0, 1) and percent in (0, 100):
        return ">99 %" if percent else " <1 %"
    return f"{percent:>3} %"


def _stability_line(sure: Certainty) -> str:
    if sure.settled > _EARLY * sure.images:
        return f"  The ranking still changed with image {sure.settled} of {sure.images}; more images may change it again."
    return f"  The ranking no longer changes after {sure.settled} of {sure.images} images."


def assumptions(result: Affinity) -> Iterator[str]:
    """The assumptions on each model, a line each."""
    for model in result.models:
        if model.assumed:
            yield f"assumed for {one_line(model.name)}: {one_line('; '.join(model.assumed))}"


def warnings(result: Affinity) -> Iterator[str]:
    """Warnings, a line each."""
    for warning in result.warnings:
        yield f"warning: {one_line(warning)}"


def static_baseline(known: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The static baseline: the mean ranks of sources on other datasets, for each target."""
    yield "By mean rank on other datasets (1 is the best), whatever the target"
    for target, ranks in known.items():
        ordered = sorted(ranks.items(), key=lambda pair: pair[1])
        ranked = ", ".join(f"{one_line(name)} {rank:.3g}" for name, rank in ordered if name != target)
        yield f"  for {one_line(target)}: {ranked or 'no source is in the table'}"
