"""`onnxspace space …`: a command per question."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxspace.cli.options import (
    cluster,
    computing,
    known_ranks,
    known_results,
    known_table,
    memory,
    numbers,
    opening,
    probes_from,
    take_method_options,
)
from onnxspace.inputs.methods import DEFAULT_METHOD, DEVICES, METHODS

if TYPE_CHECKING:
    from onnxspace.similarity.certainty import Certainty
    from onnxspace.spaces.add_fingerprints import Added
    from onnxspace.spaces.compare import Row
    from onnxspace.workflows.space import Space

_Function = TypeVar("_Function", bound=Callable[..., Any])
FAILED, DIFFERENT = 2, 1
_place = click.argument("place", metavar="ZOO.space")
_quiet = click.option("--quiet", is_flag=True, help="No progress or warnings on stderr; errors still show.")


def _json(name: str) -> Callable[[_Function], _Function]:
    return click.option("--json", "as_json", is_flag=True, help=f"Print one JSON object (schema onnxspace/space-{name}/1).")


class _InOrder(click.Group):
    """Commands in the order in which they are used, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
def space() -> None:
    """Keep models in a folder that grows, and ask which are related."""


@space.command()
@_place
@click.option("--probe", metavar="DIR", help="Folder of photos to explain models on; without it, generated images.")
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the probe images.")
@click.option(
    "--method", type=click.Choice(tuple(METHODS)), default=DEFAULT_METHOD, show_default=True, help="Kind of attribution map."
)
@numbers
@click.option("--config", metavar="FILE", help="Entries over the method's rules [default: onnxspace.toml, if there].")
@click.option(
    "--keep-maps/--no-keep-maps", default=True, show_default=True,
    help="Keep whole maps, or fingerprints only (affinities then have a standard error).",
)  # fmt: skip
def create(place: str, probe: str | None, images: int | None, seed: int, **options: Any) -> None:
    """Make a new, empty space.

    Images, method and its numbers hold for every model that is added later.
    """
    from onnxspace.inputs.methods import resolve_settings

    told = take_method_options(options)
    resolve_settings([options["method"]], told)
    from pathlib import Path

    from onnxspace.spaces.create import refuse_taken
    from onnxspace.workflows.space import Space

    refuse_taken(Path(place))
    Space.create(place, probes_from(probe, images, seed), options=told, **options)


@space.command()
@_place
@click.argument("models", nargs=-1, required=True, metavar="MODEL.onnx|PRINT.fp...")
@opening
@cluster
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@click.option("--probe", metavar="DIR", help="The folder of probe photos, where the space does not hold them.")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed with which they were drawn."
)
@_json("add")
def add(place: str, models: tuple[str, ...], probe: str | None, seed: int, quiet: bool, as_json: bool, **options: Any) -> int:
    """Explain models and add them.

    A model is in the space as soon as it is done; one that is there already is left as it is.
    """
    compute = computing(options)
    opened = _opened(place)
    from onnxspace.cli.console import progress_bar, say_what_is_kept
    from onnxspace.quiet import silence_libraries

    with say_what_is_kept(), silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        found = opened.add(list(models), device=compute, probes=_same_probes(opened, probe, seed), progress=bar, **options)
    _say(found, quiet=quiet)
    if as_json:
        _print("add", {
            "added": [vars(model) for model in found.models], "there": [{"path": p, "name": n} for p, n in found.there],
            "failed": [vars(failure) for failure in found.failed], "warnings": list(found.warnings),
        })  # fmt: skip
    return FAILED if found.failed else 0


def _same_probes(opened: Space, probe: str | None, seed: int) -> Any:
    from onnxspace.inputs.probes import Probes

    return None if probe is None else Probes.from_folder(probe, opened.protocol.images, opened.protocol.size, seed=seed)


def _say(found: Added, *, quiet: bool) -> None:
    from onnxspace.cli.text.score import one_line

    for failure in found.failed:
        click.echo(f"onnxspace: {one_line(failure.error)}", err=True)
    if not quiet:
        for warning in found.warnings:
            click.echo(f"warning: {one_line(warning)}", err=True)
        for path, name in found.there:
            click.echo(f"{one_line(path)} is there already, as {one_line(name)}", err=True)
        for model in found.models:
            assumed = f"; assumed: {one_line('; '.join(model.assumed))}" if model.assumed else ""
            click.echo(f"added {one_line(model.name)}{assumed}", err=True)


