"""How pixels reach one network, as results, spaces and tables say it: size, order, colours, range, and where these come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from onnxspace.inputs.bands import GREY, MAX_BANDS
from onnxspace.inputs.pixel_presets import Origin, name_range
from onnxspace.inputs.preprocess import Color, Layout, Preprocess
from onnxspace.storage.json_fields import is_text, is_whole, require

_MOST_REASON, _MOST_SIDE, _LONGEST_DIGEST, _MOST_LISTED = 1000, 2**20, 16, 6
_LARGEST = 1e30
PARTS = ("size", "color", "range")
#: How the assumption begins that a model keeps its own size, which is fixed, where another is stated for all models.
KEPT_SIZE = "its own size"


@dataclass(frozen=True)
class PixelRecord:
    """The preprocessing of one model, and where it comes from.

    `size` is (height, width) in pixels; `layout`, `color`, `scale`, `mean` and `std` are as in `Preprocess`; `preset` is the name
    of these values, None where they have none. `origin` is where the range comes from, `reason` names the option, file or key.
    `guessed` lists which of `PARTS` nothing states. `architecture` is that of `weight_sketch.WeightSketch`: networks that may be one
    have the same; empty where it is unknown. `axes` is the order of the input's axes, where that is another than `layout`; `bands` are those of
    the probe images that go into the channels, empty for grey and RGB images, whose order is `color`.
    `geometry` is how the network's configuration crops and resizes photos, where that is not applied.
    """

    size: tuple[int, int]
    layout: Layout
    color: Color
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preset: str | None
    origin: Origin
    reason: str
    guessed: tuple[str, ...] = ()
    architecture: str = ""
    axes: str = ""
    bands: tuple[int, ...] = ()
    geometry: str = ""

    @classmethod
    def of(
        cls,
        given: Preprocess,
        origin: Origin,
        reason: str,
        guessed: tuple[str, ...],
        axes: str = "",
        bands: tuple[int, ...] = (),
    ) -> PixelRecord:
        """The record of a preprocessing."""
        preset = name_range(given.scale, given.mean, given.std, given.color)
        return cls(
            (given.height, given.width), given.layout, given.color, given.scale, given.mean, given.std, preset, origin,
            reason[:_MOST_REASON], guessed, axes=axes, bands=bands,
        )  # fmt: skip

    @property
    def range(self) -> str:
        """The preset's name, or the values of pixels 0 and 255: `[-2.12, 2.64]`."""
        if self.preset is not None:
            return self.preset
        low, high = ((end * self.scale - self.mean[0]) / self.std[0] + 0.0 for end in (0, 255))  # no −0
        return f"[{low:.3g}, {high:.3g}]"

    def has_range_of(self, other: PixelRecord) -> bool:
        """Whether both map pixels to the same values, colour by colour."""
        return self._lines() == other._lines()

    def _lines(self) -> tuple[tuple[float, ...], ...]:
        """Values of the pixels 0 and 255 per channel, red first, to six digits."""
        count = max(len(self.mean), len(self.std))
        means, stds = (values if len(values) == count else values * count for values in (self.mean, self.std))
        pairs = [
            tuple(float(f"{(end * self.scale - m) / s:.6g}") for end in (0, 255)) for m, s in zip(means, stds, strict=False)
        ]
        ordered = pairs[::-1] if self.color == "BGR" else pairs
        return tuple(ordered[:1] if len(set(ordered)) == 1 else ordered)

    def cells(self) -> tuple[str, str, str, str]:
        """Size, order of axes, colours and range as text, with a question mark behind what is guessed."""
        size, color, values = ("?" if part in self.guessed else "" for part in PARTS)
        sides, channels = f"{self.size[0]}×{self.size[1]}", _describe_bands(self.bands) if self.bands else self.color
        return f"{sides}{size}", self.axes or self.layout, f"{channels}{color}", f"{self.range}{values}"

    def __str__(self) -> str:
        """All of it in one line: `32×32, NCHW, RGB?, unit, read (the input is of an 8-bit type)`."""
        return f"{', '.join(self.cells())}, {self.origin} ({self.reason})"

    def assumptions(self) -> Iterator[str]:
        """What nothing states, a phrase each."""
        if "size" in self.guessed:
            yield f"size {self.size[0]}×{self.size[1]}, because the input's is open"
        if "color" in self.guessed and not self.bands:
            yield "channels in RGB order"
        if self.origin in ("inferred", "guessed"):
            yield f"pixels {self.range}, {self.origin} ({self.reason})"


def _describe_bands(bands: tuple[int, ...]) -> str:
    """Bands in few characters: a range, a list, or how many they are.

    >>> _describe_bands((0, 1, 2, 3))
    'bands 0–3'
    """
    if bands == tuple(range(len(bands))) and len(bands) > 1:
        return f"bands 0–{len(bands) - 1}"
    return f"bands {','.join(map(str, bands))}" if len(bands) <= _MOST_LISTED else f"{len(bands)} bands"


def parse_pixel_record(found: Any) -> PixelRecord | None:
    """Check a record in untrusted JSON; None stands for none. Raises ValueError for anything else."""
    if found is None:
        return None
    require(isinstance(found, Mapping), "pixels")
    values = {name: found.get(name) for name in PixelRecord.__annotations__}
    size = values["size"]
    require(isinstance(size, list | tuple) and len(size) == 2 and all(is_whole(n, 1, _MOST_SIDE) for n in size), "pixels' size")
    for name, words in (("layout", Layout), ("color", Color), ("origin", Origin)):
        require(values[name] in get_args(words), f"pixels' {name}")
    require(values["preset"] is None or is_text(values["preset"], _MOST_REASON), "pixels' preset")
    require(is_text(values["reason"], _MOST_REASON), "pixels' reason")
    guessed = found.get("guessed", ())
    require(isinstance(guessed, list | tuple) and all(part in PARTS for part in guessed), "pixels' guessed parts")
    architecture = found.get("architecture", "")
    require(is_text(architecture, _LONGEST_DIGEST), "pixels' architecture")
    axes, bands = found.get("axes", ""), found.get("bands", ())
    geometry = found.get("geometry", "")
    require(is_text(axes, _LONGEST_DIGEST) and is_text(geometry, _MOST_REASON), "pixels' axes or geometry")
    require(isinstance(bands, list | tuple) and len(bands) <= MAX_BANDS, "pixels' bands")
    require(all(is_whole(band, GREY, MAX_BANDS) for band in bands), "pixels' bands")
    numbers = {name: _read_numbers(values[name], name) for name in ("mean", "std")}
    require(all(numbers["std"]), "pixels' std")
    (scale,) = _read_numbers([values["scale"]], "scale")
    return PixelRecord(
        (size[0], size[1]), values["layout"], values["color"], scale, numbers["mean"], numbers["std"], values["preset"],
        values["origin"], values["reason"], tuple(guessed), architecture, axes,
        tuple(bands), geometry,
    )  # fmt: skip


def _read_numbers(value: Any, name: str) -> tuple[float, ...]:
    fits = isinstance(value, list | tuple) and len(value) <= 1024 and len(value) > 0
    require(fits and all(type(n) in (int, float) and abs(n) <= _LARGEST for n in value), f"pixels' {name}")
    return tuple(float(n) for n in value)
