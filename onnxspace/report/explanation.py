"""The result of explaining a few images: every model's maps beside the images, ready to be drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError
from onnxspace.evaluation.faithfulness.table import FaithfulnessTable
from onnxspace.inputs.methods import METHODS, Method
from onnxspace.storage.printable import make_printable
from onnxspace.storage.short_text import MOST_LINES, count, count_losses, join_lines, list_names

_MOST_ROWS = 12  # in a notebook


@dataclass(frozen=True, eq=False)
class Column:
    """Maps of one model by one method: float32 [images, size, size].

    `target` is what is explained, in words, and empty for the encoder; `captions` say what that is in each image, if anything.
    `layer` is the tensor that maps are of where columns are successive layers, else empty.
    """

    model: str
    method: str
    signed: bool
    maps: NDArray[np.float32]
    target: str = ""
    captions: tuple[str, ...] = ()
    layer: str = ""

    @property
    def subject(self) -> str:
        """The method, and what is explained; of a layer, with its tensor."""
        return ": ".join(filter(None, (self.subject_words, self.layer)))

    @property
    def subject_words(self) -> str:
        """The method, and what is explained."""
        return f"{self.method}: {self.target}" if self.target else self.method

    def scaled(self) -> NDArray[np.float64]:
        """Each map divided by its own root mean square, float64 [images, size, size]; a zero map stays zero.

        This leaves what an affinity compares: the direction of a map, not its magnitude.
        """
        maps = self.maps.astype(np.float64)
        peak = np.abs(maps).max(axis=(1, 2), keepdims=True)
        even = maps / np.where(peak > 0, peak, 1.0)
        rms = np.sqrt(np.square(even).mean(axis=(1, 2), keepdims=True))
        return np.asarray(even / np.where(rms > 0, rms, 1.0))


@dataclass(frozen=True, eq=False)
class Explanation:
    """Maps of some models for some images.

    `names` are the images' file names, `images` uint8 [images, size, size, 3] their pixels, `columns` the maps per model and
    method. `options` are the options of the methods, such as `{"baseline": "black"}`. `assumed` are assumptions on the models,
    `warnings` caveats on the maps, a sentence each. `note` says what of images that are not RGB is shown, `remarks` where in each model
    what is explained was found. `faithfulness` are tables of how good the maps are, where that was measured.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    columns: tuple[Column, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    note: str = ""
    remarks: tuple[str, ...] = ()
    faithfulness: tuple[FaithfulnessTable, ...] = ()

    @property
    def explains_encoders(self) -> bool:
        """Whether some maps are of the encoders, which no target replaces."""
        return any(
            not (column.target or column.layer) and METHODS[cast("Method", column.method)].place == "image"
            for column in self.columns
        )

    def __repr__(self) -> str:
        maps = [make_printable(": ".join(filter(None, (c.model, c.method, c.layer)))) for c in self.columns]
        heading = f"Explanation of {count(len(self.names), 'image')} by {count(len(maps), 'map')} each"
        listed = [f"Images: {list_names(self.names)}", *maps[:MOST_LINES]]
        rest = [f"and {len(maps) - MOST_LINES} more"] if len(maps) > MOST_LINES else []
        return join_lines(heading, listed, rest, count_losses([], self.warnings))

    def _repr_html_(self) -> str:
        """HTML for notebooks: each image beside its maps, a column per model and method, one colour scale per kind of map."""
        from html import escape

        from onnxspace.report.data_uri import data_uri, limit_of, to_colours

        scaled = [column.scaled() for column in self.columns]
        limits = {
            kind: limit_of(np.stack([maps for maps, column in zip(scaled, self.columns, strict=True) if column.signed == kind]))
            for kind in {column.signed for column in self.columns}
        }
        head = "".join(
            f"<th>{escape(make_printable(column.model))}<br>{escape(column.subject)}</th>" for column in self.columns
        )
        rows = []
        for place, name in enumerate(self.names[:_MOST_ROWS]):
            maps = [
                to_colours(maps[place], limits[c.signed], signed=c.signed) for maps, c in zip(scaled, self.columns, strict=True)
            ]
            words = ["", *(escape(column.captions[place]) if column.captions else "" for column in self.columns)]
            cells = "".join(
                f'<td><img width="160" alt="" src="{data_uri(picture)}">{f"<br>{text}" if text else ""}</td>'
                for picture, text in zip((self.images[place], *maps), words, strict=True)
            )
            rows.append(f'<tr><th style="text-align:left">{escape(make_printable(name))}</th>{cells}</tr>')
        rest = f"<p>and {len(self.names) - _MOST_ROWS} more</p>" if len(self.names) > _MOST_ROWS else ""
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return f"<table><tr><th></th><th>image</th>{head}</tr>{''.join(rows)}</table>{rest}{note}"


#: Suffixes of pictures that can be drawn, and what they are called.
PICTURES = {".png": "PNG picture", ".svg": "SVG picture"}
#: Suffixes of all files that are written of an explanation or a comparison of layers.
ANIMATIONS = {".gif": "GIF animation", ".webp": "WebP animation", ".apng": "APNG animation"}
PAGE = ".html"
KINDS = {**PICTURES, **ANIMATIONS, PAGE: "HTML page", ".csv": "CSV file"}


def check_picture_path(
    target: Path, inputs: Sequence[Path], option: str = "--output", kinds: Sequence[str] = tuple(PICTURES)
) -> None:
    """Check, before any work is done, that `target`, the value of `option`, can be a picture and is none of the `inputs`.

    `kinds` are the suffixes that it may have, of `KINDS`. Raises OutputError for another suffix, for one of the inputs, and for a
    path where no file can be written.
    """
    if target.suffix.lower() not in kinds:
        names, endings = _join_or([KINDS[kind] for kind in kinds]), _join_or(kinds)
        raise OutputError(f"{target} is not a name for a {names}. Name a file that ends in {endings} as {option}.")
    try:
        if target.exists() and any(path.exists() and path.samefile(target) for path in inputs):
            raise OutputError(f"{target} is one of the files that are read. Name another {option}.")
        folder = next(parent for parent in Path(os.path.realpath(target)).parents if parent.exists())
        unfit = not folder.is_dir() or (target.exists() and not target.is_file())
    except (OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{target} can't be used as {option} ({reason}). Name another {option}.") from error
    if unfit:
        raise OutputError(f"{target} can't be written because something other than a file is there. Name another {option}.")


def _join_or(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
