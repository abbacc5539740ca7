"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from onnxspace.inputs.methods import DEVICES, PRECISIONS, Compute, Options, Settings

LEAST = 2**20


_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT]?)(i?B)?", re.IGNORECASE)


def parse_size(_context: click.Context, _parameter: click.Parameter, said: str) -> int:
    """`512M`, `2G`, `1GiB` or bytes; `MB` and its kin are powers of 1,000. Raises BadParameter."""
    found = _SIZE.fullmatch(said.strip())
    if found is None:
        raise click.BadParameter(f"{said!r} is no amount of memory. Write it like 512M, 2G, 1GiB, or in bytes.")
    base = 1000 if (found[3] or "").upper() == "B" else 1024
    count = int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))
    if count < LEAST:
        raise click.BadParameter(f"{said} is too little memory to compare maps in. Give 1M or more.")
    return count


memory = click.option(
    "--memory", callback=parse_size, default="1GiB", show_default=True, metavar="SIZE",
    help="Memory for maps that are being compared, such as 512M or 2G.",
)  # fmt: skip


_Function = TypeVar("_Function", bound=Callable[..., Any])
_DEFAULT = Settings()
NUMBERS = ("baseline", "steps", "samples", "noise", "units")
_SHARED = (
    click.option("--baseline", metavar="WORD|IMAGE", help="zero (of the network's input), mean, black, blur, or an image file "
                 f"[default: {_DEFAULT.baseline}]."),
    click.option("--steps", type=int, metavar="N", help=f"Points on the line of integrated-gradients [default: {_DEFAULT.steps}]."),
    click.option("--samples", type=int, metavar="N", help=f"Noisy copies for smoothgrad [default: {_DEFAULT.samples}]."),
    click.option("--noise", type=float, metavar="SHARE",
                 help=f"Deviation of smoothgrad's noise, as a share of the pixel range [default: {_DEFAULT.noise}]."),
    click.option("--units", type=int, metavar="N", help="Units drawn for unit-saliency; exact where there are no more "
                 f"[default: {_DEFAULT.units}]."),
    click.option("--encoder", multiple=True, metavar="[MODEL=]NAME",
                 help="Tensor or node to cut at, for all models or for one; repeatable [default: auto]."),
    click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True),
    click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True,
                 help="Of products; bf16 and fp16 sum in single precision."),
    click.option("--deterministic", is_flag=True, help="Equal bits from run to run on a GPU too."),
    click.option("--compile", "compiled", is_flag=True, help="Let Torch compile each network first; for GPUs."),
    click.option("--config", metavar="FILE",
                 help="Names, encoders, preprocessing per model [default: onnxspace.toml, if there]."),
    click.option("--quiet", is_flag=True, help="No progress, assumptions or warnings on stderr; errors still show."),
)  # fmt: skip


#: Commands whose work can be shared out; `--help` of the others does not promise it.
cluster = click.option(
    "--cluster", metavar="ADDRESS",
    help="Share the work out by Dask: local:4 (processes here) or tcp://host:8786 (a scheduler).",
)  # fmt: skip


def shared(function: _Function) -> _Function:
    """How models are opened, and the numbers that methods take."""
    return _with(_SHARED, function)


def _with(options: Sequence[Callable[[_Function], _Function]], function: _Function) -> _Function:
    for option in reversed(options):
        function = option(function)
    return function


def take_method_options(given: dict[str, Any]) -> Options:
    """The methods' options, taken out of a command's."""
    return Options(**{name: given.pop(name) for name in NUMBERS})


def computing(given: dict[str, Any]) -> Compute:
    """Where and how to compute, taken out of a command's options."""
    return Compute(**{name: given.pop(name) for name in ("device", "precision", "deterministic", "compiled")})


def numbers(function: _Function) -> _Function:
    """What the methods are told."""
    return _with(_SHARED[: len(NUMBERS)], function)


def opening(function: _Function) -> _Function:
    """How models are opened, and where maps are computed."""
    return _with(_SHARED[len(NUMBERS) :], function)


def probes_from(folder: str | None, images: int | None, seed: int) -> Any:
    """The images to explain models on: a folder's, or generated ones."""
    from onnxspace.inputs.probes import DEFAULT_IMAGES, Probes

    if folder is not None:
        return Probes.from_folder(folder, images, seed=seed)
    return Probes.generate(images or DEFAULT_IMAGES, seed=seed)


def weighing(_context: click.Context, _parameter: click.Parameter, said: str | None) -> Any:
    """DEPARA's λ: a number, or `auto`. Raises BadParameter."""
    if said in (None, "auto"):
        return said
    try:
        return float(said or "")
    except ValueError:
        raise click.BadParameter(f"{said!r} is neither a number nor auto.") from None


def known_results(function: _Function) -> _Function:
    """Results on other datasets."""
    return _with(
        (
            click.option(
                "--known", metavar="FILE", help="Table of the models' results on other datasets: shown beside the rankings."
            ),
        ),
        function,
    )


def known_table(path: str | None) -> Any:
    """The table that `--known` names, read before any work is done."""
    if path is None:
        return None
    from onnxspace.evaluation.table import Table

    return Table.read(path)


def known_ranks(table: Any, targets: Sequence[str], sources: Sequence[str]) -> dict[str, dict[str, float]]:
    """What it says of each target's sources; nothing where there is no table."""
    if table is None:
        return {}
    from onnxspace.evaluation.static_baseline import elsewhere

    return elsewhere(table, targets, sources)
