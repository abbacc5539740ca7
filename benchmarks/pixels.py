"""How often a network's pixels are inferred rightly from its file, written to `docs/pixels.md`.

`python benchmarks/pixels.py FOLDER…` looks at all ONNX files of the folders whose pixels `benchmarks/data/pixels.csv` states, found by
the SHA-256 of the file. Margins were chosen on families of the set `chosen`; no family is in both sets.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import onnxspace as ox
from onnxspace.checking.intervals import interval_of_share
from onnxspace.errors import OnnxspaceError
from onnxspace.model.pixel_evidence import PixelEvidence, infer_pixels
from onnxspace.model.pixel_tensors import find_stored_statistics

ROOT = Path(__file__).parent.parent
PAGE, TRUTHS = ROOT / "docs/pixels.md", ROOT / "benchmarks/data/pixels.csv"
KINDS = {"stored": "stored statistics", "layers": "first layers"}
HABIT = "symmetric"


@dataclass(frozen=True)
class Case:
    """One file: its documented preset, and what is inferred."""

    file: str
    family: str
    part: str
    truth: str
    kind: str
    found: PixelEvidence
    assumed: str | None

    @property
    def verdict(self) -> str:
        if not self.found.sure:
            return "abstained"
        return "right" if self.found.preset == self.truth else "wrong"

    @property
    def margin(self) -> float:
        first, second, *_ = sorted(self.found.scores.values())
        return second - first


def read_truths() -> dict[str, dict[str, str]]:
    with TRUTHS.open(encoding="utf-8", newline="") as file:
        return {row["sha256"]: row for row in csv.DictReader(file)}


def measure(folders: list[Path]) -> Iterator[Case]:
    """Infer the pixels of each file once, whatever its name and number of copies."""
    truths = read_truths()
    for path in sorted(path for folder in folders for path in folder.rglob("*.onnx")):
        row = truths.pop(hashlib.sha256(path.read_bytes()).hexdigest(), None)
        if row is not None and (case := infer(path, row)) is not None:
            print(case.file, case.kind, case.verdict, case.found.reason, flush=True)
            yield case
    for row in truths.values():
        print(f"not found: {row['file']}", file=sys.stderr)


def infer(path: Path, row: dict[str, str]) -> Case | None:
    try:
        model = ox.open_model(path)
    except OnnxspaceError as error:
        print(error, file=sys.stderr)
        return None
    start = perf_counter()
    found = infer_pixels(model)
    print(f"{perf_counter() - start:.1f} s", end=" ")
    if found is None:
        return None
    kind = "stored" if find_stored_statistics(model.graph, model.image.name) else "layers"
    return Case(row["file"], row["family"], row["set"], row["preset"], kind, found, assume(path))


def assume(path: Path) -> str | None:
    """What the tool assumes of the file alone, by its metadata, its arithmetic, its weights, or a guess; files beside it don't count."""
    with TemporaryDirectory() as folder:
        alone = Path(folder, path.name)
        alone.symlink_to(path.absolute())
        record = ox.open_model(alone).pixels
    assert record is not None
    return record.preset


def write_share(hits: int, number: int) -> str:
    """A share with Wilson's interval at 95 %."""
    if not number:
        return "–"
    low, high = interval_of_share(hits / number, number)
    return f"{hits / number:.2f} ({low:.2f}–{high:.2f})"


def summarise(cases: list[Case]) -> Iterator[str]:
    yield "| evidence | set | files | families | right | wrong | abstained | right where it decides | assumed rightly | always symmetric |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for kind, name in KINDS.items():
        for part in ("chosen", "judged"):
            some = [case for case in cases if (case.kind, case.part) == (kind, part)]
            counts = [sum(case.verdict == word for case in some) for word in ("right", "wrong", "abstained")]
            best, habit = sum(case.assumed == case.truth for case in some), sum(case.truth == HABIT for case in some)
            cells = [
                name,
                part,
                len(some),
                len({case.family for case in some}),
                *counts,
                write_share(counts[0], sum(counts[:2])),
            ]
            yield "| " + " | ".join(map(str, [*cells, write_share(best, len(some)), write_share(habit, len(some))])) + " |"


def tabulate(cases: list[Case]) -> Iterator[str]:
    yield "| file | family | set | documented | assumed | best candidate (score) | next (score) | verdict |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in sorted(cases, key=lambda case: (case.part, case.family, case.file)):
        first, second, *_ = sorted(case.found.scores, key=lambda name: case.found.scores[name])
        scored = [f"{name} ({case.found.scores[name]:.2f})" for name in (first, second)]
        yield f"| `{case.file}` | {case.family} | {case.part} | {case.truth} | {case.assumed} | {scored[0]} | {scored[1]} | {case.verdict} |"


def write(cases: list[Case]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, lines in (
        ("summary", summarise(cases)),
        ("stored", tabulate([case for case in cases if case.kind == "stored"])),
        ("layers", tabulate([case for case in cases if case.kind == "layers"])),
    ):
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, rest = page.split(start)
        page = before + start + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    write(list(measure([Path(argument) for argument in sys.argv[1:]])))
