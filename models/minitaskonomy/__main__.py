"""The whole experiment: `python -m models.minitaskonomy`, from the repository's root. Interrupted, it goes on where it was."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import click

from onnxspace.errors import OnnxspaceError

STAGES = ("rooms", "train", "export", "oracle", "finetuned", "study", "rank", "page")
#: Part of `study`, and run where it is named only.
EXTRA = ("renew",)
MODELS = Path(__file__).parent
_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Plan:
    """Where things lie and what they run on."""

    work: Path
    models: Path
    docs: Path
    device: str
    python: str | None
    photos: Path | None
    workers: int | None

    def rooms(self) -> None:
        """Render every split that is not there."""
        from models.minitaskonomy.oracle.transfers import choose_device
        from models.minitaskonomy.rooms.dataset import SPLITS, Rooms

        for split in SPLITS:
            click.echo(f"rooms: {len(Rooms.load(self.work, split, choose_device(self.device).type))} of {split}")

    def train(self) -> None:
        """Train every network."""
        from models.minitaskonomy.training.scheduler import train_all

        train_all(self.work, self.device, python=self.python, workers=self.workers)

    def export(self) -> None:
        """Write the ONNX files."""
        from models.minitaskonomy.training.onnx_export import export_all

        export_all(self.work, self.models, self.device, python=self.python)

    def oracle(self) -> None:
        """Try every transfer."""
        from models.minitaskonomy.oracle.measurement import measure

        measure(self.work, self.models, self.device, workers=self.workers)

    def finetuned(self) -> None:
        """Fine-tune a part of the pairs."""
        from models.minitaskonomy.oracle.finetuned import measure

        measure(self.work, self.models, workers=self.workers)

    def rank(self) -> None:
        """Rank the sources by each kind of evidence, through the public interface."""
        from models.minitaskonomy.ranking import rank_all

        for file in rank_all(self.work, self.models):
            click.echo(f"rank: {file.name}")

    def study(self) -> None:
        """Hold every score against the oracle."""
        from models.minitaskonomy.study.pipeline import run

        run(self.work, models=self.models, device=self.device, photos=self.photos, processes=self.workers, say=click.echo)  # type: ignore[arg-type]

    def renew(self) -> None:
        """Compute anew what scores of regressions and labels say."""
        from models.minitaskonomy.study.renewal import renew

        renew(self.work, models=self.models, device=self.device, photos=self.photos, processes=self.workers, say=click.echo)  # type: ignore[arg-type]

    def page(self) -> None:
        """Write the page and its pictures."""
        from models.minitaskonomy.page.document import write_page
        from models.minitaskonomy.rooms.dataset import Rooms

        there = (self.work / "rooms" / "probes").is_dir()
        write_page(self.models, self.docs, Rooms.load(self.work, "probes") if there else None)


@click.command(help=__doc__)
@click.argument("stages", nargs=-1, type=click.Choice((*STAGES, *EXTRA)))
@click.option(
    "--work", type=_PATH, default=".minitaskonomy", show_default=True, help="Folder for rooms, weights and all that is resumed."
)
@click.option(
    "--models", type=_PATH, default=MODELS, help="Folder of the ONNX files and result tables; this package's by default."
)
@click.option("--docs", type=_PATH, default=MODELS.parents[1] / "docs", help="Folder of the page; docs/ by default.")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda")), default="auto", show_default=True)
@click.option("--python", metavar="PATH", help="An interpreter that has Keras and JAX, for the second group's networks.")
@click.option("--photos", type=_PATH, help="A folder of photographs, as a third set of probe images.")
@click.option("--workers", type=click.IntRange(1), help="Processes at once; one for each core, up to 8, by default.")
def main(stages: tuple[str, ...], **options: object) -> None:
    """Run the stages that are named, or all, in their order."""
    plan = Plan(**options)  # type: ignore[arg-type]
    for stage in (one for one in (*EXTRA, *STAGES) if one in (stages or STAGES)):
        began = time.monotonic()
        try:
            getattr(plan, stage)()
        except OnnxspaceError as error:
            click.echo(f"{stage}: {error}", err=True)
            raise SystemExit(2) from error
        click.echo(f"{stage}: done in {(time.monotonic() - began) / 60:.1f} min")


if __name__ == "__main__":
    main()
