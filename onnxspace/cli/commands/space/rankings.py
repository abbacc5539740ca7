"""Commands that relate all models of a space: affinities, rankings of sources, the tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.commands.space.group import (
    compute_affinity,
    json_option,
    open_space,
    place_argument,
    print_json,
    set_option,
    share_bar,
    space,
    where_option,
)
from onnxspace.cli.commands.space.probes import choose_set
from onnxspace.cli.console import print_error, print_lines, print_notes
from onnxspace.cli.names import Names
from onnxspace.cli.options import (
    cluster_option,
    known_option,
    known_ranks,
    memory_option,
    quiet_option,
    read_known_table,
)
from onnxspace.cli.replaced import note_replaced
from onnxspace.inputs.execution import DEVICES

if TYPE_CHECKING:
    from onnxspace.similarity.certainty import Certainty
    from onnxspace.spaces.compare import AffinityRow
    from onnxspace.workflows.space import Space


@space.command()
@place_argument
@set_option
@quiet_option
@memory_option
@cluster_option
@click.option("--device", type=Names(DEVICES, "device"), default="cpu", show_default=True, help="Device for matrix products.")
@click.option("--output", callback=note_replaced, metavar="FILE", help="Write the matrix as .csv, or draw it as .png.")
@where_option
@json_option("affinity")
def affinity(
    place: str, chosen: str | None, where: tuple[str, ...], memory: int, cluster: str | None, device: Any, quiet: bool, output: str | None, as_json: bool
) -> None:  # fmt: skip
    """Print the affinity of every pair.

    Affinities are cached in the space; only new pairs are computed.
    """
    from onnxspace.cli.text import space as spacetext

    found = compute_affinity(open_space(place, where, chosen), memory, cluster, device, quiet=quiet)
    if output is not None:
        spacetext.write_matrix(found, output)
    if as_json:
        print_json("affinity", spacetext.affinity_as_json(found))
    elif output is None:
        print_lines(spacetext.matrix(found))


@space.command()
@place_argument
@set_option
@click.argument("target", required=False, metavar="[NAME|PRINT.fp]")
@click.option("--certainty", is_flag=True, help="Show how certain the rankings are, by resampling the images.")
@known_option
@click.option(
    "--pictures",
    metavar="DIR",
    help="Folder of pictures of your task: rank on the set of probe images that is nearest to them.",
)
@quiet_option
@memory_option
@where_option
@json_option("rank")
def rank(
    place: str, chosen: str | None, target: str | None, certainty: bool, known: str | None, pictures: str | None, memory: int, where: tuple[str, ...], quiet: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Rank the other models as sources for a model, or for each model.

    A .fp file stands for a model that is not in the space. For one model, only its own affinities are computed, if they are not cached.
    """
    from onnxspace.cli.text import score as text
    from onnxspace.cli.text import space as spacetext

    elsewhere, opened = (
        read_known_table(known),
        choose_set(open_space(place, where), pictures, chosen, quiet=quiet, as_json=as_json),
    )
    from onnxspace.inputs.names import is_fingerprint

    stranger = target is not None and is_fingerprint(Path(target)) and not opened.holds(target)
    if stranger and certainty and not opened.ranks_by_use:
        raise click.UsageError("--certainty is for models of the space.")
    if stranger or opened.ranks_by_use:
        return _rank_by_use(opened, target, elsewhere, memory, certainty=certainty, quiet=quiet, as_json=as_json)
    if target is None:
        rows = spacetext.rows(compute_affinity(opened, memory, quiet=quiet))
    else:
        with share_bar(quiet=quiet) as share:
            rows = [opened.row(target, memory, share)]
    sure = _compute_certainty(opened, rows, memory, quiet=quiet) if certainty else {}
    ranks = known_ranks(elsewhere, [row.target for row in rows], rows[0].names if rows else ())
    if as_json:
        added = {"certainty": {name: one.to_dict() for name, one in sure.items()}} if certainty else {}
        print_json("rank", {**spacetext.rankings_as_json(opened, rows), **added, **({"known": ranks} if ranks else {})})
    else:
        print_lines((*spacetext.rankings(rows, sure), *(text.static_baseline(ranks) if ranks else ())))
    return 0


def _rank_by_use(
    opened: Space, target: str | None, elsewhere: Any, memory: int, *, certainty: bool, quiet: bool, as_json: bool
) -> int:
    """Print rankings by what predicts transfer, as `score` prints them; returns 2 where no source has a value, else 0."""
    from onnxspace.cli.text import score as text
    from onnxspace.cli.text.unranked import explain_affinity

    with share_bar(quiet=quiet) as share:
        found = opened.compare(target, memory, share, certain=certainty)
    targets = found.names if target is None else (opened.name_of(target) if opened.holds(target) else found.names[-1],)
    ranks = known_ranks(elsewhere, targets, found.names)
    if (lacking := explain_affinity(found, targets)) is not None:
        print_error(lacking)
    if as_json:
        print_json("rank", {**found.to_dict(targets), **({"known": ranks} if ranks else {})}, number=2)
    if as_json or lacking is not None:
        return 2 if lacking is not None else 0
    static = text.static_baseline(ranks) if ranks else ()
    print_lines((*text.rankings(found, targets), *text.evidence_note(found, targets), *static))
    print_notes(text.warnings(found), quiet=quiet)
    return 0


def _compute_certainty(opened: Space, rows: Sequence[AffinityRow], memory: int, *, quiet: bool) -> dict[str, Certainty]:
    from onnxspace.cli.console import progress_bar

    found = {}
    with progress_bar(enabled=not quiet) as bar:
        for done, one in enumerate(opened.certainties([row.ranking for row in rows], memory), 1):
            bar(f"resampling for {one.target}", done, len(rows))
            found[one.target] = one
    return found


@space.command()
@place_argument
@set_option
@quiet_option
@memory_option
@where_option
@json_option("tree")
def tree(place: str, chosen: str | None, memory: int, where: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Print the similarity tree (average linkage on 1 − affinity)."""
    from onnxspace.cli.text import space as spacetext

    opened = open_space(place, where, chosen)
    with share_bar(quiet=quiet) as share:
        names, joined = opened.named_tree(memory=memory, progress=share)
    if as_json:
        print_json("tree", {"models": list(names), "linkage": "average", "tree": joined.tolist()})
    else:
        print_lines(spacetext.tree(names, joined))
