"""Options that several commands share, and how their values are parsed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxspace.cli.names import Names
from onnxspace.inputs.execution import DEVICES, PRECISIONS, Compute
from onnxspace.inputs.methods import METHODS, Options, Settings
from onnxspace.inputs.targets import Target, make_targets

if TYPE_CHECKING:
    from onnxspace.inputs.stated_pixels import StatedPixels

LEAST = 2**20
MOST_THREADS = 4096
_MOST_LIST = 2**26  # bytes of a list of paths


_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(i?B)?", re.IGNORECASE)


def parse_size(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    """Parse a size such as `512M`, `2G`, `1GiB` or bytes; `kB`, `MB` and so on are powers of 1,000. Raises BadParameter."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is not an amount of memory. Write it like 512M, 2G, 1GiB, or in bytes.")
    base = 1000 if (found[3] or "").upper() == "B" else 1024
    count = int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))
    if count < LEAST:
        raise click.BadParameter(f"{text} is too little memory for comparing maps. Give 1M or more.")
    return count


memory_option = click.option(
    "--memory", callback=parse_size, default="1GiB", show_default=True, metavar="SIZE",
    help="Memory for the maps being compared, such as 512M or 2G.",
)  # fmt: skip


limits_option = click.option(
    "--limits", metavar="memory=4G,cpu=600,wall=300",
    help="Limits of each process that converts or reads models, of which two may run at once over several models: memory, and seconds of "
    "processor and wall-clock time for each step [default: half of this machine's memory, 10 minutes].",
)  # fmt: skip
#: For every command that computes with models.
threads_option = click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), default=None, metavar="N",
    help="Threads on the CPU of each process that computes, or of all together with --by finetune; 1 keeps a single processor busy "
    "[default: all processors that the process may use].",
)  # fmt: skip
#: For every command.
_QUIET = "No progress, notes or warnings; results and errors are printed."
quiet_option = click.option("--quiet", is_flag=True, help=_QUIET)
#: For a command that prints results and errors only, so that a script need not know which one does.
no_notes_option = click.option("--quiet", is_flag=True, expose_value=False, help=_QUIET)
_Function = TypeVar("_Function", bound=Callable[..., Any])
_DEFAULT = Settings()

METHOD_HELP = f"Kind of attribution map: {', '.join(METHODS)}"
NUMBERS = ("baseline", "steps", "samples", "noise", "units")


def _make_numbers(path_of: str) -> tuple[Callable[[_Function], _Function], ...]:
    """The options of methods; `path_of` names what computes along a path."""
    return (
        click.option("--baseline", metavar="WORD|IMAGE", help="zero (of the network's input), mean, black, blur, or an image file "
                     f"[default: {_DEFAULT.baseline}]."),
        click.option("--steps", type=int, metavar="N", help=f"Points on the path of {path_of} [default: {_DEFAULT.steps}]."),
        click.option("--samples", type=int, metavar="N", help=f"Noisy copies for smoothgrad [default: {_DEFAULT.samples}]."),
        click.option("--noise", type=float, metavar="SHARE",
                     help=f"Standard deviation of smoothgrad's noise, as a share of the pixel range [default: {_DEFAULT.noise}]."),
        click.option("--units", type=int, metavar="N", help="Units sampled for unit-saliency; exact if the encoder has no more "
                     f"[default: {_DEFAULT.units}]."),
    )  # fmt: skip


_OPENING = (
    click.option("--encoder", multiple=True, metavar="[MODEL=]NAME",
                 help="Tensor or node to cut at, for all models or for one; repeatable [default: auto]."),
    click.option("--device", type=Names(DEVICES, "device"), default="auto", show_default=True,
                 help="Where maps are computed; auto takes the GPUs that Torch sees."),
    click.option("--precision", type=Names(PRECISIONS, "precision"),
                 help="Precision of matrix products; bf16 and fp16 accumulate in float32; auto takes bf16 for models whose maps are the same "
                 "within a cosine of .995 and computed faster, and says why [default: that of the space or fingerprints, else float32]."),
    click.option("--deterministic", is_flag=True, help="Make results bitwise reproducible on a GPU too."),
    click.option("--compile", "compiled", is_flag=True, help="Let Torch compile each network first, and record passes as CUDA graphs; pays on GPUs only."),
    threads_option,
    click.option("--config", metavar="FILE",
                 help="Names, encoders, preprocessing per model [default: onnxspace.toml, if there]."),
    limits_option,
    quiet_option,
)  # fmt: skip


_PIXELS = (
    click.option("--pixels", "presets", multiple=True, metavar="[MODEL=]PRESET",
                 help="Range of pixels that models take: unit [0, 1], symmetric [−1, 1], byte 0–255, imagenet and others; repeatable "
                 "[default: read in or beside the file, else inferred or guessed]."),
    click.option("--size", "sizes", multiple=True, metavar="[MODEL=]N|HxW", help="Size of images where the file leaves it open; others keep their own. Repeatable."),
    click.option("--color", "colors", multiple=True, metavar="[MODEL=]RGB|BGR|GREY", help="Order of the channels; repeatable."),
)  # fmt: skip


_LABELS = (
    click.option("--license", metavar="NAME", help="Licence of the models, best an SPDX identifier [default: as written in or beside the file]."),
    click.option("--tag", "tags", multiple=True, metavar="WORD|KEY=VALUE", help="Tag of the models; repeatable."),
)  # fmt: skip


