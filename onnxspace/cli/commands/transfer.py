"""The command `onnxspace transfer`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.commands.finetuning import FINETUNE, budget_option, refuse_options, show_finetuned
from onnxspace.cli.names import Names
from onnxspace.cli.options import limits_option, pixel_options, quiet_option, skip_broken_option, take_pixels, threads_option
from onnxspace.cli.replaced import note_replaced
from onnxspace.cli.seeds import seed_option
from onnxspace.scores import registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnxspace.inputs.photos import Photos
    from onnxspace.scores.finetuned import FineTuneRanking
    from onnxspace.scores.ratings import Ratings

#: Options that only `--by finetune` takes.
_TUNING = ("budget", "frozen", "save", "workers")
KINDS = ("classes", "multilabel", "regression")


def labelled_scores() -> list[str]:
    """Names of the scores that need labels."""
    return [name for name in registry.score_names() if name not in registry.SCORES or registry.SCORES[name].needs != "pair"]


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL.onnx...")
@click.option(
    "--data", required=True, metavar="DIR|CSV", help="Labelled photos: DIR/CLASS/*.jpg, or a CSV of paths and labels."
)
@click.option(
    "--by",
    multiple=True,
    type=Names([*labelled_scores(), FINETUNE], "score by labels"),
    metavar="SCORE",
    help="Score to compute, repeatable: the first ranks [default: the mean rank of several]; or finetune, which fine-tunes every model in small.",
)
@click.option("--task", type=Names(KINDS, "kind of labels"), help="Kind of the labels of a CSV [default: inferred from them].")
@skip_broken_option
@click.option("--images", type=click.IntRange(2, 100_000), metavar="N", help="Largest number of images [default: all].")
@seed_option("Number that the sample of the images, and their order in fine-tuning, are drawn by")
@click.option(
    "--pool", type=Names(("mean", "none"), "kind of pooling"), default="mean", show_default=True,
    help="Pool convolutional features over positions, or keep all values.",
)  # fmt: skip
@click.option("--ensemble", type=click.IntRange(0), default=0, metavar="N", help="Also choose an ensemble of at most N models.")
@click.option(
    "--known",
    metavar="FILE",
    help="Table of the models' results on other datasets: their mean rank there is combined with the ranking. With --by finetune, a "
    "file that ends in .known gets the new results, and need not exist.",
)
@click.option("--encoder", multiple=True, metavar="[MODEL=]NAME", help="Tensor or node whose values are the features.")
@pixel_options
@threads_option
@limits_option
@click.option("--config", metavar="FILE", help="Names, encoders, preprocessing per model [default: onnxspace.toml, if there].")
@click.option("--features", metavar="DIR", help="Cache features in this folder.")
@budget_option
@click.option("--frozen", is_flag=True, help="With --by finetune: rank readouts of frozen networks, as all other scores do.")
@click.option("--save", metavar="FILE.onnx", help="With --by finetune: write the winner, fine-tuned on all images.")
@click.option("--workers", type=click.IntRange(1, 1024), metavar="N", help="Processes that fine-tune [default: one per core].")
@click.option(
    "--output",
    callback=note_replaced,
    metavar="FILE",
    help="Write the table to a CSV file; with --by finetune, learning curves to a .png or .svg.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/transfer/2).")
@quiet_option
def transfer(
    models: tuple[str, ...], by: tuple[str, ...], output: str | None, as_json: bool, quiet: bool, **options: Any
) -> int:
    """Rank models by how well their features fit labelled photos.

    Nothing is trained: every score is computed from the features at each model's encoder and the labels. Models are ranked by
    the mean rank of several scores, which are shown beside it with what chance and a constant answer give; models of one bracket
    can't be told apart. In the columns of scores larger is better; values of different scores can't be compared.
    A model may also be any source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    from onnxspace.cli.announce import PixelTable
    from onnxspace.cli.console import print_remarks, progress_bar
    from onnxspace.quiet import silence_libraries

    with silence_libraries(), progress_bar(enabled=not quiet) as bar:
        bar("loading", 0, 1)
        from onnxspace.inputs.photos import Photos
        from onnxspace.workflows.rate import rate

        options |= {"pixels": take_pixels(options), "announce": PixelTable(quiet=quiet)}
        seed = options["seed"]
        skip_broken = options.pop("skip_broken")
        photos = Photos.open(*(options.pop(name) for name in ("data", "task", "images", "seed")), skip_broken=skip_broken)
        print_remarks(photos, quiet=quiet)
        threads = options.pop("threads")
        tuning = {name: options.pop(name) for name in _TUNING}
        if FINETUNE in by:
            ranking = _finetune(models, photos, by, bar, {**options, **tuning, "seed": seed, "threads": threads})
            return show_finetuned(ranking, output, as_json=as_json, quiet=quiet)
        _refuse_tuning(tuning)
        found = rate(models, photos, by, progress=bar, threads=threads or 0, **options)
    if output is not None:
        _write_csv(found, output)
    return _print_ratings(found, as_json=as_json, quiet=quiet)


def _finetune(models: Sequence[str], photos: Photos, by: Sequence[str], bar: Any, given: dict[str, Any]) -> FineTuneRanking:
    from onnxspace.workflows.finetune import rank_finetuned

    refuse_options(by, {"ensemble": given["ensemble"], "pool none": given["pool"] != "mean"})
    return rank_finetuned(
        models, photos, budget=given["budget"], frozen=given["frozen"], encoder=given["encoder"], config=given["config"],
        seed=given["seed"], workers=given["workers"] or 0, folder=given["features"], save=given["save"], known=given["known"], progress=bar,
        limits=given["limits"], pixels=given["pixels"], announce=given["announce"], threads=given["threads"] or 0,
    )  # fmt: skip


def _refuse_tuning(tuning: dict[str, Any]) -> None:
    """Refuse options of fine-tuning without it; `--frozen` states what the other scores rank anyway."""
    for name, value in tuning.items():
        if value and name != "frozen":
            raise click.UsageError(f"--{name} needs --by finetune.")


def _write_csv(found: Ratings, output: str) -> None:
    from pathlib import Path

    from onnxspace.storage.atomic import whole_file

    with whole_file(Path(output)) as partial:
        partial.write_text(found.to_csv(), "utf-8", "backslashreplace")


def _print_ratings(found: Ratings, *, as_json: bool, quiet: bool) -> int:
    """Print the ranking; returns the exit code, which is 2 where a model failed or none could be ranked."""
    from onnxspace.cli.console import print_error, print_lines, print_notes
    from onnxspace.cli.text import ratings as ratingtext
    from onnxspace.cli.text.pixels import assumptions
    from onnxspace.cli.text.unranked import explain_ratings

    lacking = explain_ratings(found)

    for failure in found.failed:
        print_error(failure.error)
    notes = (*assumptions(found.models), *ratingtext.remarks(found), *ratingtext.static_baseline_note(found))
    print_notes(notes, quiet=quiet)
    if lacking is not None:
        print_error(lacking)
    if as_json:
        click.echo(json.dumps(found.to_dict(), allow_nan=False))
    elif found.models and lacking is None:
        print_lines(ratingtext.table(found))
    return 2 if found.failed or lacking is not None else 0
