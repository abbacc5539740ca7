"""The group of commands `onnxspace space`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxspace.cli.options import (
    cluster_option,
    known_option,
    known_ranks,
    memory_option,
    number_options,
    opening_options,
    pixel_options,
    probes_from,
    read_known_table,
    read_list,
    skip_broken_option,
    take_compute,
    take_method_options,
    take_pixels,
)
from onnxspace.inputs.execution import DEVICES
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS

if TYPE_CHECKING:
    from onnxspace.similarity.certainty import Certainty
    from onnxspace.spaces.add_fingerprints import Additions
    from onnxspace.spaces.compare import AffinityRow
    from onnxspace.workflows.space import Space

_Function = TypeVar("_Function", bound=Callable[..., Any])
FAILED, DIFFERENT = 2, 1
_place = click.argument("place", metavar="ZOO.space")
_quiet = click.option("--quiet", is_flag=True, help="No progress or warnings on stderr; errors still show.")


def _json_option(name: str) -> Callable[[_Function], _Function]:
    return click.option("--json", "as_json", is_flag=True, help=f"Print one JSON object (schema onnxspace/space-{name}/1).")


class _InOrder(click.Group):
    """A group that lists commands in the order of their definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
def space() -> None:
    """Keep models in a folder, and find out which are related."""


@space.command()
@_place
@click.option("--probe", metavar="DIR", help="Folder of photos to explain models on; without it, generated images.")
@skip_broken_option
@click.option("--images", type=click.IntRange(1, 100_000), metavar="N", help="Number of probe images [default: 64].")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the probe images.")
@click.option(
    "--method", type=click.Choice(tuple(METHODS)), default=DEFAULT_METHOD, show_default=True, help="Kind of attribution map."
)
@number_options
@click.option("--config", metavar="FILE", help="File with changes of the method's rules [default: onnxspace.toml, if there].")
@click.option(
    "--keep-maps/--no-keep-maps", default=True, show_default=True,
    help="Keep whole maps, or fingerprints only (affinities then have a standard error).",
)  # fmt: skip
@click.option(
    "--detail", type=click.Choice(("maps", "images", "pictures")),
    help="What is kept beside maps: nothing; features and outputs in little, to rank by answers per image; or by pictures too "
    "[default: pictures with --probe, else maps].",
)  # fmt: skip
def create(place: str, probe: str | None, images: int | None, seed: int, **options: Any) -> None:
    """Create an empty space.

    Its images, method and options apply to every model that is added later.
    """
    from onnxspace.inputs.methods import resolve_settings

    settings = take_method_options(options)
    resolve_settings([options["method"]], settings)
    from onnxspace.cli.console import print_remarks
    from onnxspace.spaces.create import refuse_occupied
    from onnxspace.workflows.space import Space

    refuse_occupied(Path(place))
    probes = probes_from(probe, images, seed, skip_broken=options.pop("skip_broken"))
    Space.create(place, print_remarks(probes), options=settings, **options)


