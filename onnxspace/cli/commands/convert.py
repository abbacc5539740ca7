"""The command `onnxspace convert`."""

from __future__ import annotations

from typing import Any

import click

from onnxspace.cli.options import limits_option, quiet_option
from onnxspace.cli.replaced import note_replaced


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option("-o", "--output", required=True, callback=note_replaced, metavar="FILE.onnx", help="Where to write the model.")
@click.option(
    "--input", "shape", metavar="3x224x224", help="Size of one image, in the framework's order [default: the model's]."
)
@click.option("--encoder", metavar="NAME", help="Layer of the framework, or tensor of the file, to cut at.")
@click.option(
    "--opset", type=click.IntRange(1, 99), metavar="N", help="Version of the ONNX operators [default: the exporter's best]."
)
@click.option("--weights", metavar="FILE", help="Weights for a network that code builds: safetensors, or a checkpoint.")
@click.option(
    "--random-weights", type=click.IntRange(0, 2**63 - 1), metavar="SEED", help="Use random weights drawn with this seed."
)
@click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE", help="Argument of the factory; repeatable.")
@click.option("--using", metavar="NAME", help="Exporter to use, where several accept the source.")
@click.option("--python", metavar="PATH", help="Convert with this Python interpreter, in which the framework is installed.")
@click.option("--allow-pickle", metavar="FILE", help="Unpickle this file; that runs any code in it.")
@click.option("--allow-code", is_flag=True, help="Allow code in the source, such as Keras Lambda layers.")
@limits_option
@quiet_option
def convert(source: str, output: str, quiet: bool, python: str | None, limits: str | None, **options: Any) -> None:
    """Convert a model of another framework into a verified ONNX file.

    SOURCE is a file or folder of the framework, a callable PACKAGE.MODULE:FACTORY that builds a network, or timm:NAME,
    torchvision:NAME, hf:ORG/NAME. The file is written once its outputs agree with the framework's; the preprocessing that
    the framework states is written to a sidecar beside it.
    """
    from onnxspace.cli.console import progress_bar
    from onnxspace.exporters.export import to_onnx

    request = _build_request(**options)
    with progress_bar(enabled=not quiet) as bar:
        facts = to_onnx(source, output, request, python=python, progress=bar, limits=limits)
    if not quiet:
        _print_facts(output, facts)


def _build_request(shape: str | None, arguments: tuple[str, ...], **options: Any) -> Any:
    from onnxspace.exporters.api import Request
    from onnxspace.exporters.discovery import argument, input_shape

    size = None if shape is None else input_shape(shape)
    return Request(input=size, arguments=dict(map(argument, arguments)), **options)


def _print_facts(output: str, facts: Any) -> None:
    from onnxspace.cli.console import print_note, print_warning

    checked = (
        "not compared with a framework" if facts.difference is None else f"outputs differ by {facts.difference:.1g} at most"
    )
    print_note(f"{output}: {facts.framework}, by {facts.route}, opset {facts.opset}; {checked}")
    for remark in facts.remarks:
        print_warning(remark)
