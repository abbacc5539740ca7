"""The result of explaining a few pictures: every model's maps beside the images, ready to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_ROWS = 12  # in a notebook


@dataclass(frozen=True, eq=False)
class Column:
    """Maps of one model by one method: float32 [images, size, size]."""

    model: str
    method: str
    signed: bool
    maps: NDArray[np.float32]

    def scaled(self) -> NDArray[np.float64]:
        """Each map divided by its own root mean square: float64 [images, size, size]; a zero map stays zero.

        What remains is what an affinity compares: where a model looks, not how large its sum of units is.
        """
        maps = self.maps.astype(np.float64)
        peak = np.abs(maps).max(axis=(1, 2), keepdims=True)
        even = maps / np.where(peak > 0, peak, 1.0)
        rms = np.sqrt(np.square(even).mean(axis=(1, 2), keepdims=True))
        return np.asarray(even / np.where(rms > 0, rms, 1.0))


@dataclass(frozen=True, eq=False)
class Explanation:
    """`images` is uint8 [images, size, size, 3], what every model was shown; `names` are the images' file names.

    `options` holds what the methods were told besides their names, such as `{"baseline": "black"}`. `assumed` says of each model what nobody stated, a line each; `warnings` what a reader of the maps should know.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    columns: tuple[Column, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """What a notebook shows: each image beside its maps, a column per model and method, on one scale per kind of map."""
        from html import escape

        from onnxspace.report.data_uri import coloured, data_uri, limit_of

        scaled = [column.scaled() for column in self.columns]
        limits = {
            kind: limit_of(np.stack([maps for maps, column in zip(scaled, self.columns, strict=True) if column.signed == kind]))
            for kind in {column.signed for column in self.columns}
        }
        head = "".join(f"<th>{escape(column.model)}<br>{escape(column.method)}</th>" for column in self.columns)
        rows = []
        for place, name in enumerate(self.names[:_MOST_ROWS]):
            maps = [
                coloured(maps[place], limits[c.signed], signed=c.signed) for maps, c in zip(scaled, self.columns, strict=True)
            ]
            cells = "".join(
                f'<td><img width="160" alt="" src="{data_uri(picture)}"></td>' for picture in (self.images[place], *maps)
            )
            rows.append(f'<tr><th style="text-align:left">{escape(name)}</th>{cells}</tr>')
        rest = f"<p>and {len(self.names) - _MOST_ROWS} more</p>" if len(self.names) > _MOST_ROWS else ""
        return f"<table><tr><th></th><th>image</th>{head}</tr>{''.join(rows)}</table>{rest}"