@space.command()
@_place
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(place: str, names: tuple[str, ...]) -> None:
    """Take models out."""
    opened = _opened(place)
    for name in names:
        opened.remove(name)


@space.command(name="list")
@_place
@_json("list")
def list_(place: str, as_json: bool) -> None:
    """Show what the space is made of, and its models."""
    from onnxspace.cli.text import space as spacetext

    opened = _opened(place)
    if as_json:
        _print("list", spacetext.listed(opened))
    else:
        click.echo("\n".join(spacetext.listing(opened)))


@space.command()
@_place
@_quiet
@memory
@cluster
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="Where products are made.")
@click.option("--output", metavar="FILE", help="Write the matrix as .csv, or draw it as .png.")
@_json("affinity")
def affinity(
    place: str, memory: int, cluster: str | None, device: Any, quiet: bool, output: str | None, as_json: bool
) -> None:  # fmt: skip
    """Print the affinity of every pair.

    Only pairs that were never computed are computed.
    """
    from onnxspace.cli.text import space as spacetext

    found = _affinity(place, memory, cluster, device, quiet=quiet)
    if output is not None:
        spacetext.write(found, output)
    if as_json:
        _print("affinity", spacetext.affinity(found))
    elif output is None:
        click.echo("\n".join(spacetext.matrix(found)))


@space.command()
@_place
@click.argument("target", required=False, metavar="[NAME]")
@click.option("--certainty", is_flag=True, help="Say how sure the rankings are, by drawing the images again.")
@known_results
@_quiet
@memory
@_json("rank")
def rank(
    place: str, target: str | None, certainty: bool, known: str | None, memory: int, quiet: bool, as_json: bool
) -> None:  # fmt: skip
    """Rank the others as sources for a model, or for each.

    For one model only its own comparisons are computed, where they never were.
    """
    from onnxspace.cli.text import score as text
    from onnxspace.cli.text import space as spacetext

    elsewhere, opened = known_table(known), _opened(place)
    if target is None:
        rows = spacetext.rows(_affinity(place, memory, quiet=quiet))
    else:
        with _sharing(quiet=quiet) as share:
            rows = [opened.row(target, memory, share)]
    sure = _certainty(opened, rows, memory, quiet=quiet) if certainty else {}
    ranks = known_ranks(elsewhere, [row.target for row in rows], rows[0].names if rows else ())
    if as_json:
        added = {"certainty": {name: one.to_dict() for name, one in sure.items()}} if certainty else {}
        _print("rank", {**spacetext.ranked(opened, rows), **added, **({"known": ranks} if ranks else {})})
    else:
        click.echo("\n".join((*spacetext.rankings(rows, sure), *(text.elsewhere(ranks) if ranks else ()))))


def _certainty(opened: Space, rows: Sequence[Row], memory: int, *, quiet: bool) -> dict[str, Certainty]:
    from onnxspace.cli.console import progress_bar

    found = {}
    with progress_bar(enabled=not quiet) as bar:
        for done, one in enumerate(opened.certainties([row.ranking for row in rows], memory), 1):
            bar(f"resampling for {one.target}", done, len(rows))
            found[one.target] = one
    return found


@space.command()
@_place
@_quiet
@memory
@_json("tree")
def tree(place: str, memory: int, quiet: bool, as_json: bool) -> None:
    """Print the similarity tree (average linkage on 1 − affinity)."""
    from onnxspace.cli.text import space as spacetext

    opened = _opened(place)
    names = opened.names
    with _sharing(quiet=quiet) as share:
        joined = opened.tree(memory=memory, progress=share)
    if as_json:
        _print("tree", {"models": list(names), "linkage": "average", "tree": joined.tolist()})
    else:
        click.echo("\n".join(spacetext.tree(names, joined)))


