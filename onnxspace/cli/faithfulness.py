"""The options of `onnxspace explain` on faithfulness, and what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxspace.cli.console import print_notes, print_warning
from onnxspace.cli.names import Names, ask_for_option
from onnxspace.cli.replaced import note_replaced
from onnxspace.inputs.faithfulness import FOLLOWED, FaithfulnessSettings, Followed

if TYPE_CHECKING:
    from onnxspace.evaluation.faithfulness.outcome import Faithfulness
    from onnxspace.inputs.object_files import ObjectFiles

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--faithfulness", is_flag=True, help="Print how faithful the maps are to the network, by curves of deletion and insertion, "
                 "infidelity, sensitivity and randomised weights; -o is not needed then."),
    click.option("--faithfulness-curves", "followed", type=Names(FOLLOWED, "curve"), default="auto", show_default=True,
                 help="What curves follow: the probability of the image's or the explained class, the explained value, or the encoder's features; by default the first that there is."),
    click.option("--faithfulness-picture", "picture", callback=note_replaced, metavar="FILE.png", help="Where to draw the curves."),
    click.option("--boxes", metavar="FILE", help="CSV or JSON with boxes of objects (image, x, y, w, h), for the pointing game and the share of maps inside."),
    click.option("--masks", metavar="FOLDER", help="Folder with a mask of objects for each image, of its name and size, instead of --boxes."),
    click.option("--json", "as_json", is_flag=True, help="Print the faithfulness as JSON."),
)  # fmt: skip


@dataclass(frozen=True)
class FaithfulnessRequest:
    """What of faithfulness is printed and drawn; `output` is the picture of maps, None where there is none."""

    followed: Followed
    picture: str | None
    boxes: str | None
    masks: str | None
    as_json: bool
    output: str | None = None


def faithfulness_options(function: _Function) -> _Function:
    """Add the options on faithfulness."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def take_faithfulness(given: dict[str, Any]) -> FaithfulnessRequest | None:
    """Remove the options on faithfulness from a command's options, and return them; None without `--faithfulness`.

    Raises UsageError for an option that needs it, and where there is neither that nor a picture.
    """
    asked, output = given.pop("faithfulness"), given["output"]
    names = ("followed", "picture", "boxes", "masks", "as_json")
    request = FaithfulnessRequest(**{name: given.pop(name) for name in names}, output=output)
    if asked:
        return request
    if output is None and given["animate"] is None:
        raise click.UsageError(ask_for_option("--output", "FILE.png|FILE.svg|FILE.html"))
    needing = {
        "--boxes": request.boxes,
        "--masks": request.masks,
        "--faithfulness-picture": request.picture,
        "--json": request.as_json,
    }
    for flag, value in needing.items():
        if value:
            raise click.UsageError(f"{flag} is for --faithfulness. Give both.")
    return None


def check_request(request: FaithfulnessRequest, inputs: Sequence[str]) -> None:
    """Check the files that are asked for before any work is done. Raises OutputError, ConfigError."""
    from onnxspace.workflows.faithfulness import check_files

    check_files(_name_objects(request), request.picture, inputs)


def _name_objects(request: FaithfulnessRequest) -> ObjectFiles:
    from onnxspace.inputs.object_files import ObjectFiles

    return ObjectFiles(request.boxes, request.masks)


def measure_request(request: FaithfulnessRequest, models: Sequence[str], images: Sequence[str], **options: Any) -> Faithfulness:
    """Measure what is asked for; `options` are those of `onnxspace.workflows.faithfulness.measure_on_images`."""
    from onnxspace.workflows.faithfulness import measure_on_images

    settings = FaithfulnessSettings(followed=request.followed)
    objects = _name_objects(request)
    return measure_on_images(models, images, objects=objects, picture=request.picture, settings=settings, **options)


def print_faithfulness(found: Faithfulness, request: FaithfulnessRequest, *, quiet: bool) -> None:
    """Print the table or the JSON, and remarks to standard error: where what is explained was found, and caveats."""
    import json

    from onnxspace.cli.text.faithfulness import format_faithfulness

    if request.as_json:
        click.echo(json.dumps(found.to_dict(), allow_nan=False))
    else:
        for line in format_faithfulness(found):
            click.echo(line)
    if request.output is None:  # the picture of maps comes with the same notes
        print_notes((f"note: {note}" for model in found.models for note in model.notes), quiet=quiet)
    for remark in found.remarks():
        print_warning(remark, quiet=quiet)
