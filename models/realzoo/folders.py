"""The targets' images as folders of PNG files, as a user has them: TARGET/train/CLASS/0001.png and TARGET/test/CLASS/0001.png."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from models.realzoo.data.pool import Part
from models.realzoo.data.tasks import TARGETS, load


def write_folders(to: Path, work: Path, targets: Iterable[str] = TARGETS) -> int:
    """Write the 300 images and the test images of each target; gives the number of files."""
    written = 0
    for target in targets:
        split = load(target, work)
        for name, part in (("train", split.train), ("test", split.test)):
            written += _write_part(part, split.classes, to / target / name)
    return written


def _write_part(part: Part, classes: tuple[str, ...], folder: Path) -> int:
    for number, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
        file = folder / classes[label] / f"{number:04}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return len(part.images)
