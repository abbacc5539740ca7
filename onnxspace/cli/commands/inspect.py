"""The command `onnxspace inspect`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from onnxspace.cli.options import limits_option, pixel_options, quiet_option, take_pixels

if TYPE_CHECKING:
    from onnxspace.model.records import Candidate, Description, OperatorSupport


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@click.option("--encoder", metavar="NAME", help="Tensor or node to cut at [default: auto].")
@pixel_options
@limits_option
@click.option("--config", metavar="FILE", help="Names, encoders, preprocessing per model [default: onnxspace.toml, if there].")
@click.option("--support", is_flag=True, help="List every operator, and how it is converted.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (schema onnxspace/inspect/1).")
def inspect(
    model: str, encoder: str | None, config: str | None, limits: str | None, support: bool, quiet: bool, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Show a model's inputs, operators and size, and the tensors at which it can be cut.

    An arrow marks the encoder that is used. A model may also be any
    source that `onnxspace convert` takes, such as net.pt2 or timm:NAME.
    """
    from onnxspace.cli.console import print_lines
    from onnxspace.workflows.inspect import inspect as run

    found = run(model, encoder, config, support=support, pixels=take_pixels(options), limits=limits)
    if as_json:
        click.echo(json.dumps(found.to_dict(), allow_nan=False))
    else:
        print_lines((*_description_lines(found, quiet=quiet), *_support_lines(found.support or ())))


def _support_lines(rows: Sequence[OperatorSupport]) -> Iterator[str]:
    from onnxspace.cli.text.lines import one_line
    from onnxspace.model.records import WAYS

    if rows:
        yield ""
        yield "Operators of the whole model (schema version, number of nodes)"
    for row in rows:
        yield f"  {one_line(row.operator):<28} {row.version:>3} {row.count:>6}  {WAYS[row.way]}"


def _description_lines(found: Description, *, quiet: bool) -> Iterator[str]:
    from onnxspace.cli.text.lines import one_line, wrap

    yield from wrap(one_line(f"{found.name}  ({found.path}, SHA-256 {found.sha256[:12]})"), rest="  ")
    for label, text in _fact_rows(found):
        if not (quiet and label == "warning"):
            yield from wrap(one_line(text), f"  {label:<11} ", " " * 14)
    yield ""
    yield from _encoder_lines(found)


def _fact_rows(found: Description) -> Iterator[tuple[str, str]]:
    from onnxspace.cli.text.pixels import describe_pixels, other_assumptions

    opsets = ", ".join(f"{domain} {version}" for domain, version in found.opsets.items())
    yield "made by", f"{found.producer or 'unknown'}; opset {opsets}; IR {found.ir_version}"
    yield from (("input", f"{name}: {typed}") for name, typed in found.inputs.items())
    yield from (("output", f"{name}: {typed}") for name, typed in found.outputs.items())
    yield "parameters", f"{found.parameters:,}"
    yield "FLOPs", f"{found.flops:,} per image (Conv, Gemm, MatMul; two per multiply-add)"
    yield "operators", ", ".join(f"{name} ×{count}" for name, count in found.operators.items())
    if found.pixels is not None:
        yield from (("pixels", line) for line in describe_pixels(found.pixels))
    yield from (("assumed", assumed) for assumed in other_assumptions(found))
    yield from (("warning", warning) for warning in found.warnings)


def _encoder_lines(found: Description) -> Iterator[str]:
    from onnxspace.cli.text.lines import one_line, wrap

    yield from wrap("Encoder candidates, from image to output (share of the network's work below each)", rest="  ")
    taken = found.encoder.tensors
    for candidate in found.candidates:
        arrow = "→" if taken == (candidate.tensor,) else " "
        yield f"{arrow} {candidate.below:6.1%}  {_candidate_size(candidate)}  {one_line(candidate.tensor)}"
    listed = {candidate.tensor for candidate in found.candidates}
    for tensor in taken:
        if tensor not in listed or len(taken) > 1:
            yield f"→ {found.share_below:6.1%}  {'':>24}  {one_line(tensor)}"
    yield from wrap(one_line(f"taken: {found.encoder if taken else 'none'} ({found.encoder.why})"), rest="  ")


def _candidate_size(candidate: Candidate) -> str:
    if candidate.shape is None:
        return f"{'size unknown':>24}"
    shown = "×".join("?" if n is None else str(n) for n in candidate.shape[1:])
    return f"{candidate.elements or 0:>10,} {'= ' + shown:>13}"