@space.command()
@_place
@click.argument("model", metavar="NAME|PRINT.fp|MODEL.onnx")
@click.option("-n", "--number", "count", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="How many.")
@opening
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@click.option("--exact", is_flag=True, help="Compare all fingerprints, even where there is an index.")
@_json("nearest")
def nearest(place: str, model: str, count: int, quiet: bool, as_json: bool, **options: Any) -> None:
    """Show the models nearest to one, by fingerprint.

    An .onnx file is explained, but not added. Where models are many, an index is used if there is one.
    """
    from onnxspace.cli.console import progress_bar
    from onnxspace.cli.text import space as spacetext
    from onnxspace.quiet import silence_libraries

    compute = computing(options)
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        found = _opened(place).nearest(model, count, device=compute, progress=bar, warn=_warning(quiet=quiet), **options)
    if as_json:
        _print("nearest", {"target": model, "nearest": [vars(neighbour) for neighbour in found]})
    else:
        click.echo("\n".join(spacetext.neighbours(model, found)))


@space.command()
@_place
@click.option(
    "--least", type=click.FloatRange(-1, 1), default=0.98, show_default=True, metavar="A", help="Affinity from which on."
)
@_quiet
@memory
@_json("duplicates")
def duplicates(place: str, least: float, memory: int, quiet: bool, as_json: bool) -> None:
    """Show groups of models that may be one network.

    Exported twice, quantised, or fine-tuned a little. Fingerprints propose pairs, maps decide.
    """
    from onnxspace.cli.text import space as spacetext

    opened = _opened(place)
    with _sharing(quiet=quiet) as share:
        found = opened.duplicate_groups(least, memory, share, _warning(quiet=quiet))
    if as_json:
        _print("duplicates", {"least": least, **spacetext.duplicated(found)})
    else:
        click.echo("\n".join(spacetext.duplicates(found)))


@space.command()
@_place
@_quiet
@_json("index")
def index(place: str, quiet: bool, as_json: bool) -> None:
    """Index the fingerprints, for `nearest` among many models.

    Again later: models that came since are added. Needs usearch (the extra `search`).
    """
    opened = _opened(place)
    with _sharing(quiet=quiet, what="indexing") as share:
        count = opened.index(share)
    if as_json:
        _print("index", {"models": count})
    else:
        click.echo(f"{count} model{'' if count == 1 else 's'} indexed")


@space.command()
@_place
@_quiet
@_json("verify")
def verify(place: str, quiet: bool, as_json: bool) -> int:
    """Read every file again, and name what differs.

    Exit code 1 where anything is missing, truncated, changed, or not of this space.
    """
    from onnxspace.cli.console import progress_bar
    from onnxspace.cli.text import space as spacetext

    opened = _opened(place)
    with progress_bar(enabled=not quiet) as bar:
        found = opened.verify(bar)
    if as_json:
        _print("verify", spacetext.verified(found))
    else:
        click.echo("\n".join(spacetext.verification(found)))
    return 0 if found.clean else DIFFERENT


@space.command()
@_place
def compact(place: str) -> None:
    """Drop what nothing refers to."""
    count, size = _opened(place).compact()
    click.echo(f"removed {count} file{'' if count == 1 else 's'}; {max(size, 0):,} bytes won")


def _opened(place: str) -> Space:
    from onnxspace.workflows.space import Space

    return Space.open(place)


def _affinity(place: str, memory: int, cluster: str | None = None, device: Any = "cpu", *, quiet: bool) -> Any:
    with _sharing(quiet=quiet) as share:
        return _opened(place).affinity(memory, share, cluster, device)


@contextmanager
def _sharing(*, quiet: bool, what: str = "comparing") -> Iterator[Callable[[float], None]]:
    """A bar for the share that is done."""
    from onnxspace.cli.console import progress_bar

    with progress_bar(enabled=not quiet) as bar:
        yield lambda share: bar(what, round(1000 * share), 1000)


def _warning(*, quiet: bool) -> Callable[[str], None]:
    from onnxspace.cli.text.score import one_line

    return lambda text: None if quiet else click.echo(f"warning: {one_line(text)}", err=True)


def _print(name: str, facts: dict[str, Any]) -> None:
    click.echo(json.dumps({"schema": f"onnxspace/space-{name}/1", **facts}, allow_nan=False))
