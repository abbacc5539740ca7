"""The text that `onnxspace score` prints, the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import MOST_PRINTED, align, format_number, one_line, table_width, wrap
from onnxspace.similarity.reliability import describe_reliability
from onnxspace.storage.short_text import count, describe_images, list_names

if TYPE_CHECKING:
    from onnxspace.similarity.affinity import Affinity
    from onnxspace.similarity.certainty import Certainty, SourceCertainty
    from onnxspace.similarity.ranking import Ranking

#: A ranking whose last change lies within this share of the images counts as stable.
_EARLY = 0.75
#: Characters of the longest name of a score that is the heading of a column as it is.
_WIDEST = 13


def describe(result: Affinity, targets: Sequence[str], top: int | None, *, matrix: bool) -> Iterator[str]:
    """What is printed of a result: the matrix or, of many models, a summary, the rankings of `targets`, and their evidence."""
    from onnxspace.cli.text import summary

    if len(result.names) < 2:
        yield f"Only {one_line(result.names[0])} is left, so there is nothing to compare it with."
        return
    whole = len(targets) == len(result.names)
    many = whole and len(targets) > MOST_PRINTED
    yield from wrap(title(result) + (f"; {len(targets)} models" if many else ""))
    if matrix or (whole and not many):
        yield from format_matrix(result)
    elif many:
        yield from summary.summarise(result)
    yield from score_notes(result)
    yield from estimate_note(result)
    yield from precision_note(result)
    yield ""
    yield from summary.first_sources(result, targets) if many and top is None else rankings(result, targets, top)
    yield from evidence_note(result, targets)
    if many:
        yield from summary.next_steps()


def title(result: Affinity) -> str:
    """What the numbers of the first score are, and on which images."""
    probe = result.probe if result.by == "attribution" or result.pictures is None else result.pictures
    words = f"Affinity: mean cosine of {result.method_words} maps" if result.by == "attribution" else _summary(result.by)
    return one_line(f"{words} on {describe_images(probe)}")


def format_matrix(result: Affinity) -> Iterator[str]:
    """The matrix of the first score; columns are numbered like the rows, and those beyond the width follow below."""
    count = len(result.names)
    digits = len(str(count))
    names = [one_line(name) for name in result.names]
    wide = max(map(len, names))
    step = max(4, (table_width() - digits - wide - 2) // 7)
    for start in range(0, count, step):
        columns = range(start, min(start + step, count))
        yield ""
        yield " " * (digits + wide + 3) + " ".join(f"{column + 1:>6}" for column in columns)
        for row, name in enumerate(names):
            yield f"{row + 1:>{digits}}  {name:<{wide}} " + " ".join(format_number(result.matrix[row, one]) for one in columns)


def _summary(by: str) -> str:
    from onnxspace.scores.registry import find_spec

    one = find_spec(by)
    return f"{by}: {one.summary}{' (a row per target)' if one.directed else ''},"


#: What the values of a score mean, where its summary is not enough.
_MEANINGS = {
    "mean_rank": "mean_rank is 1 for the source that is first by both other scores, 0 for the last by both.",
    "knn_agreement": "knn_agreement is how often neighbours in a source's features have the target's answer (R² where answers are not classes).",
    "probability_predictivity": "probability_predictivity is the share of a target's probabilities that features predict linearly, at most 1.",
    "predictivity": "predictivity is the share of a target's outputs that a source's features predict linearly, at most 1.",
}


def score_notes(result: Affinity) -> Iterator[str]:
    """Notes on what the scores that rank and depara are, where they are among the scores."""
    notes = [words for name, words in _MEANINGS.items() if name in result.scores]
    if "depara" in result.details:
        weight = result.details["depara"]["lambda"]
        notes.append(f"depara is S_V + {weight:.3g} · S_E: mean cosine of maps, and similarity of images.")
    if notes:
        yield ""
    for note in notes:
        yield from wrap(note)


def estimate_note(result: Affinity) -> Iterator[str]:
    """A note on the standard error of affinities from fingerprints, where there are any."""
    highest = 0.0 if result.errors is None else float(result.errors.max(initial=0.0))
    if highest:
        yield ""
        yield from wrap(
            f"Affinities from fingerprints have a standard error of up to {highest:.3f}; the rankings show each after ±."
        )


def precision_note(result: Affinity) -> Iterator[str]:
    """A note on the precision of maps, where some were not computed in float32."""
    models: dict[str, list[str]] = {}
    for name, one in result.precisions.items():
        models.setdefault(one.used, []).append(one_line(name))
    if models.keys() <= {"float32"}:
        return
    yield ""
    if len(models) == 1:
        yield from wrap(f"Maps of all models were computed in {next(iter(models))}.")
    else:
        yield from wrap(f"Maps were computed in {'; in '.join(f'{used}: {list_names(n)}' for used, n in models.items())}.")


def rankings(result: Affinity, targets: Sequence[str], top: int | None = None) -> Iterator[str]:
    """For every target its first `top` sources (None: all), with standard errors of estimates, and certainty where there is any."""
    wide = max((len(one_line(name)) for name in result.names), default=0)
    for name in targets:
        if len(result.scores) > 1:
            lines = _ranking_by_scores(result, name, top)
        else:
            ranked = result.rank(name)
            rows = list(sources(result, name))
            lines = ranking(ranked, rows, wide, result.certainty.get(name), top)
        yield from lines
        yield ""


def ranking(
    ranked: Ranking, rows: Sequence[tuple[str, float, float]], wide: int, sure: Certainty | None = None, top: int | None = None
) -> Iterator[str]:  # fmt: skip
    """Ranked sources of one target, each with its value and standard error; names are padded to `wide` characters."""
    yield from wrap(f"{one_line(ranked.title)}{', with 95 % intervals' if sure else ''}")
    numbers = [format_number(value, error) for _, value, error in rows]
    room = max(map(len, numbers), default=0)
    marks = _mark_brackets(_take_brackets(ranked, sure))
    for place, ((source, _, _), number) in enumerate(list(zip(rows, numbers, strict=True))[:top]):
        line = f"{marks[place]} {ranked.places[place]:>3}. {one_line(source):<{wide}} "
        yield line + (number if sure is None else f"{number:<{room}}  {_describe_source(sure.sources[place])}")
    if top is None:
        yield from _list_unranked(ranked, wide)
    yield from _count_others(len(rows) + len(ranked.unranked), top)
    yield from _describe_ranking(ranked, sure)


def _take_brackets(ranked: Ranking, sure: Certainty | None) -> Ranking:
    """The ranking, whose sources are in brackets by resamples where there are any."""
    from onnxspace.similarity.ranking import replace_brackets

    return ranked if sure is None else replace_brackets(ranked, sure.brackets)


def _mark_brackets(ranked: Ranking) -> list[str]:
    """A stroke beside each source that can't be told apart from another one."""
    many = {bracket for bracket in ranked.brackets if ranked.brackets.count(bracket) > 1}
    return ["│" if bracket in many and bracket % 2 else "┊" if bracket in many else " " for bracket in ranked.brackets]


