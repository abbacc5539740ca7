"""The second zoo: `python -m models.realzoo run`, from the repository's root. Interrupted, it goes on where it was."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click

from models.realzoo.data.tasks import TARGETS, TASKS
from models.realzoo.zoo import SOURCES

STAGES = ("data", "train", "export", "truth", "page")
FOLDER = Path(__file__).parent
_PATH = click.Path(path_type=Path)
_work = click.option(
    "--work", type=_PATH, default=".realzoo", show_default=True, help="Folder for packages, weights and all that is resumed."
)


def make_data(work: Path, **_: object) -> None:
    """The images of every task."""
    from models.realzoo.data.tasks import load

    for name in TASKS:
        split = load(name, work)
        click.echo(
            f"data: {name}, {len(split.source.labels)} to learn from, {len(split.train.labels)} + {len(split.test.labels)}"
        )


def train_all(work: Path, processes: int, **_: object) -> None:
    """Every source, and each target's own network."""
    from models.realzoo.checkpoints import train_one

    wanted = [*(("source", name) for name in SOURCES), *(("target", name) for name in TARGETS)]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for line in pool.map(train_one, *zip(*wanted, strict=True), [str(work)] * len(wanted)):
            click.echo(line)


def export_all(work: Path, folder: Path, python: str | None, **_: object) -> None:
    """Every ONNX file that isn't there, then manifest.json and targets.csv."""
    from models.realzoo import export, manifest
    from models.realzoo.data.tasks import load

    probes = load("shapes", work).test.images[:16]
    for name in SOURCES:
        if not (file := folder / "sources" / f"{name}.onnx").exists():
            export.export(export.Order.of_source(name, work), file, probes, python)
    for name in TARGETS:
        if not (file := folder / "targets" / f"{name}.onnx").exists():
            export.export(export.Order.of_target(name, work), file, probes, python)
    manifest.write_manifest(folder, work)
    manifest.write_targets(folder, work)


def measure_truth(work: Path, folder: Path, processes: int, **_: object) -> None:
    """Every transfer, three times."""
    from models.realzoo.truth import measure_all

    measure_all(work, folder, processes, click.echo)


def write_page(folder: Path, docs: Path, **_: object) -> None:
    """The part of docs/ranking.md about this zoo's data."""
    from models.realzoo.page import write_section

    write_section(folder, docs / "ranking.md")


RUN = {"data": make_data, "train": train_all, "export": export_all, "truth": measure_truth, "page": write_page}


@click.group(help=__doc__)
def main() -> None:
    """Commands of the zoo."""


@main.command()
@click.argument("stages", nargs=-1, type=click.Choice(STAGES))
@_work
@click.option("--folder", type=_PATH, default=FOLDER, help="Folder of ONNX files and tables; this package's by default.")
@click.option("--docs", type=_PATH, default=FOLDER.parents[1] / "docs", help="Folder of the page; docs/ by default.")
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
@click.option("--python", metavar="PATH", help="An interpreter that has Keras and tf2onnx, for three of the exports.")
def run(stages: tuple[str, ...], **options: object) -> None:
    """Run the stages that are named, or all, in their order."""
    for stage in (one for one in STAGES if not stages or one in stages):
        began = time.monotonic()
        RUN[stage](**options)  # type: ignore[operator]
        click.echo(f"{stage}: done in {(time.monotonic() - began) / 60:.1f} min")


@main.command()
@_work
@click.option("--to", type=_PATH, required=True, help="Folder for TARGET/train/CLASS/*.png and TARGET/test/CLASS/*.png.")
def images(work: Path, to: Path) -> None:
    """Write the targets' images as PNG files."""
    from models.realzoo.folders import write_folders

    click.echo(f"{write_folders(to, work)} images in {to}")


@main.command()
@click.argument("stages", nargs=-1)
@click.option("--images", type=_PATH, required=True, help="Folder that `images` wrote.")
def rank(stages: tuple[str, ...], images: Path) -> None:
    """Rank the sources of every target by each kind of evidence (STAGES: all), into the folder `rankings`."""
    from models.realzoo.rank import STAGES as ALL
    from models.realzoo.rank import rank_all

    for file in rank_all(FOLDER, images, stages or ALL):
        click.echo(file.name)


@main.command()
@click.argument("rankings", nargs=-1, type=click.Path(path_type=Path, exists=True))
def study(rankings: tuple[Path, ...]) -> None:
    """Hold RANKINGS (CSV files: target, source, value) against the truth, beside chance, baselines and ceilings."""
    from models.realzoo.study import Truth, format_judgements, judge_file, judge_references

    truth = Truth.read(FOLDER / "truth.csv")
    judged = [*judge_references(truth), *(one for file in rankings for one in judge_file(file, truth))]
    click.echo(format_judgements(judged), nl=False)


if __name__ == "__main__":
    main()
