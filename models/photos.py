"""Labelled pictures for trying the commands: `python models/photos.py photos`.

They are scenes like those on which most networks of this folder were trained, drawn with a seed of their own, in a folder for
each shape of the nearest object: `photos/star/7.png`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

import scenes

SEED, NUMBER = 5, 200


def write(folder: Path, number: int) -> None:
    """Draw `number` scenes into a folder per shape."""
    drawn = scenes.scenes(SEED, number)
    for number_of_shape, shape in enumerate(scenes.SHAPES):
        place = folder / shape
        place.mkdir(parents=True, exist_ok=True)
        for at, image in enumerate(drawn["image"][drawn["shape"] == number_of_shape]):
            Image.fromarray(image).save(place / f"{at}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--number", type=int, default=NUMBER, help=f"how many pictures; {NUMBER}")
    given = parser.parse_args()
    write(given.folder, given.number)


if __name__ == "__main__":
    main()
