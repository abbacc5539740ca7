"""What images show, as a digest: it depends neither on their files' names nor on their order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def hash_images(images: NDArray[np.uint8]) -> list[bytes]:
    """Return the SHA-256 of the bytes of each of `images`, uint8 [images, …]: 32 bytes each.

    Images with equal pixels have equal digests, whatever they are called.

    >>> hash_images(np.zeros((1, 2, 2, 3), np.uint8))[0].hex()[:8]
    '15ec7bf0'
    """
    return [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images]


def order_by_content(hashes: Sequence[bytes]) -> NDArray[np.intp]:
    """Return the place of each image in the order of `hashes`, from 0: intp [images]. Equal hashes share a place.

    The places are 0, 1, … without gaps, so the largest is the number of different images less one.

    >>> order_by_content([b"m", b"a", b"z", b"a"]).tolist()
    [1, 0, 2, 0]
    """
    places = {content: place for place, content in enumerate(sorted(set(hashes)))}
    return np.array([places[content] for content in hashes], np.intp)