@space.command()
@_place
@click.argument("models", nargs=-1, metavar="MODEL.onnx|PRINT.fp...")
@click.option(
    "--from", "listed", metavar="FILE|-", help="File with the path of a model or fingerprint per line; - is standard input."
)
@opening_options
@pixel_options
@cluster_option
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@click.option("--probe", metavar="DIR", help="Folder of the probe photos, if the space does not contain them.")
@skip_broken_option
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the choice of photos.")
@_json_option("add")
def add(
    place: str, models: tuple[str, ...], listed: str | None, probe: str | None, seed: int, quiet: bool, as_json: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Explain models and add them.

    Each model is added as soon as it is done; one that the space already contains is left as it is. A model may also be any
    source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    from onnxspace.cli.announce import PixelTable

    compute, skip_broken = take_compute(options), options.pop("skip_broken")
    models = (*models, *read_list(listed))
    if not models:
        raise click.UsageError("name models or fingerprints to add, or a list of them with --from.")
    options |= {"pixels": take_pixels(options), "announce": PixelTable(quiet=quiet)}
    opened = _open(place)
    from onnxspace.cli.console import print_remarks, progress_bar, report_kept_work
    from onnxspace.quiet import silence_libraries

    with report_kept_work(), silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        probes = print_remarks(_read_probes(opened, probe, seed, skip_broken=skip_broken), quiet=quiet)
        found = opened.add(list(models), device=compute, probes=probes, progress=bar, **options)
    _print_added(found, quiet=quiet)
    if as_json:
        _print_json("add", {
            "added": [asdict(model) for model in found.models], "there": [{"path": p, "name": n} for p, n in found.there],
            "failed": [vars(failure) for failure in found.failed], "warnings": list(found.warnings),
        })  # fmt: skip
    return FAILED if found.failed else 0


def _read_probes(opened: Space, probe: str | None, seed: int, *, skip_broken: bool) -> Any:
    if probe is None:
        return None
    return probes_from(probe, opened.protocol.images, seed, opened.protocol.size, skip_broken=skip_broken)


def _print_added(found: Additions, *, quiet: bool) -> None:
    from onnxspace.cli.text.pixels import other_assumptions
    from onnxspace.cli.text.score import one_line

    for failure in found.failed:
        click.echo(f"onnxspace: {one_line(failure.error)}", err=True)
    if not quiet:
        for warning in found.warnings:
            click.echo(f"warning: {one_line(warning)}", err=True)
        for path, name in found.there:
            click.echo(f"{one_line(path)} is already in the space, as {one_line(name)}", err=True)
        for model in found.models:
            others = other_assumptions(model)
            assumed = f"; assumed: {one_line('; '.join(others))}" if others else ""
            click.echo(f"added {one_line(model.name)}{assumed}", err=True)


@space.command()
@_place
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove(place: str, names: tuple[str, ...]) -> None:
    """Remove models."""
    opened = _open(place)
    for name in names:
        opened.remove(name)


@space.command()
@_place
@click.argument("others", nargs=-1, required=True, metavar="OTHER.space...")
@_quiet
@_json_option("merge")
def merge(place: str, others: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    """Add the models of other spaces.

    All spaces must have the same images, method and detail. Maps are copied where both spaces keep maps.
    """
    opened = _open(place)
    from onnxspace.cli.console import progress_bar

    with progress_bar(enabled=not quiet) as bar:
        found = [opened.merge(other, bar) for other in others]
    for one in found:
        _print_added(one, quiet=quiet)
    if as_json:
        there = [{"path": path, "name": name} for one in found for path, name in one.there]
        _print_json("merge", {"added": [asdict(model) for one in found for model in one.models], "there": there})


@space.command()
@_place
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder for the fingerprints, one .fp file per model.")
@_quiet
def export(place: str, names: tuple[str, ...], output: str, quiet: bool) -> None:
    """Write the fingerprints of all models, or of those that are named."""
    opened = _open(place)
    from onnxspace.cli.console import progress_bar

    with progress_bar(enabled=not quiet) as bar:
        files = opened.export(output, names or None, bar)
    if not quiet:
        click.echo(f"{len(files)} fingerprint{'' if len(files) == 1 else 's'} in {output}", err=True)


@space.command(name="list")
@_place
@_json_option("list")
def list_(place: str, as_json: bool) -> None:
    """Show the images and method of the space, and its models."""
    from onnxspace.cli.text import space as spacetext

    opened = _open(place)
    if as_json:
        _print_json("list", spacetext.list_as_json(opened))
    else:
        click.echo("\n".join(spacetext.listing(opened)))


@space.command()
@_place
@_quiet
@memory_option
@cluster_option
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True, help="Device for matrix products.")
@click.option("--output", metavar="FILE", help="Write the matrix as .csv, or draw it as .png.")
@_json_option("affinity")
def affinity(
    place: str, memory: int, cluster: str | None, device: Any, quiet: bool, output: str | None, as_json: bool
) -> None:  # fmt: skip
    """Print the affinity of every pair.

    Affinities are cached in the space; only new pairs are computed.
    """
    from onnxspace.cli.text import space as spacetext

    found = _compute_affinity(place, memory, cluster, device, quiet=quiet)
    if output is not None:
        spacetext.write_matrix(found, output)
    if as_json:
        _print_json("affinity", spacetext.affinity_as_json(found))
    elif output is None:
        click.echo("\n".join(spacetext.matrix(found)))


@space.command()
@_place
@click.argument("target", required=False, metavar="[NAME|PRINT.fp]")
@click.option("--certainty", is_flag=True, help="Show how certain the rankings are, by resampling the images.")
@known_option
@_quiet
@memory_option
@_json_option("rank")
def rank(
    place: str, target: str | None, certainty: bool, known: str | None, memory: int, quiet: bool, as_json: bool
) -> None:  # fmt: skip
    """Rank the other models as sources for a model, or for each model.

    A .fp file stands for a model that is not in the space. For one model, only its own affinities are computed, if they are not cached.
    """
    from onnxspace.cli.text import score as text
    from onnxspace.cli.text import space as spacetext

    elsewhere, opened = read_known_table(known), _open(place)
    from onnxspace.inputs.names import is_fingerprint

    stranger = target is not None and is_fingerprint(Path(target)) and not opened.holds(target)
    if stranger and certainty and not opened.ranks_by_use:
        raise click.UsageError("--certainty is for models of the space.")
    if stranger or opened.ranks_by_use:
        _rank_by_use(opened, target, elsewhere, memory, certainty=certainty, quiet=quiet, as_json=as_json)
        return
    if target is None:
        rows = spacetext.rows(_compute_affinity(place, memory, quiet=quiet))
    else:
        with _share_bar(quiet=quiet) as share:
            rows = [opened.row(target, memory, share)]
    sure = _compute_certainty(opened, rows, memory, quiet=quiet) if certainty else {}
    ranks = known_ranks(elsewhere, [row.target for row in rows], rows[0].names if rows else ())
    if as_json:
        added = {"certainty": {name: one.to_dict() for name, one in sure.items()}} if certainty else {}
        _print_json("rank", {**spacetext.rankings_as_json(opened, rows), **added, **({"known": ranks} if ranks else {})})
    else:
        click.echo("\n".join((*spacetext.rankings(rows, sure), *(text.static_baseline(ranks) if ranks else ()))))


def _rank_by_use(
    opened: Space, target: str | None, elsewhere: Any, memory: int, *, certainty: bool, quiet: bool, as_json: bool
) -> None:
    """Print rankings by what predicts transfer, as `score` prints them."""
    from onnxspace.cli.text import score as text

    with _share_bar(quiet=quiet) as share:
        found = opened.compare(target, memory, share, certain=certainty)
    targets = found.names if target is None else (opened.name_of(target) if opened.holds(target) else found.names[-1],)
    ranks = known_ranks(elsewhere, targets, found.names)
    if as_json:
        _print_json("rank", {**found.to_dict(targets), **({"known": ranks} if ranks else {})}, number=2)
        return
    lines = (
        *text.rankings(found, targets),
        *text.evidence_note(found, targets),
        *(text.static_baseline(ranks) if ranks else ()),
    )
    click.echo("\n".join(lines))
    for warning in () if quiet else text.warnings(found):
        click.echo(warning, err=True)


def _compute_certainty(opened: Space, rows: Sequence[AffinityRow], memory: int, *, quiet: bool) -> dict[str, Certainty]:
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
@memory_option
@_json_option("tree")
def tree(place: str, memory: int, quiet: bool, as_json: bool) -> None:
    """Print the similarity tree (average linkage on 1 − affinity)."""
    from onnxspace.cli.text import space as spacetext

    opened = _open(place)
    names = opened.names
    with _share_bar(quiet=quiet) as share:
        joined = opened.tree(memory=memory, progress=share)
    if as_json:
        _print_json("tree", {"models": list(names), "linkage": "average", "tree": joined.tolist()})
    else:
        click.echo("\n".join(spacetext.tree(names, joined)))


@space.command()
@_place
@click.argument("model", metavar="NAME|PRINT.fp|MODEL.onnx")
@click.option(
    "-n", "--number", "count", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Number of models."
)
@opening_options
@pixel_options
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@click.option("--exact", is_flag=True, help="Compare all fingerprints, even if there is an index.")
@_json_option("nearest")
def nearest(place: str, model: str, count: int, quiet: bool, as_json: bool, **options: Any) -> None:
    """Show the models nearest to one, by fingerprint.

    A model that is not in the space (an .onnx file, or what `onnxspace convert` takes) is explained, but not added. In a large space, the index is used if there is one.
    """
    from onnxspace.cli.announce import PixelTable
    from onnxspace.cli.console import progress_bar
    from onnxspace.cli.text import space as spacetext
    from onnxspace.quiet import silence_libraries

    compute = take_compute(options)
    options |= {"pixels": take_pixels(options), "announce": PixelTable(quiet=quiet)}
    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        found = _open(place).nearest(model, count, device=compute, progress=bar, warn=_print_warnings(quiet=quiet), **options)
    if as_json:
        _print_json("nearest", {"target": model, "nearest": [vars(neighbour) for neighbour in found]})
    else:
        click.echo("\n".join(spacetext.neighbours(model, found)))


@space.command()
@_place
@click.option(
    "--least",
    type=click.FloatRange(-1, 1),
    default=0.9,
    show_default=True,
    metavar="A",
    help="Smallest affinity of duplicates.",
)
@_quiet
@memory_option
@_json_option("duplicates")
def duplicates(place: str, least: float, memory: int, quiet: bool, as_json: bool) -> None:
    """Show groups of models that may be the same network.

    Such models were exported twice, quantised, or changed by about a hundredth of their weights. Candidate pairs are found by fingerprints and confirmed
    by maps.
    """
    from onnxspace.cli.text import space as spacetext

    opened = _open(place)
    with _share_bar(quiet=quiet) as share:
        found = opened.duplicate_groups(least, memory, share, _print_warnings(quiet=quiet))
    if as_json:
        _print_json("duplicates", {"least": least, **spacetext.duplicates_as_json(found)})
    else:
        click.echo("\n".join(spacetext.duplicates(found)))


@space.command()
@_place
@_quiet
@_json_option("index")
def index(place: str, quiet: bool, as_json: bool) -> None:
    """Index the fingerprints, for `nearest` in a large space.

    Run it again to add models that came later. Needs usearch (the extra `search`).
    """
    opened = _open(place)
    with _share_bar(quiet=quiet, what="indexing") as share:
        count = opened.index(share)
    if as_json:
        _print_json("index", {"models": count})
    else:
        click.echo(f"{count} model{'' if count == 1 else 's'} indexed")


@space.command()
@_place
@_quiet
@_json_option("verify")
def verify(place: str, quiet: bool, as_json: bool) -> int:
    """Verify every file of the space, and report what differs.

    Exit code 1 if anything is missing, truncated, changed, or does not belong to this space.
    """
    from onnxspace.cli.console import progress_bar
    from onnxspace.cli.text import space as spacetext

    opened = _open(place)
    with progress_bar(enabled=not quiet) as bar:
        found = opened.verify(bar)
    if as_json:
        _print_json("verify", spacetext.verification_as_json(found))
    else:
        click.echo("\n".join(spacetext.verification(found)))
    return 0 if found.clean else DIFFERENT


@space.command()
@_place
def compact(place: str) -> None:
    """Remove files that are no longer used."""
    count, size = _open(place).compact()
    click.echo(f"removed {count} file{'' if count == 1 else 's'}; {max(size, 0):,} bytes freed")


def _open(place: str) -> Space:
    from onnxspace.workflows.space import Space

    return Space.open(place)


def _compute_affinity(place: str, memory: int, cluster: str | None = None, device: Any = "cpu", *, quiet: bool) -> Any:
    with _share_bar(quiet=quiet) as share:
        return _open(place).affinity(memory, share, cluster, device)


@contextmanager
def _share_bar(*, quiet: bool, what: str = "comparing") -> Iterator[Callable[[float], None]]:
    """A progress callback that takes the share that is done."""
    from onnxspace.cli.console import progress_bar

    with progress_bar(enabled=not quiet) as bar:
        yield lambda share: bar(what, round(1000 * share), 1000)


def _print_warnings(*, quiet: bool) -> Callable[[str], None]:
    from onnxspace.cli.text.score import one_line

    return lambda text: None if quiet else click.echo(f"warning: {one_line(text)}", err=True)


def _print_json(name: str, facts: dict[str, Any], number: int = 1) -> None:
    rest = {key: value for key, value in facts.items() if key != "schema"}
    click.echo(json.dumps({"schema": f"onnxspace/space-{name}/{number}", **rest}, allow_nan=False))
