"""Emoji of two makers and clip art, by what they show."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from models.realzoo.data.pool import Pool, shrink
from models.realzoo.packages import unpack

EMOJI = (
    "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects", "People & Body",
    "Smileys & Emotion", "Symbols", "Travel & Places",
)  # fmt: skip
LARGEST = 300_000  # bytes
CLIPART = {
    "animals": "animal",
    "food": "food",
    "people": "person",
    "transportation": "vehicle",
    "signs_and_symbols": "sign",
    "office": "tool",
    "tools": "tool",
}


def read_emoji(work: Path) -> Pool:
    """Both makers' drawings of each emoji, by Unicode's groups; an emoji's two drawings are one group of the split."""
    images, labels, groups = [], [], []
    for maker in ("google", "twitter"):
        folder = unpack(f"emoji-datasource-{maker}", work) / "package"
        for one in json.loads((folder / "emoji.json").read_text("utf-8")):
            file = folder / "img" / maker / "64" / one["image"]
            if one["category"] in EMOJI and file.exists():
                images.append(shrink(Image.open(file)))
                labels.append(EMOJI.index(one["category"]))
                groups.append(one["unified"])
    names = tuple(name.lower().replace(" & ", "-and-") for name in EMOJI)
    return Pool(np.stack(images), np.array(labels), groups, names)


def read_clipart(work: Path) -> Pool:
    """Six kinds of clip art; files whose names begin alike stay together, as variants of a drawing do."""
    folder = unpack("openclipart-png", work) / "usr" / "share" / "openclipart" / "png"
    classes = tuple(dict.fromkeys(CLIPART.values()))
    images, labels, groups = [], [], []
    for kind, label in CLIPART.items():
        for file in sorted((folder / kind).rglob("*.png")):
            if (drawn := _open(file)) is not None:
                images.append(drawn)
                labels.append(classes.index(label))
                groups.append(f"{kind}/{re.sub('[^a-z]', '', file.stem.lower())[:7]}")
    return Pool(np.stack(images), np.array(labels), groups, classes)


def _open(file: Path) -> np.ndarray | None:
    """None for a file that is no picture, a very large one, or one of a single colour."""
    try:
        if file.stat().st_size > LARGEST:
            return None
        with Image.open(file) as found:
            if found.width * found.height > 4_000_000:
                return None
            found.thumbnail((128, 128))
            drawn = shrink(found)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return drawn if drawn.std() > 8 else None


def read_turned_clipart(work: Path) -> Pool:
    """Clip art by how it was turned: 0, 90, 180 or 270 degrees."""
    found = read_clipart(work)
    turns = np.arange(len(found.images)) % 4
    images = np.stack([np.rot90(image, int(turn)) for image, turn in zip(found.images, turns, strict=True)])
    return Pool(images, turns.astype(np.int64), found.groups, ("0", "90", "180", "270"))