_TARGETS = (
    click.option("--class", "classes", multiple=True, metavar="NAME|K",
                 help="Explain a class instead of the encoder: its name in the file, or its number from 0; repeatable."),
    click.option("--value", "values", multiple=True, metavar="NAME[INDEX]",
                 help="Explain values of an output, such as boxes[0,:,4]; without an index, the output that --class is of. Repeatable."),
)  # fmt: skip
_AREAS = (
    click.option("--region", metavar="MASK|x,y,w,h",
                 help="Explain the class that wins in this part of a dense output, or --class there: bright pixels of a mask, or pixels of the square that is drawn."),
    click.option("--box", metavar="x,y,w,h", help="Explain the score of the detector's box nearest to this one, in pixels of the square that is drawn."),
)  # fmt: skip


#: For commands whose work can be distributed.
cluster_option = click.option(
    "--cluster", metavar="ADDRESS",
    help="Distribute the work with Dask: local:4 (local processes) or tcp://host:8786 (a scheduler).",
)  # fmt: skip


def shared_options(function: _Function) -> _Function:
    """Add the options of methods, and those for opening models and computing maps."""
    return number_options(opening_options(function))


def scored_options(function: _Function) -> _Function:
    """Add the same options for a command whose scores may take fields of gradients."""
    return _add_options(_make_numbers("integrated-gradients and --by modelgif"), opening_options(function))


def _add_options(options: Sequence[Callable[[_Function], _Function]], function: _Function) -> _Function:
    for option in reversed(options):
        function = option(function)
    return function


def target_options(function: _Function) -> _Function:
    """Add the options on what is explained instead of the encoder."""
    return _add_options((*_TARGETS, *_AREAS), function)


def class_options(function: _Function) -> _Function:
    """Add those options on what is explained that mean the same for all images: classes and values."""
    return _add_options(_TARGETS, function)


def take_targets(
    given: dict[str, Any], values: Sequence[str] = (), *, top: int | None = None, contrast: bool = False
) -> tuple[Target, ...]:
    """Remove the options on what is explained from a command's options, and return the targets; `values` are further ones."""
    classes, outputs = given.pop("classes"), (*given.pop("values"), *values)
    return make_targets(
        classes, outputs, top=top, region=given.pop("region", None), box=given.pop("box", None), contrast=contrast
    )


def label_options(function: _Function) -> _Function:
    """Add the options on licence and tags."""
    return _add_options(_LABELS, function)


def pixel_options(function: _Function) -> _Function:
    """Add the options on how pixels reach the networks."""
    return _add_options(_PIXELS, function)


def take_pixels(given: dict[str, Any]) -> StatedPixels:
    """Remove the options on pixels from a command's options, and return them."""
    from onnxspace.inputs.stated_pixels import StatedPixels

    return StatedPixels(*(given.pop(name) for name in ("presets", "sizes", "colors")))


def take_method_options(given: dict[str, Any]) -> Options:
    """Remove the methods' options from a command's options, and return them."""
    return Options(**{name: given.pop(name) for name in NUMBERS})


def take_compute(given: dict[str, Any]) -> Compute:
    """Remove the options on where and how to compute from a command's options, and return them."""
    threads = given.pop("threads") or 0
    return Compute(**{name: given.pop(name) for name in ("device", "precision", "deterministic", "compiled")}, threads=threads)


def number_options(function: _Function) -> _Function:
    """Add the options of attribution methods."""
    return _add_options(_make_numbers("integrated-gradients"), function)


def opening_options(function: _Function) -> _Function:
    """Add the options for opening models and computing maps."""
    return _add_options(_OPENING, function)


#: For commands that read photos.
skip_broken_option = click.option("--skip-broken", is_flag=True, help="Leave out photos that can't be read, and name them.")


def probes_from(
    folder: str | None, images: int | None, seed: int, size: int | None = None, *, skip_broken: bool = False
) -> Any:
    """The probe images: `images` of `folder` at `size` pixels, or generated ones where that is None."""
    from onnxspace.inputs.probes import DEFAULT_IMAGES, Probes

    if folder is not None:
        return Probes.from_folder(folder, images, size, seed=seed, skip_broken=skip_broken)
    return Probes.generate(images or DEFAULT_IMAGES, seed=seed)


def read_list(name: str | None) -> tuple[str, ...]:
    """The lines of a file of paths (`-`: standard input; None: no lines), without blank ones. Raises ConfigError."""
    from pathlib import Path

    from onnxspace.errors import ConfigError
    from onnxspace.storage.regular_files import read_regular

    if name is None:
        return ()
    try:
        content = sys.stdin.buffer.read(_MOST_LIST) if name == "-" else read_regular(Path(name), _MOST_LIST)
    except OSError as error:
        raise ConfigError(f"{name} can't be read ({error.strerror or error}). Give a file with a path per line.") from error
    if len(content) >= _MOST_LIST or b"\0" in content:
        raise ConfigError(f"{name} is not a list of paths. Give a file with a path per line.")
    return tuple(os.fsdecode(line.strip()) for line in content.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip())


def parse_weight(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Any:
    """Parse DEPARA's λ: a number, or `auto`. Raises BadParameter."""
    if text in (None, "auto"):
        return text
    try:
        return float(text or "")
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a number nor auto.") from None


def known_option(function: _Function) -> _Function:
    """Add the option for results on other datasets."""
    return _add_options(
        (
            click.option(
                "--known", metavar="FILE", help="Table of the models' results on other datasets, to show beside the rankings."
            ),
        ),
        function,
    )


def read_known_table(path: str | None) -> Any:
    """Read the table that `--known` names, if any; before any work is done, so that errors show early."""
    if path is None:
        return None
    from onnxspace.evaluation.table import Table

    return Table.read(path)


def known_ranks(table: Any, targets: Sequence[str], sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean ranks of `sources` on datasets other than each target; empty where `table` is None."""
    if table is None:
        return {}
    from onnxspace.evaluation.static_baseline import mean_ranks_elsewhere

    return mean_ranks_elsewhere(table, targets, sources)