def _count_others(count: int, top: int | None) -> Iterator[str]:
    if top is not None and count > top:
        yield f"       and {count - top} more"


def _list_unranked(ranked: Ranking, wide: int) -> Iterator[str]:
    for source in ranked.unranked:
        yield f"    –. {one_line(source):<{wide}}    n/a"


def _describe_ranking(ranked: Ranking, sure: Certainty | None) -> Iterator[str]:
    for note in ranked.notes:
        yield from wrap(one_line(note), "  ", "  ")
    if sure is not None and len(sure.sources) > 1:
        yield from wrap("ahead in: the share of resamples of the images in which a source is ahead of the next one", "  ", "  ")
        yield from wrap(_stability_line(sure), "  ", "  ")


def _ranking_by_scores(result: Affinity, target: str, top: int | None) -> Iterator[str]:
    """Sources of one target by its own score, each with its value and rank by every score."""
    own, sure = result.rank(target), result.certainty.get(target)
    shown = [
        own.by,
        *(by for by in result.scores if by not in (own.by, "attribution")),
        *(["attribution"] if own.by != "attribution" and "attribution" in result.scores else []),
    ]
    others = {by: own if by == own.by else result.rank(target, by) for by in shown}
    cells = {by: {s: (v, p) for (s, v), p in zip(one.sources, one.places, strict=True)} for by, one in others.items()}
    yield from wrap(f"{one_line(own.title)}{', with 95 % intervals' if sure else ''}; value and rank by each score")
    certain = {} if sure is None else {one.source: [_format_interval(one), _format_share(one.ahead)] for one in sure.sources}
    listed = [*(source for source, _ in own.sources), *own.unranked]
    rows = [
        [
            f"{mark} {one_line(source)}",
            *(_cell(cells[by].get(source)) for by in shown),
            *certain.get(source, [""] * bool(sure) * 2),
        ]
        for mark, source in zip(_mark_places(own), listed, strict=True)
    ]
    yield from align([*_head(shown, ["95 % interval", "ahead in"] if sure else []), *rows[:top]], 0)
    yield from _count_others(len(listed), top)
    yield from _describe_ranking(own, sure)


