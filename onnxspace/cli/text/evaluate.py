"""The text that `onnxspace evaluate` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import align, one_line, table_width, wrap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from onnxspace.evaluation import Evaluation
    from onnxspace.evaluation.result import Measure

_NAMED = {"weighted_tau": "weighted tau", "kendall_tau": "Kendall tau", "spearman": "Spearman"}
_COLUMNS = 10


def report(found: Evaluation) -> Iterator[str]:
    """Lines of the report: precision and recall (also of random and oracle), correlations, regret, priorities, trees."""
    fewest, most = min(map(len, found.candidates)), max(map(len, found.candidates))
    many = f"{most}" if fewest == most else f"{fewest} to {most}"
    targets = f"{len(found.targets)} targets with {many} candidates, the best {found.relevant} relevant"
    yield from wrap(f"Oracle: {one_line(found.oracle)}, {targets}")
    for name, letter in (("precision", "P"), ("recall", "R")):
        yield ""
        rows = [(one.name, one.measures[name].mean) for one in found.scored]
        rows += [("random", getattr(found.random, name)), ("oracle", getattr(found.best, name))]
        yield from _curves(letter, rows, most)
    yield ""
    yield from _correlations(found)
    yield ""
    yield from _costs(found)
    yield from _priorities(found)
    yield from _against_static(found)
    yield from _trees(found)


def _curves(letter: str, rows: Sequence[tuple[str, NDArray[np.float64]]], most: int) -> Iterator[str]:
    wide = max(len(one_line(name)) for name, _ in rows)
    fitting = max(1, (table_width() - wide) // 6)
    ks = range(1, min(most, _COLUMNS, fitting) + 1)
    yield " " * wide + " " + " ".join(f"{f'{letter}@{k}':>5}" for k in ks)
    for name, values in rows:
        yield f"{one_line(name):<{wide}} " + " ".join(f"{values[k - 1]:5.3f}" for k in ks)


def _correlations(found: Evaluation) -> Iterator[str]:
    rows = [[one_line(one.name), *(_with_interval(one.measures[name]) for name in _NAMED)] for one in found.scored]
    yield from align([["", *_NAMED.values()], *rows], 0, " ")
    yield from wrap(f"means over targets, with {100 * found.level:g} % intervals from {found.draws} resamples of the targets")


def _with_interval(measure: Measure) -> str:
    return f"{_number(measure.mean[0])} [{_number(measure.low[0]).strip()}, {_number(measure.high[0]).strip()}]"


def _number(value: float) -> str:
    return f"{round(float(value), 3) + 0.0:6.3f}" if math.isfinite(value) else "     –"


def _costs(found: Evaluation) -> Iterator[str]:
    """Rel@K and regret@K of the best of the first 1, 3, 5 sources; they need an oracle of values rather than of ranks."""
    ks = [k for k in (1, 3, 5) if k <= max(map(len, found.candidates))]
    if not any(math.isfinite(one.measures["regret"].mean[0]) for one in found.scored):
        yield "Rel@K and regret@K need an oracle of values; this one has ranks only."
        return
    heads = [f"{what}@{k}" for what in ("Rel", "regret") for k in ks]
    rows = [
        [one_line(one.name), *(_short(one.measures[name].mean[k - 1]) for name in ("rel", "regret") for k in ks)]
        for one in found.scored
    ]
    yield from align([["", *heads], *rows], 0)


def _short(value: float) -> str:
    return f"{float(value):.4g}" if math.isfinite(value) else "–"


def _priorities(found: Evaluation) -> Iterator[str]:
    """Mean ranks of sources, a column per ranking, and the correlations where there are any."""
    columns = {name: dict(zip(one.sources, one.priorities, strict=True)) for name, one in found.priorities.items()}
    first = found.priorities["oracle"]
    alike = dict(zip(first.sources, first.correlations, strict=True))
    correlated = any(math.isfinite(value) for value in alike.values())
    rows = [["", *map(one_line, columns), *(["correlation"] if correlated else [])]]
    for source in first.sources:
        cells = [f"{ranks[source]:.1f}" for ranks in columns.values()] + ([_number(alike[source])] if correlated else [])
        rows.append([one_line(source), *cells])
    yield ""
    yield "Priority: the mean rank of a source over targets"
    yield from align(rows, 0)


def _against_static(found: Evaluation) -> Iterator[str]:
    """Margins of the rankings over the static baseline, and whether they are significant under resampling."""
    margins = found.margins()
    if margins:
        yield ""
        yield "Ahead of the static baseline in weighted tau, target by target"
    wide = max((len(one_line(name)) for name in margins), default=0)
    for name, margin in margins.items():
        word = "ahead" if margin.low[0] > 0 else "behind" if margin.high[0] < 0 else "no significant difference"
        yield f"{one_line(name):<{wide}} {_with_interval(margin)}  {word}"


def _trees(found: Evaluation) -> Iterator[str]:
    from onnxspace.cli.text.space import tree

    for name, (models, joined) in found.trees.items():
        yield ""
        if found.linkage == "average":
            yield from wrap(f"Tree of {one_line(name)}, average linkage: joints with their mean affinity")
            yield from tree(models, joined)
        else:
            yield from wrap(f"Tree of {one_line(name)}, single linkage: joints with the distance of rows")
            shown = joined.copy()
            shown[:, 2] = 1.0 - shown[:, 2]  # `tree` prints 1 − distance
            yield from tree(models, shown)
