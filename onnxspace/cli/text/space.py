"""What `onnxspace space` prints, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxspace.cli.text.lines import one_line, wrap
from onnxspace.inputs.protocol import describe_method
from onnxspace.storage.short_text import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from onnxspace.similarity.affinity import Affinity
    from onnxspace.similarity.certainty import Certainty
    from onnxspace.spaces.compare import AffinityRow
    from onnxspace.spaces.maintenance import Verification
    from onnxspace.spaces.neighbours import DuplicateGroups, Neighbour
    from onnxspace.spaces.schema import CatalogueEntry
    from onnxspace.workflows.space import Space


def list_as_json(space: Space) -> dict[str, Any]:
    protocol = space.protocol
    return {
        "method": protocol.method, "options": protocol.stated_options, "precision": protocol.precision, "probe": protocol.probe_facts(), "keep_maps": protocol.keep_maps,
        "models": [
            {**asdict(e.record()), "maps": e.maps is not None, "added": e.added, "versions": dict(e.versions), "warnings": list(e.warnings),
             "license": e.labels.license, "license_from": e.labels.license_from, "source": e.labels.source,
             "framework": e.labels.framework, "tags": list(e.labels.tags)}
            for e in space.entries()
        ],
    }  # fmt: skip


def listing(space: Space) -> Iterator[str]:
    protocol, entries = space.protocol, space.entries()
    kept = "maps and fingerprints" if protocol.keep_maps else "fingerprints only"
    images = f"{count(protocol.images, 'image')} of {protocol.size} pixels ({protocol.probe})"
    yield from wrap(one_line(f"{describe_method(protocol.method, protocol.options)} on {images}; {kept}"))
    wide = max((len(one_line(e.name)) for e in entries), default=0)
    for entry in entries:
        only = "" if entry.maps is not None or not protocol.keep_maps else "  fingerprint only"
        facts = f"{entry.sha256[:12]}  {entry.added[:10]}  {one_line(entry.encoder)}{only}{_describe_labels(entry)}"
        yield from wrap(facts, f"  {one_line(entry.name):<{wide}}  ", " " * 6)
    whole = len(space.where())
    some = f"{len(entries)} of " if len(entries) < whole else ""
    yield f"{some}{count(whole, 'model')}"


def probe_sets(sets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The sets of probe images, each with its images, the number of its models and what is kept of them."""
    wide = max((len(one["name"]) for one in sets), default=0)
    for one in sets:
        of = f"{count(one['probe']['images'], 'image')} of {one['probe']['size']} pixels ({one['probe']['name']})"
        models = f"{count(one['models'], 'model')}, {one['detail']}"
        yield from wrap(one_line(f"{of}; {models}"), f"{one['name']:<{wide}}  ", " " * (wide + 2))


def _describe_labels(entry: CatalogueEntry) -> str:
    words = ((entry.labels.license,) if entry.labels.license else ()) + entry.labels.tags
    return f"  {one_line(', '.join(words))}" if words else ""


def affinity_as_json(found: Affinity) -> dict[str, Any]:
    first = next(iter(found.precisions.values()), None)
    return {
        "method": found.method, "options": dict(found.options), **({} if first is None else {"precision": first.used}),
        "probe": dict(found.probe), "models": [asdict(model) for model in found.models], "affinity": found.matrix.tolist(),
        "errors": _errors(found).tolist(),
    }  # fmt: skip


def rankings_as_json(space: Space, rows: Sequence[AffinityRow]) -> dict[str, Any]:
    def sources(row: AffinityRow) -> list[dict[str, Any]]:
        return [{"source": s, "affinity": a, "error": e} for s, a, e in row.sources]

    protocol = space.protocol
    return {
        "method": protocol.method, "options": protocol.stated_options, "precision": protocol.precision, "probe": protocol.probe_facts(),
        "rankings": {row.target: sources(row) for row in rows},
    }  # fmt: skip


def _errors(found: Affinity) -> NDArray[np.float64]:
    import numpy as np

    return np.zeros_like(found.matrix) if found.errors is None else found.errors


def rows(found: Affinity) -> list[AffinityRow]:
    """The rows of a matrix, a ranking each."""
    import numpy as np

    from onnxspace.spaces.compare import AffinityRow

    errors = [np.zeros(len(found.names))] * len(found.names) if found.errors is None else found.errors
    return [
        AffinityRow(*facts) for facts in zip(found.names, [found.names] * len(found.names), found.matrix, errors, strict=True)
    ]


def matrix(found: Affinity) -> Iterator[str]:
    """The matrix as `score` prints it, and a note on the standard error of estimates."""
    from onnxspace.cli.text import score as text

    if not found.names:
        yield "no models"
        return
    yield from wrap(text.title(found))
    yield from text.format_matrix(found)
    highest = 0.0 if found.errors is None else float(found.errors.max())
    if highest:
        yield ""
        yield from wrap(f"Affinities from fingerprints have a standard error of up to {highest:.3f}; `space rank` shows each.")


