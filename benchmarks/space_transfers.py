"""Rankings of sources by a space against the true transfers, beside those by `score` on the same pictures.

    python -m benchmarks.space_transfers [--realzoo IMAGES] [--minitaskonomy WORK] [--images 64]

IMAGES is the folder that `python -m models.realzoo images` wrote; WORK that of `python -m models.minitaskonomy`, where the rooms of
the transfers are rendered unless they are there. For each target a space of its pictures is filled at both levels of detail, and
its sources are ranked by `Space.compare` and by `score`. Rankings go to models/both/space.csv, target by target; the tables of
docs/fingerprints.md are written from that file. Without a zoo only the tables are written.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from models.both.comparison import MODELS
from models.both.space_page import write_tables
from models.both.spaces import list_minitaskonomy, list_realzoo, rank_case, write_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realzoo", type=Path, metavar="IMAGES")
    parser.add_argument("--minitaskonomy", type=Path, metavar="WORK")
    parser.add_argument("--images", type=int, nargs="+", default=[64])
    given = parser.parse_args()
    file = MODELS / "both" / "space.csv"
    for count in given.images:
        cases = [] if given.realzoo is None else [list_realzoo(MODELS / "realzoo", given.realzoo, count)]
        cases += (
            [] if given.minitaskonomy is None else [list_minitaskonomy(MODELS / "minitaskonomy", given.minitaskonomy, count)]
        )
        for case in (one for zoo in cases for one in zoo):
            start = time.perf_counter()
            write_rows(file, list(rank_case(case)))
            print(
                f"{case.zoo}, {len(case.pictures)} images, {', '.join(case.targets)}: {time.perf_counter() - start:.0f} s",
                flush=True,
            )
    write_tables(file, MODELS.parent / "docs" / "fingerprints.md")


if __name__ == "__main__":
    main()