def _mark_places(ranked: Ranking) -> list[str]:
    """What stands in front of each source, ranked or not: the stroke of its bracket and its place."""
    places = [f"{mark} {place:>3}." for mark, place in zip(_mark_brackets(ranked), ranked.places, strict=True)]
    return [*places, *("    –." for _ in ranked.unranked)]


def _head(scores: Sequence[str], more: Sequence[str]) -> list[list[str]]:
    """The heading of the sources and of each score; names that are wider than values are on two lines."""
    parts = [one_line(name).rpartition("_") if len(name) > _WIDEST else ("", "", one_line(name)) for name in scores]
    upper = ["", *(first + joint for first, joint, _ in parts), *("" for _ in more)]
    return [*([upper] if any(upper) else []), ["", *(last for *_, last in parts), *more]]


def _cell(found: tuple[float, int] | None) -> str:
    return "n/a" if found is None else f"{format_number(found[0])} {f'({found[1]})':>5}"


def stroke_note(brackets: Iterable[tuple[int, ...]]) -> Iterator[str]:
    """What a stroke means, where any of the rankings with these `brackets` has one."""
    if any(max(one, default=0) < len(one) for one in brackets):
        yield from wrap("Sources beside the same stroke can't be told apart on these images.")


def evidence_note(result: Affinity, targets: Sequence[str]) -> Iterator[str]:
    """What the rankings of `targets` rest on, and what would tell more."""
    ranked = [result.rank(name) for name in targets]
    yield from stroke_note(one.brackets for one in ranked)
    for by, evidence, kin in dict.fromkeys((one.by, one.evidence, one.lists_kin) for one in ranked):
        images = (result.pictures or result.probe)["images"]
        seen = "no picture of the task" if evidence == "none" else f"{images} of {one_line(result.probe['name'])}"
        words = describe_reliability("none" if kin else evidence, by)
        yield from wrap(
            f"Evidence: {evidence} ({seen}), by {one_line('affinity of maps' if by == 'attribution' else by)}. {words}"
        )
    if result.evidence == "none" and ranked:
        yield from wrap("To rank what to start from, give pictures of the task: --probe photos/")
    elif result.evidence == "pictures" and len(ranked) > 1:
        yield from wrap(
            "Sources are ranked for the tasks of these models. If none of them does your task, pictures alone can't tell: give "
            "labels (onnxspace transfer --data photos/) or a model of the task, however weak."
        )


def sources(result: Affinity, target: str) -> Iterator[tuple[str, float, float]]:
    """The ranked sources of a target: name, value, and its standard error, 0 where it is not estimated."""
    place = {name: i for i, name in enumerate(result.names)}
    row = None if result.errors is None else result.errors[place[target]]
    for source, value in result.rank(target).sources:
        yield source, value, 0.0 if row is None else float(row[place[source]])


def _describe_source(sure: SourceCertainty) -> str:
    return _format_interval(sure) + ("" if sure.ahead is None else f"  ahead in {_format_share(sure.ahead)}")


def _format_interval(sure: SourceCertainty) -> str:
    return f"[{format_number(sure.low)}, {format_number(sure.high)}]"


def _format_share(share: float | None) -> str:
    """A share in whole percent; only exactly 0 and 1 become 0 % and 100 %. Nothing for None, as for the last source."""
    if share is None:
        return ""
    percent = round(100 * share)
    if share not in (0, 1) and percent in (0, 100):
        return ">99 %" if percent else " <1 %"
    return f"{percent:>3} %"


def _stability_line(sure: Certainty) -> str:
    if sure.settled > _EARLY * sure.images:
        return f"The ranking still changed with image {sure.settled} of {sure.images}; more images may change it again."
    return f"The ranking no longer changes after {sure.settled} of {count(sure.images, 'image')}."


def warnings(result: Affinity) -> Iterator[str]:
    """Warnings, a line each."""
    for warning in result.warnings:
        yield f"warning: {one_line(warning)}"


def static_baseline(known: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The static baseline: the mean ranks of sources on other datasets, for each target."""
    yield from wrap("By mean rank on other datasets (1 is the best), whatever the target")
    for target, ranks in known.items():
        ordered = sorted(ranks.items(), key=lambda pair: pair[1])
        ranked = ", ".join(f"{one_line(name)} {rank:.3g}" for name, rank in ordered if name != target)
        yield from wrap(f"for {one_line(target)}: {ranked or 'no source is in the table'}", "  ", "    ")