def rankings(rows: Sequence[AffinityRow], sure: Mapping[str, Certainty] | None = None) -> Iterator[str]:
    """For every target its sources in order, with the standard error of what is estimated, and how sure that is, if known."""
    from onnxspace.cli.text import score as text

    wide = max((len(one_line(name)) for row in rows[:1] for name in row.names), default=0)
    for place, row in enumerate(rows):
        if place:
            yield ""
        yield from text.ranking(row.ranking, row.sources, wide, (sure or {}).get(row.target))
    if sure and (note := list(text.stroke_note(one.brackets for one in sure.values()))):
        yield from ("", *note)


def neighbours(target: str, found: Sequence[Neighbour]) -> Iterator[str]:
    wide = max((len(one_line(n.name)) for n in found), default=0)
    yield from wrap(f"Nearest to {one_line(target)}, by fingerprint")
    for place, neighbour in enumerate(found, 1):
        yield f"  {place:>3}. {one_line(neighbour.name):<{wide}} {_format_number(neighbour.affinity, neighbour.error)}"


def neighbour_as_json(one: Neighbour) -> dict[str, Any]:
    """A neighbour by kin: name, affinity and error; one by use also has value, place and scores."""
    facts = asdict(one)
    return facts if one.value is not None else {name: facts[name] for name in ("name", "affinity", "error")}


def sources_as_json(found: Affinity, count: int) -> dict[str, Any]:
    """The `count` best sources of the last model of `found`, and what their ranking rests on."""
    from onnxspace.workflows.space_ranking import list_neighbours

    ranked = found.rank(found.names[-1]).to_dict()
    return {
        "by": "use", "nearest": [neighbour_as_json(one) for one in list_neighbours(found, count)], "ranked_by": ranked["by"],
        "ranked": len(found.names) - 1,
        **{name: ranked[name] for name in ("evidence", "reliability", "notes")}, "warnings": list(found.warnings),
    }  # fmt: skip


def duplicates(found: DuplicateGroups) -> Iterator[str]:
    """Each group with its pairs, the most similar first."""
    names = [one_line(name) for name in found.names]
    for place, group in enumerate(found.groups):
        if place:
            yield ""
        yield f"{len(group.members)} models that may be one network"
        wide = max(len(names[i]) for i in group.members)
        for pair in group.pairs:
            number = _format_number(pair.affinity, pair.standard_error)
            yield from wrap(f"{names[pair.first]:<{wide}}  {names[pair.second]:<{wide}} {number}", "  ", "    ")
    if not found.groups:
        yield "none"


def duplicates_as_json(found: DuplicateGroups) -> dict[str, Any]:
    facts = ("first", "second", "affinity", "error")
    return {
        "pairs": [dict(zip(facts, pair, strict=True)) for pair in found.pairs],
        "groups": [list(members) for members in found.members],
    }


def _format_number(value: float, error: float) -> str:
    text = f"{round(value, 3) + 0.0:6.3f}"
    return f"{text} ± {error:.3f}" if error else text


def tree(names: Sequence[str], joined: NDArray[np.float64]) -> Iterator[str]:
    """The tree from its root, a line per joint and per model; a joint shows the mean affinity at which its branches join.

    `joined` float64 [models − 1, 4] is the linkage as SciPy gives it, with distances 1 − affinity.
    """
    count = len(names)
    todo: list[tuple[int, str, str]] = [(count + len(joined) - 1, "", "")]
    while todo:
        node, first, rest = todo.pop()
        if node < count:
            yield f"{first}{one_line(names[node])}"
            continue
        left, right, distance = int(joined[node - count, 0]), int(joined[node - count, 1]), float(joined[node - count, 2])
        yield f"{first}┐ {round(1 - distance, 3) + 0.0:.3f}"
        todo += [(right, f"{rest}└─", f"{rest}  "), (left, f"{rest}├─", f"{rest}│ ")]


def verification_as_json(found: Verification) -> dict[str, Any]:
    return {
        "clean": found.clean, "models": found.models, "problems": [asdict(problem) for problem in found.problems],
        "leftovers": list(found.leftovers),
    }  # fmt: skip


def verification(found: Verification) -> Iterator[str]:
    for problem in found.problems:
        yield from wrap(one_line(f"{problem.kind}: {problem.text}"), rest="  ")
    if found.leftovers:
        yield from wrap(f"{len(found.leftovers)} left over from interrupted work, which `compact` removes")
    state = "all as written" if found.clean else f"{len(found.problems):,} differ"
    yield f"{count(found.models, 'model')}; {state}"


def write_matrix(found: Affinity, output: str) -> None:
    """Write the matrix to `output` as .csv, or draw it as .png. Raises ConfigError for other names, OutputError."""
    from onnxspace.errors import ConfigError
    from onnxspace.storage.atomic import convert_write_errors

    path = Path(output)
    with convert_write_errors(path):
        if path.suffix.lower() == ".csv":
            path.write_text(found.to_csv(), "utf-8", "backslashreplace")
        elif path.suffix.lower() == ".png" and len(found.names) > 1:
            from onnxspace.report.heatmap import draw_affinity

            draw_affinity(found, path)
        else:
            raise ConfigError(f"--output {output} must end in .csv, or in .png for two models or more. Name another file.")
