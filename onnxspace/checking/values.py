"""The values of a network at one tensor, image by image, in a form that a notes file can hold."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.similarity.fingerprints.count_sketch import project
from onnxspace.storage.map_file import to_unit_maps

#: Length of an image's sketch, which is kept where the values themselves are not.
NUMBERS = 64
#: An axis whose size depends on the image, such as the number of boxes.
OPEN = -1
_MOST_IMAGES = 100_000
#: Norms beyond this are no network's values, and their squares overflow.
_LONGEST = 1e100


@dataclass(frozen=True, eq=False)
class Signal:
    """The values of a network at its encoder or an output, image by image, reduced to a size that a notes file can hold.

    `shape` is that of one image's values, OPEN for an axis whose size depends on the image. `sketch` float16 [images, NUMBERS] is
    that of the rows divided by their norms, `lengths` float64 [images] are the norms, `top` intp [images] is the index of the
    largest value. `varying` is Σ|row − mean row|², NaN where a baseline does not have it. `rows` float32 [images, values] are
    the values, where available; shorter ones are filled with zeros. `finite` bool [images] says which images have no NaN and
    no infinity; these count as 0 in all the rest. `moments` float64 [images, 2] are Σ value and Σ value³, which another order of
    values does not change; NaN where a baseline does not have them.
    """

    shape: tuple[int, ...]
    sketch: NDArray[np.float16]
    lengths: NDArray[np.float64]
    top: NDArray[np.intp]
    rows: NDArray[np.float32] | None
    varying: float
    finite: NDArray[np.bool_]
    moments: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float32], shape: tuple[int, ...]) -> Signal:
        """The signal of values float32 [images, values], each of `shape`."""
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        if not finite.all():
            rows = np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0)
        lengths = np.array([np.linalg.norm(row.astype(np.float64)) for row in rows])
        sketch = np.stack([sketch_row(row, image) for image, row in enumerate(rows)])
        top = rows.argmax(axis=1) if rows.size else np.zeros(len(rows))
        return cls(shape, sketch, lengths, top.astype(np.intp), rows, _variation(rows), finite, moments_of(rows))

    @property
    def images(self) -> int:
        return len(self.lengths)

    def to_dict(self) -> dict[str, Any]:
        """The signal without its rows, ready for JSON."""
        return {
            "shape": list(self.shape),
            "lengths": [float(f"{length:.7g}") for length in self.lengths],
            "top": self.top.tolist(),
            **({"varying": float(f"{self.varying:.7g}")} if math.isfinite(self.varying) else {}),
            **({"moments": _rounded(self.moments)} if np.isfinite(self.moments).all() else {}),
            **({} if self.finite.all() else {"finite": self.finite.tolist()}),
            "sketch": base64.b64encode(np.ascontiguousarray(self.sketch, dtype="<f2").tobytes()).decode("ascii"),
        }

    @classmethod
    def read(cls, content: Any) -> Signal:
        """The signal that `to_dict` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        lengths = np.array(content["lengths"], np.float64)
        top = np.array(content["top"], np.intp)
        finite = np.array(content.get("finite", [True] * len(lengths)))
        values = np.frombuffer(base64.b64decode(content["sketch"], validate=True), "<f2").astype(np.float16)
        shape = tuple(int(size) for size in content["shape"])
        varying = float(content.get("varying", math.nan))
        moments = np.array(content.get("moments", [[math.nan] * 2] * len(lengths)), np.float64)
        _check(lengths, top, finite, shape)
        if moments.shape != (len(lengths), 2) or np.isinf(moments).any():
            raise ValueError("its moments don't match")
        if not np.isfinite(values).all():
            raise ValueError("its sketch is not finite")
        if not math.isnan(varying) and not 0 <= varying <= 1.01 * float(np.square(lengths).sum()):
            raise ValueError("its variation does not fit its lengths")
        return cls(shape, values.reshape(len(lengths), NUMBERS), lengths, top, None, varying, finite, moments)


def moments_of(rows: Iterable[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Σ value and Σ value³ of each row, float64 [images, 2]."""
    wide = (row.astype(np.float64) for row in rows)
    return np.array([(row.sum(), (row**3).sum()) for row in wide]).reshape(-1, 2)


def _rounded(values: NDArray[np.float64]) -> list[list[float]]:
    return [[float(f"{value:.7g}") for value in row] for row in values]


def sketch_row(row: NDArray[np.floating], image: int) -> NDArray[np.float16]:
    """The sketch of the values of one image, divided by their norm: float16 [NUMBERS]."""
    if not row.size:
        return np.zeros(NUMBERS, np.float16)
    return np.asarray(project(to_unit_maps(row[None])[0], NUMBERS, first=image)[0], np.float16)


def _check(lengths: NDArray[np.float64], top: NDArray[Any], finite: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raises ValueError for numbers that no network gives."""
    images = len(lengths)
    if lengths.ndim != 1 or top.shape != (images,) or not 0 < images <= _MOST_IMAGES:
        raise ValueError("its lengths and tops don't match")
    if not (np.isfinite(lengths) & (lengths >= 0) & (lengths <= _LONGEST)).all():
        raise ValueError("its lengths are not those of values")
    if finite.shape != (images,) or finite.dtype != np.bool_:
        raise ValueError("its marks of finite values don't match")
    if any(size < OPEN for size in shape):
        raise ValueError("its shape has sizes below zero")


def _variation(rows: NDArray[np.float32]) -> float:
    """Σ|row − mean row|²."""
    return sum(
        float(np.square(part.astype(np.float64) - part.mean(0, np.float64)).sum()) for part in _column_chunks(rows)
    )  # fmt: skip


def _column_chunks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Chunks of columns, a few million values at a time."""
    step = max(1, 2**22 // max(1, len(rows)))
    for first in range(0, rows.shape[1], step):
        yield rows[:, first : first + step]
