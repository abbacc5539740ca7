"""The command `onnxspace score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.commands.finetuning import FINETUNE, budget_option, refuse_options, show_finetuned
from onnxspace.cli.names import Names
from onnxspace.cli.options import (
    METHOD_HELP,
    class_options,
    cluster_option,
    known_option,
    known_ranks,
    memory_option,
    parse_weight,
    pixel_options,
    probes_from,
    read_known_table,
    scored_options,
    skip_broken_option,
    take_compute,
    take_method_options,
    take_pixels,
    take_targets,
)
from onnxspace.cli.replaced import note_replaced
from onnxspace.cli.seeds import PROBE_SEED, seed_option
from onnxspace.cli.text.lines import MOST_PRINTED
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS
from onnxspace.inputs.targets import take_one
from onnxspace.scores.selection import (
    ATTRIBUTION,
    DEFAULT_WEIGHT,
    MEAN_RANK,
    MOST_PICTURES,
    pair_score_names,
    select_scores,
)

if TYPE_CHECKING:
    from onnxspace.similarity.records import Failure
    from onnxspace.workflows.score_estimate import ScoreEstimate


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL.onnx|PRINT.fp...")
@click.option(
    "--probe",
    metavar="DIR",
    help="Folder of pictures of the task, by which sources are ranked; without it, images are generated.",
)
@click.option(
    "--images", type=click.IntRange(1, 100_000), metavar="N",
    help=f"Number of images [default: up to {MOST_PICTURES} pictures, or 64 generated images].",
)  # fmt: skip
@skip_broken_option
@click.option(
    "--method", type=Names(tuple(METHODS), "method"), metavar="METHOD", help=f"{METHOD_HELP} [default: {DEFAULT_METHOD}]."
)
@click.option(
    "--by", type=Names([*pair_score_names(), FINETUNE], "score of two models"), multiple=True, metavar="SCORE",
    help=f"Score to compare by: {', '.join(pair_score_names())}, {FINETUNE}. Repeatable: the matrix of the first is shown, and it "
    f"ranks [default: the matrix of {ATTRIBUTION}; with --probe, sources are ranked by {MEAN_RANK}].",
)  # fmt: skip
@click.option(
    "--lambda", "weight", callback=parse_weight, metavar="NUMBER|auto",
    help=f"Weight of features in depara; auto balances both parts [default: {DEFAULT_WEIGHT}].",
)  # fmt: skip
@class_options
@scored_options
@pixel_options
@click.option("--target", metavar="NAME", help="Rank sources for this model only.")
@click.option(
    "--top", type=click.IntRange(1), metavar="N",
    help=f"Print the first N sources of each target [default: all; of more than {MOST_PRINTED} models, the first].",
)  # fmt: skip
@click.option(
    "--matrix", is_flag=True, help=f"Print the whole matrix also of more than {MOST_PRINTED} models, and beside --target."
)
@click.option("--certainty", is_flag=True, help="Show how certain the rankings are, by resampling the images.")
@known_option
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="Images per pass [default: automatic].")
@cluster_option
@memory_option
@seed_option(PROBE_SEED, None)
@budget_option
@click.option(
    "--output", callback=note_replaced, metavar="DIR", help="Write maps, matrix, rankings and a picture to this folder."
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what it would take, time, memory and disk, from a measurement on a few of the images; nothing is written.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object (schema onnxspace/score/2, with --dry-run onnxspace/score-estimate/1).",
)
def score(
    models: tuple[str, ...], target: str | None, as_json: bool, certainty: bool, known: str | None, quiet: bool,
    top: int | None, matrix: bool, dry_run: bool, **options: Any,
) -> int:  # fmt: skip
    """Rank trained models as sources for a task by pictures of it, or list which models are alike.

    With --probe, a folder of pictures of the task without labels, the sources for each model's task are ranked by how well
    their features predict the model's answers on held-out pictures. Without it, every model is explained on generated images,
    which say nothing about a task: models are then listed by the affinity (mean cosine) of their attribution maps.
    Fingerprints (.fp) stand for models that are not here; images and method then default to those of the first fingerprint.
    Other scores compare what models compute at their encoders. A model may also be any
    source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    if len(models) < 2:
        raise click.UsageError(_ask_for_models(models[0]))
    from onnxspace.cli.announce import PixelTable

    budget = options.pop("budget")
    options |= {"pixels": take_pixels(options), "announce": PixelTable(quiet=quiet)}
    if FINETUNE in options["by"]:
        if dry_run:
            raise click.UsageError("--by finetune does not take --dry-run: its --budget is the time that it takes.")
        return _finetune(
            models, target, budget, {**options, "known": known, "certainty": certainty}, as_json=as_json, quiet=quiet
        )
    if budget is not None:
        raise click.UsageError("--budget needs --by finetune.")
    options["explained"] = take_one(take_targets(options))
    settings, compute, elsewhere = take_method_options(options), take_compute(options), read_known_table(known)
    select_scores(options["by"], options["weight"], options["method"] or DEFAULT_METHOD, settings)
    probe, images, seed, skip_broken = (options.pop(name) for name in ("probe", "images", "seed", "skip_broken"))
    _check_output(options["output"])
    target = None if target is None else _target_name(target, models, options["config"])
    from onnxspace.cli.console import print_remarks, progress_bar, report_kept_work
    from onnxspace.quiet import silence_libraries

    with report_kept_work(), silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.sandbox.limits import resolve_limits
        from onnxspace.workflows.score import compare
        from onnxspace.workflows.score_plan import ScoreRequest, list_lost, read_pictures, refuse_missing
        from onnxspace.workflows.session import start_early

        if as_json and not dry_run and (lost := list_lost(models)):
            return _print_lost(lost)
        refuse_missing(models)
        given = None
        if options["cluster"] is None:
            start_early(compute, resolve_limits(options["limits"]), models)
        if probe is not None:
            given = read_pictures(probe, models, options["by"], images, seed or 0, skip_broken=skip_broken)
            print_remarks(given, quiet=quiet)
        elif (images, seed) != (None, None):
            given = probes_from(None, images, seed or 0)
        sure = certainty and ([target] if target is not None else True)
        given_all = {"options": settings, "device": compute, "certainty": sure, "progress": bar, **options}
        if dry_run:
            estimate = _estimate(models, given, given_all)
        else:
            output = given_all.pop("output")
            result = compare(ScoreRequest(models, given, **given_all), output)
    if dry_run:
        return _print_estimate(estimate, as_json=as_json)
    lacking = _print_result(result, target, elsewhere, as_json=as_json, quiet=quiet, top=top, matrix=matrix)
    return 2 if lacking or result.failed or not result.unscored.keys().isdisjoint(options["by"]) else 0


