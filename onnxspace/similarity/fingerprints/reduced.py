"""Features and outputs of a model in little, as a fingerprint holds them, and the bytes that they are stored as.

The arrays are those of `onnxspace.scores.reduce`, which makes them; here they are data without meaning, from untrusted files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.protocol import MOST_REDUCED, Detail

#: The side of the grid on which features are averaged, by detail.
SIDES: Mapping[str, int] = {"images": 2, "pictures": 8}
#: Channels of features with positions, and columns of answers, that are kept at most, by detail: answers per image have as many
#: as `images` whatever the detail.
CHANNELS: Mapping[str, int] = {"images": 128, "pictures": 64}
COLUMNS: Mapping[str, int] = {"images": 64, "pictures": 16}
#: The most columns or channels of features before they were reduced.
MOST_CHANNELS = 2**17
_MOST_UNPACKED, _MOST_HEADER = 2**28, 2**16
_LENGTH = struct.Struct("<I")
_MOST_BYTES, _MOST_WORDS, _MOST_TEXTS = 2**26, 400, 8
_TYPES = {"features": "<f2", "levels": "|i1", "scales": "<f4", "answers": "<f2", "classes": "<i4", "similarities": "<f2"}


@dataclass(frozen=True, eq=False)
class Reduced:
    """A model's features and outputs of the same images in little; None for those that it has not.

    `features` are float16 [images, columns] where the encoder has no positions; else they are `levels`, int8 [images, channels, side,
    side], times `scales`, float32 [channels]. `channels` is the number of columns or channels before they were reduced. `similarities` is the upper triangle of dds's matrix of features, float16 [images · (images − 1) / 2 + images].
    `answers` are float16 [images · positions, columns], `classes` int32 [images] those of a classifier. `order`, intp [images],
    is the place of each image in the order of their content. `lost` has the reason for missing `features` or `outputs`, and
    `remarks` are sentences about the outputs.
    """

    detail: Detail
    order: NDArray[np.intp]
    features: NDArray[np.float16] | None = None
    levels: NDArray[np.int8] | None = None
    scales: NDArray[np.float32] | None = None
    channels: int = 0
    similarities: NDArray[np.float16] | None = None
    answers: NDArray[np.float16] | None = None
    classes: NDArray[np.int32] | None = None
    remarks: tuple[str, ...] = ()
    lost: Mapping[str, str] = field(default_factory=dict)

    @property
    def answers_in_pictures(self) -> bool:
        """Whether its answers are pictures: several positions of each image."""
        return self.answers is not None and len(self.answers) > len(self.order)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays that are there, by name, in the order in which they are stored."""
        return {name: values for name in _TYPES if (values := getattr(self, name)) is not None}

    def without_outputs(self) -> Reduced:
        """The same without anything of the outputs."""
        return Reduced(
            self.detail, self.order, self.features, self.levels, self.scales, self.channels, self.similarities,
            lost={**self.lost, "outputs": "its fingerprint was written without outputs"},
        )  # fmt: skip


def encode(reduced: Reduced) -> tuple[dict[str, Any], bytes]:
    """Return the facts, ready for JSON, and the bytes of the arrays, one after the other."""
    arrays = {name: np.ascontiguousarray(values, _TYPES[name]) for name, values in reduced.arrays().items()}
    facts = {
        "detail": reduced.detail, "order": reduced.order.tolist(), "channels": reduced.channels, "remarks": list(reduced.remarks),
        "lost": dict(reduced.lost), "arrays": {name: list(values.shape) for name, values in arrays.items()},
    }  # fmt: skip
    return facts, b"".join(values.tobytes() for values in arrays.values())


def pack(reduced: Reduced) -> bytes:
    """Return facts and arrays as the bytes of a file: the length of the facts, 4 bytes, the facts, JSON in UTF-8, the arrays."""
    facts, content = encode(reduced)
    header = json.dumps(facts, sort_keys=True, allow_nan=False).encode()
    return _LENGTH.pack(len(header)) + header + content


def unpack(content: bytes, images: int) -> Reduced:
    """Read what `pack` returned, from an untrusted file of `images` images. Raises ValueError with the reason."""
    _require(len(content) >= _LENGTH.size, "length")
    end = _LENGTH.size + _LENGTH.unpack_from(content)[0]
    _require(end <= min(len(content), _MOST_HEADER), "length")
    try:
        facts = json.loads(content[_LENGTH.size : end])
    except RecursionError as error:
        raise ValueError("its header is not JSON") from error
    return decode(facts, content[end:], images)


