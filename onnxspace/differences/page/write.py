"""Write the page of a comparison to a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from onnxspace.differences.page.pictures import PagePictures
from onnxspace.differences.page.render import render_page
from onnxspace.differences.result import ModelDiff
from onnxspace.errors import ConfigError, OutputError
from onnxspace.storage.atomic import whole_file


def check_diff_path(goal: Path, models: Sequence[Path], option: str = "--output") -> None:
    """Check, before any work is done, that the HTML file `goal`, the value of `option`, can be written without overwriting a model.

    Raises OutputError.
    """
    if goal.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{goal} is not a name for an HTML page. Name a file that ends in .html as {option}.")
    try:
        same = goal.exists() and any(path.exists() and path.samefile(goal) for path in models)
        folder = next(parent for parent in Path(os.path.realpath(goal)).parents if parent.exists())
        unfit = not folder.is_dir() or (goal.exists() and not goal.is_file())
    except (OSError, ValueError) as error:
        raise OutputError(f"{goal} can't be used as {option} ({error}). Name another {option}.") from error
    if same or unfit:
        why = "is one of the models" if same else "can't be written because something other than a file is there"
        raise OutputError(f"{goal} {why}. Name another {option}.")


def write_page(found: ModelDiff, goal: Path, pictures: PagePictures | None = None) -> None:
    """Write the page of `found` to `goal`, which is complete or absent. Raises OutputError, ConfigError."""
    if found.details is None:
        raise ConfigError(f"{goal} can't be written from a comparison without its graphs. Compare the models again.")
    text = render_page(found, found.details, pictures)
    with whole_file(goal) as partial:
        partial.write_text(text, "utf-8", newline="\n")