def _ask_for_models(given: str) -> str:
    """The words for a single model, which may be a pattern that the shell has left as it is."""
    if set(given) & set("*?{") and not Path(given).exists():
        return f"no file has the name {given}. Give a pattern without quotes, so that the shell lists the files that match it."
    return "give two models or more to compare, such as models/*.onnx."


def _print_lost(lost: tuple[Failure, ...]) -> int:
    """Print the object of a comparison in which files are missing, so that no pair is left."""
    import numpy as np

    from onnxspace.similarity.affinity import Affinity

    _print_result(
        Affinity((), np.zeros((0, 0)), DEFAULT_METHOD, {}, lost), None, None, as_json=True, quiet=True, top=None, matrix=False
    )
    return 2


def _estimate(models: tuple[str, ...], given: Any, options: dict[str, Any]) -> ScoreEstimate:
    """What a comparison would take."""
    from onnxspace.workflows.estimate import estimate_score
    from onnxspace.workflows.score_plan import ScoreRequest, plan_score

    output = options.pop("output")
    return estimate_score(plan_score(ScoreRequest(models, given, **options)), output)


def _print_estimate(found: ScoreEstimate, *, as_json: bool) -> int:
    from onnxspace.cli.console import print_error, print_lines
    from onnxspace.cli.text.estimate import estimate_lines

    for failure in found.failed:
        print_error(failure.error)
    if as_json:
        click.echo(json.dumps(found.to_dict(), allow_nan=False))
    else:
        print_lines(estimate_lines(found))
    return 2 if found.failed else 0