def decode(facts: Any, content: bytes, images: int) -> Reduced:
    """Read what `encode` returned, from an untrusted file of `images` images. Raises ValueError with the reason."""
    _require(isinstance(facts, dict) and isinstance(facts.get("detail"), str) and facts["detail"] in SIDES, "detail")
    order = _read_order(facts.get("order"), images)
    shapes = facts.get("arrays")
    _require(isinstance(shapes, dict) and set(shapes) <= set(_TYPES), "arrays")
    arrays, start = {}, 0
    for name in (name for name in _TYPES if name in shapes):
        arrays[name], start = _read_array(name, shapes[name], content, start)
    _require(start == len(content), "length")
    channels = facts.get("channels")
    _require(type(channels) is int and 0 <= channels <= MOST_CHANNELS, "channels")
    found = Reduced(
        facts["detail"], order, channels=channels, remarks=_read_texts(facts.get("remarks")), lost=_read_reasons(facts.get("lost")),
        **arrays,
    )  # fmt: skip
    _check_shapes(found, images)
    return found


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"invalid {what}")


def _read_order(given: Any, images: int) -> NDArray[np.intp]:
    _require(isinstance(given, list) and len(given) == images <= MOST_REDUCED, "order of images")
    _require(all(type(n) is int and 0 <= n < images for n in given), "order of images")
    _require(set(given) == set(range(max(given) + 1)), "order of images")
    return np.array(given, np.intp)


def _read_array(name: str, shape: Any, content: bytes, start: int) -> tuple[NDArray[Any], int]:
    _require(isinstance(shape, list) and 1 <= len(shape) <= 4 and all(type(n) is int and 0 < n < 2**31 for n in shape), name)
    kind, count = np.dtype(_TYPES[name]), 1
    for side in shape:
        count *= side
    end = start + count * kind.itemsize
    _require(count * kind.itemsize <= _MOST_BYTES and end <= len(content), name)
    values = np.frombuffer(content[start:end], kind).reshape(shape).astype(kind.newbyteorder("="))
    _require(kind.kind != "f" or bool(np.isfinite(values).all()), name)
    return values, end


def _read_texts(given: Any) -> tuple[str, ...]:
    _require(isinstance(given, list) and len(given) <= _MOST_TEXTS, "remarks")
    _require(all(isinstance(text, str) and len(text) <= _MOST_WORDS for text in given), "remarks")
    return tuple(given)


def _read_reasons(given: Any) -> dict[str, str]:
    _require(isinstance(given, dict) and set(given) <= {"features", "outputs"}, "reasons")
    _read_texts(list(given.values()))
    return dict(given)


def _check_shapes(found: Reduced, images: int) -> None:
    """Raise ValueError unless the arrays are of `images` images and fit each other."""
    side, levels, scales = SIDES[found.detail], found.levels, found.scales
    _require((levels is None) == (scales is None) and (levels is None or found.features is None), "features")
    if found.features is not None:
        _require(found.features.ndim == 2 and len(found.features) == images, "features")
        _require(
            found.features.shape[1] <= min(found.channels, images) and 4 * found.channels * images <= _MOST_UNPACKED, "channels"
        )
    if levels is not None and scales is not None:
        _require(levels.ndim == 4 and (len(levels), *levels.shape[2:]) == (images, side, side), "features")
        _require(scales.shape == levels.shape[1:2], "features")
        _require(levels.shape[1] <= min(found.channels, CHANNELS[found.detail]), "features")
        _require(4 * found.channels * side * side * images <= _MOST_UNPACKED, "channels")
    if found.similarities is not None:
        _require(found.similarities.shape == (images * (images + 1) // 2,), "similarities")
    if found.answers is not None:
        _require(found.answers.ndim == 2 and len(found.answers) in (images, images * 64), "answers")
        _require(found.answers.shape[1] <= COLUMNS["images" if len(found.answers) == images else "pictures"], "answers")
    if found.classes is not None:
        _require(found.classes.shape == (images,) and bool((found.classes >= 0).all()), "classes")
        _require(found.answers is not None, "classes")
