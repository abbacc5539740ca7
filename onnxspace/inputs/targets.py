"""What one asks of a network: a class, values of an output, a region of a dense output, or a box of a detector.

Free of NumPy and Torch, so that the command line parses targets without loading either.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.inputs.output_index import parse_index

MOST_TOP, MOST_TARGETS = 16, 32
#: The side in pixels at which masks are kept.
MASK_SIDE = 224
_MOST_TEXT = 300
_INDEXED = re.compile(r"(.+)\[([^\[\]]*)\]")
Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """Pixels of the probe image: a `rectangle` (left, top, width, height), or a `mask` of 224 × 224 bits, row by row, as base64."""

    rectangle: Rectangle | None = None
    mask: str | None = None
    name: str = ""


@dataclass(frozen=True)
class Target:
    """What of a network is explained instead of its encoder: one number, at which the gradient starts.

    `word` is the name or the number of a class; `rank` stands for the class of the k-th largest value, from 1; `output` is an output's
    name, with `index` the values of it that are added up; `region` are the pixels of a dense output, and `box` (left, top, width,
    height, in pixels of the probe image) is what the nearest box of a detector is looked for by. With `contrast`, the mean of the
    other classes is subtracted.

    >>> Target(word="cat").words
    'class cat'
    """

    word: str | None = None
    rank: int | None = None
    output: str | None = None
    index: str | None = None
    region: Region | None = None
    box: Rectangle | None = None
    contrast: bool = False

    @property
    def words(self) -> str:
        """The target in words, as results and pictures show it."""
        parts = [self._subject()]
        parts += (
            [f"of {self.output}"] if self.output is not None and self.index is None and self._subject() != self.output else []
        )
        parts += [f"in {self.region.name}"] if self.region is not None else []
        parts += [f"of the box nearest to {join_numbers(self.box)}"] if self.box is not None else []
        return " ".join([*parts, *(["against the others"] if self.contrast else [])])

    def _subject(self) -> str:
        if self.word is not None:
            return f"class {self.word}"
        if self.rank is not None:
            return "most probable class" if self.rank == 1 else f"class {self.rank} by probability"
        if self.box is not None:
            return "score"
        if self.region is not None:
            return "winning class"
        return str(self.output) if self.index is None else f"{self.output}[{self.index}]"

    def to_json(self) -> dict[str, Any]:
        """The target as JSON."""
        return asdict(self)

    def describe(self) -> dict[str, Any]:
        """What the target sets, as spaces and fingerprints keep it among the options of their method.

        Raises ConfigError for a region or a box, which belong to one image.

        >>> Target(output="boxes", index="0,4").describe()
        {'output': 'boxes', 'index': '0,4'}
        """
        if self.region is not None or self.box is not None:
            raise ConfigError(
                f"Spaces and fingerprints compare models by a class or a value, not by {self.words}, which belongs to one image."
            )
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Target:
        """The target that `to_json` has encoded."""
        region, box = found["region"], found["box"]
        areas = {
            "region": None if region is None else Region(_to_rectangle(region["rectangle"]), region["mask"], region["name"]),
            "box": _to_rectangle(box),
        }
        return cls(**{**found, **areas})


def describe_target(target: Target | None) -> str:
    """What maps are of, in words: a target, or an encoder."""
    return "an encoder" if target is None else target.words


def parse_target(found: Any) -> Target:
    """Return the target that `Target.describe` has described, from untrusted JSON. Raises ValueError with the reason."""
    if not isinstance(found, dict) or not all(_is_sound(name, value) for name, value in found.items()):
        raise ValueError("target")
    target = Target(**found)
    named = [target.word, target.rank, target.output]
    if named == [None] * 3 or None not in named[:2] or (target.index is not None and target.output is None):
        raise ValueError("target")
    return target


def _is_sound(name: str, value: Any) -> bool:
    if name in ("word", "output", "index"):
        return isinstance(value, str) and 0 < len(value) <= _MOST_TEXT
    return value is True if name == "contrast" else name == "rank" and type(value) is int and 1 <= value <= MOST_TOP


def _to_rectangle(values: Sequence[float] | None) -> Rectangle | None:
    return None if values is None else (values[0], values[1], values[2], values[3])


def join_numbers(values: Sequence[float] | None) -> str:
    """Numbers as the command line takes them.

    >>> join_numbers((10.0, 20.5))
    '10,20.5'
    """
    return ",".join(f"{value:g}" for value in values or ())


def make_targets(
    classes: Sequence[str | int] = (),
    values: Sequence[str] = (),
    *,
    top: int | None = None,
    region: str | Path | None = None,
    box: str | None = None,
    contrast: bool = False,
) -> tuple[Target, ...]:
    """Return the targets that options of the command line name: one for each class, rank and value.

    `classes` are names or numbers of classes, `top` is how many of the most probable classes are explained, `values` are outputs as
    `NAME` or `NAME[index]`, `region` is `x,y,w,h` or the path of a mask, `box` is `x,y,w,h`; `contrast` subtracts the mean of the other
    classes. An output without an index says of which output the classes are. Raises ConfigError, and ProbeError for an unreadable mask.

    >>> [target.words for target in make_targets(["cat"], top=2)]
    ['class cat', 'most probable class', 'class 2 by probability']
    """
    outputs = [parse_value(text) for text in values]
    place = Target(region=None if region is None else parse_region(str(region)), box=None if box is None else _parse_box(box))
    chosen = [Target(word=_check_text(str(word), "--class")) for word in classes]
    chosen += [Target(rank=rank) for rank in range(1, _check_top(top) + 1)]
    if place.region is not None and place.box is not None:
        raise ConfigError("--region and --box are two questions. Give one of them.")
    if chosen or place != Target():
        indexed, names = [one for one in outputs if one.index is not None], [one.output for one in outputs if one.index is None]
        if len(names) > 1:
            raise ConfigError(
                f"--class, --top, --region and --box are of one output, not of {' and '.join(map(str, names))}. Name one."
            )
        whole = replace(place, output=names[0] if names else None)
        found = [replace(whole, word=one.word, rank=one.rank) for one in chosen or [Target()]]
        outputs = [*found, *indexed]
    return _check_targets(tuple(outputs), contrast=contrast)


def to_target(given: Target | str | int | None) -> Target | None:
    """Return a target as it is, and the name or number of a class as a target."""
    return given if given is None or isinstance(given, Target) else Target(word=_check_text(str(given), "--class"))


def take_one(targets: Sequence[Target]) -> Target | None:
    """Return the only one of `targets`, None where there is none. Raises ConfigError for several: models are compared by one."""
    if len(targets) > 1:
        raise ConfigError(
            f"Models are compared by maps of one target, not of {' and '.join(one.words for one in targets[:3])}. Name one."
        )
    return targets[0] if targets else None


def _check_targets(targets: tuple[Target, ...], *, contrast: bool) -> tuple[Target, ...]:
    if len(targets) > MOST_TARGETS:
        raise ConfigError(f"{len(targets)} targets are more than {MOST_TARGETS}. Explain some of them at a time.")
    if not contrast:
        return targets
    if not targets or any(one.word is None and one.rank is None for one in targets):
        raise ConfigError("--contrast subtracts the other classes from one. Give --class or --top with it, and nothing else.")
    if any(one.region is not None or one.box is not None for one in targets):
        raise ConfigError("--contrast is for the classes of a whole image. Leave out --region and --box.")
    return tuple(replace(one, contrast=True) for one in targets)


def _check_top(top: int | None) -> int:
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or not 1 <= top <= MOST_TOP):
        raise ConfigError(f"--top is {top!r} but must be a whole number from 1 to {MOST_TOP}.")
    return top or 0


def _check_text(text: str, flag: str) -> str:
    if not text.strip() or len(text) > _MOST_TEXT or not text.isprintable():
        raise ConfigError(f"{flag} {text[:40]!r} is not a name. Give up to {_MOST_TEXT} printable characters.")
    return text


def parse_value(text: str) -> Target:
    """Return the target of `NAME` or `NAME[index]`, with an index of whole numbers, slices and `...`. Raises ConfigError.

    >>> parse_value("boxes[0,:,4]").index
    '0,:,4'
    """
    found = _INDEXED.fullmatch(_check_text(text, "--value"))
    if found is None:
        return Target(output=text)
    parse_index(found[2])
    return Target(output=found[1], index=found[2].replace(" ", ""))


def parse_numbers(text: str, flag: str) -> Rectangle:
    """Return left, top, width and height of `x,y,w,h`, in pixels; width and height are above 0. Raises ConfigError."""
    words = text.split(",")
    try:
        left, top, width, height = (float(word) for word in words)
    except ValueError:
        left = top = width = height = float("nan")
    if not (0 <= left <= 65535 and 0 <= top <= 65535 and 0 < width <= 65535 and 0 < height <= 65535):
        raise ConfigError(
            f"{flag} {text[:40]!r} is not a rectangle. Write x,y,w,h in pixels of the square, such as 60,40,80,120."
        )
    return left, top, width, height


def _parse_box(text: str) -> Rectangle:
    return parse_numbers(text, "--box")


def parse_region(text: str) -> Region:
    """Return the region of `x,y,w,h`, or of a picture, cut and resized as photos are, whose bright half it is.

    Raises ConfigError for anything else and an empty mask, ProbeError for a picture that can't be read.
    """
    if re.fullmatch(r"[-\d.,\s]+", text):
        rectangle = parse_numbers(text, "--region")
        return Region(rectangle, None, join_numbers(rectangle))
    if not Path(text).is_file():
        raise ConfigError(f"--region {text[:200]!r} is neither x,y,w,h nor a file. Give a rectangle in pixels, or a mask.")
    from onnxspace.inputs.image_files import read_square

    bright = read_square(Path(text), MASK_SIDE).max(axis=2) > 127
    if not bright.any():
        raise ConfigError(f"{text} has no bright pixel, so its region is empty. Paint what is asked about white.")
    import numpy as np

    return Region(None, base64.b64encode(np.packbits(bright).tobytes()).decode("ascii"), Path(text).name)