def _finetune(
    models: tuple[str, ...], target: str | None, budget: float | None, given: dict[str, Any], *, as_json: bool, quiet: bool
) -> int:
    """Rank sources by fine-tuning them on the target's answers."""
    if target is None or given["probe"] is None:
        raise click.UsageError(
            "--by finetune needs --target, the model whose answers are learned, and --probe, pictures of its task."
        )
    asked = {
        "class": given["classes"] or None, "value": given["values"] or None, "precision": given["precision"],
        "compile": given["compiled"], "batch-size": given["batch_size"],
    }  # fmt: skip
    refuse_options(
        given["by"], {**{name: given[name] for name in ("method", "weight", "certainty", "cluster", "output")}, **asked}
    )
    from onnxspace.cli.console import print_remarks, progress_bar
    from onnxspace.quiet import silence_libraries

    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.inputs.probes import Probes
        from onnxspace.workflows.finetune_answers import rank_by_answers

        count, seed = given["images"] or MOST_PICTURES, given["seed"] or 0
        pictures = Probes.from_folder(given["probe"], count, seed=seed, skip_broken=given["skip_broken"])
        print_remarks(pictures, quiet=quiet)
        found = rank_by_answers(
            target, models, pictures, budget=budget, encoder=given["encoder"], config=given["config"], seed=given["seed"] or 0,
            device=given["device"], known=given["known"], progress=bar, limits=given["limits"],
            pixels=given["pixels"], announce=given["announce"], threads=given["threads"] or 0,
        )  # fmt: skip
    return show_finetuned(found, None, as_json=as_json, quiet=quiet)


def _target_name(target: str, models: tuple[str, ...], config: str | None) -> str:
    """The target's name; raises an error before any work is done where no model has that name."""
    from onnxspace.inputs.config import find_config
    from onnxspace.inputs.names import find_target_name, name_models

    paths = [Path(model) for model in models]
    return find_target_name(target, paths, name_models(paths, find_config(config)))


def _check_output(output: str | None) -> None:
    """Refuse a folder that holds anything but a result, before any work is done."""
    if output is not None:
        from onnxspace.report.result_folder import refuse_foreign_folder

        refuse_foreign_folder(Path(output))


def _print_result(
    result: Any, target: str | None, elsewhere: Any, *, as_json: bool, quiet: bool, top: int | None, matrix: bool
) -> bool:  # fmt: skip
    """Print a result; returns whether no target has a source with a value."""
    from onnxspace.cli.console import print_error, print_lines, print_notes
    from onnxspace.cli.text import score as text
    from onnxspace.cli.text.pixels import assumptions
    from onnxspace.cli.text.unranked import explain_affinity

    for failure in result.failed:
        print_error(failure.error)
    print_notes((*assumptions(result.models), *text.warnings(result)), quiet=quiet)
    ranked = [name for name in result.names if target in (None, name)]
    ranks = known_ranks(elsewhere, ranked, result.names)
    if (lacking := explain_affinity(result, ranked)) is not None:
        print_error(lacking)
    if as_json:
        click.echo(json.dumps({**result.to_dict(ranked), **({"known": ranks} if ranks else {})}, allow_nan=False))
    elif result.models and (lacking is None or len(result.models) < 2):
        lines = text.describe(result, ranked, top, matrix=matrix)
        print_lines((*lines, *(text.static_baseline(ranks) if ranks else ())))
    return lacking is not None
