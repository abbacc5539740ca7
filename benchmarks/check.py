"""What `onnxspace check` says of networks that its limits were not made with: faithful forms must pass, faults be caught.

    python benchmarks/check.py models [FOLDER …] [--images 32] [--only REGEX] [--pair OLD.onnx NEW.onnx] [--rows ROWS.json]
    python benchmarks/check.py --table ROWS.json [ROWS.json …]
    python benchmarks/check.py --seconds

Each network of a folder is written in faithful forms (another exporter's names, the next opset, optimised by ONNX Runtime,
half precision, int8) and with faults (one layer's weights shuffled, the channels of the input swapped, a normalisation
forgotten, fine-tuned by SGD, another network of the folders). Limits are calibrated on images of one seed, and everything
is judged on those of another. `--pair` adds two files that exist. `--rows` keeps what was found, `--table` prints tables of it.
`--seconds` times the command, on a ResNet-50 with random weights against its fingerprint, 64 images.

Tasks run in this process, since starting Torch for each would take most of the time; the forms that calibrate are made again
for the check. Fine-tuning is ten steps of SGD by `to_torch` towards the next image's outputs, each moving every weight tensor
by 2 % of its length in the direction of its gradient.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from check_copies import normalised, renamed, shuffled, swapped, tuned

import onnxspace as ox
from onnxspace.checking import calibrate as calibrate_module
from onnxspace.checking import run as run_module
from onnxspace.checking.calibrate import calibrate
from onnxspace.checking.child.forms import write_form
from onnxspace.checking.child.tasks import TASKS
from onnxspace.checking.child.weights import read_weights
from onnxspace.checking.measure import Measures
from onnxspace.checking.plan import CheckPlan, artifacts_against
from onnxspace.checking.verdict import Verdict, judge, limits_for
from onnxspace.errors import ModelError, OnnxspaceError
from onnxspace.model.network import embed_weights
from onnxspace.quiet import silence_libraries

USUAL = ("opset", "optimised", "half")
FORMS = ("renamed", *USUAL, "int8")
FAULTS = ("shuffled", "swapped", "forgotten", "tuned", "unrelated")
SEEDS = {"calibrate": 1, "judge": 0}
#: What a reason must say to count as the right one.
NAMED = {
    "shuffled": "weight tensors? differs?, all others are equal",
    "swapped": "RGB and BGR are swapped",
    "forgotten": "a (rescaling|normalisation) was added or removed|first layer .*(is gone|gets other numbers)",
    "tuned": "trained further|weight tensors? differs?, all others are equal",
    "unrelated": "Another network",
}


@dataclass(frozen=True)
class Judged:
    """A pair: what was measured, whether it stays within the usual and the calibrated limits, and whether its reason is right."""

    measures: Mapping[str, float]
    usual: bool
    calibrated: bool
    named: bool
    why: str


# ---- judging


class Bench:
    """Checks in this process; what is observed of one file on one set of images is kept."""

    def __init__(self, place: Path, images: int) -> None:
        self.place, self.images = place, images
        run_module.run_in_child = calibrate_module.run_in_child = self.direct  # type: ignore[assignment]

    def direct(self, task: str, request: Mapping[str, Any], folder: Path, limits: Any, path: str) -> Any:
        try:
            if task != "observe":
                return TASKS[task](request, folder)
            digest = hashlib.sha256(Path(path).read_bytes() + Path(request["images"]).read_bytes()).hexdigest()[:16]
            kept = self.place / f"seen-{digest}-{Path(path).parent.name}"
            if not kept.exists():
                TASKS[task](request, folder)
                shutil.copytree(folder, kept)
            else:
                shutil.copytree(kept, folder, dirs_exist_ok=True)
            return {}
        except OnnxspaceError as error:
            raise ModelError(str(error)) from error
        except Exception as error:
            raise ModelError(f"{type(error).__name__}: {error}") from error

    def check(self, new: Path, old: Path, calibrated: Mapping[str, float], fault: str) -> Judged:
        usual = limits_for({})
        strict = {name: max(usual.get(name, -1e9), limit) if name in usual else limit for name, limit in calibrated.items()}
        plan = CheckPlan(artifacts_against([str(new)], str(old), strict, False, None), images=self.images, seed=SEEDS["judge"])
        found = run_module.check(plan)[0]
        if found.outcome == "trouble":
            raise ModelError(str(found.error))
        reasons = " ".join(found.reasons)
        measures = Measures(found.measures, np.empty(0), {}, ())
        within = [all(f.kept for f in judge(measures, limits)) for limits in (usual, {**usual, **calibrated})]
        return Judged(found.measures, *within, bool(re.search(NAMED.get(fault, "^"), reasons)), _why(found, within))

    def limits(self, model: Path, forms: Sequence[str]) -> Mapping[str, float]:
        plan = CheckPlan(
            artifacts_against([str(model)], str(model), {}, False, None), images=self.images, seed=SEEDS["calibrate"]
        )
        found = calibrate(plan, forms)[0]
        if len(found.limits) == 0:
            raise ModelError("; ".join(found.failed.values()))
        return found.limits


def _why(found: Verdict, within: Sequence[bool]) -> str:
    return "; ".join([*(f.words for f in found.failed), *found.reasons]) if found.failed or not all(within) else ""


def network(bench: Bench, source: Path, other: Path | None) -> dict[str, Judged | str]:
    """All pairs of one network, by form or fault; a sentence where one can't be had."""
    home = bench.place / "pairs"
    home.mkdir()
    old = home / "old.onnx"
    onnx.save(embed_weights(ox.open_model(source).network), old)
    if said := _said(source):
        (home / "old.onnxspace.toml").write_text(said)
    found: dict[str, Judged | str] = {}
    usual = bench.limits(old, USUAL)
    for name in (*FORMS, *FAULTS):
        try:
            base, new = _written(name, old, other, home, bench.images)
            found[name] = bench.check(new, base, bench.limits(old, ["int8"]) if name == "int8" else usual, name)
        except Exception as error:  # a form that can't be had says why, and the others go on
            told = str(error).replace(f"{home}/", "")
            found[name] = (told.splitlines() or [type(error).__name__])[0][:240]
    return found


def _said(file: Path) -> str:
    """What a sidecar says of how to feed a model; not where to cut it, since names differ from form to form."""
    beside = file.with_suffix(".onnxspace.toml")
    lines = beside.read_text("utf-8").splitlines(keepends=True) if beside.is_file() else []
    return "".join(line for line in lines if not line.startswith(("#", "encoder")))


def _written(name: str, old: Path, other: Path | None, home: Path, count: int) -> tuple[Path, Path]:
    """The files of a pair, the old one and the new one."""
    model = ox.open_model(old)
    images = ox.Probes.generate(count, seed=SEEDS["calibrate"]).images
    folder = home / name
    folder.mkdir()
    target, base = folder / "new.onnx", old
    said = _said(old)
    if name in (*USUAL, "int8"):
        write_form(name, model, images, target)
    elif name == "forgotten":
        inside, said = normalised(model)
        base = folder / "base.onnx"
        onnx.save(inside, base)
        base.with_name("base.onnxspace.toml").write_text(said)
        onnx.save(embed_weights(model.network), target)
    elif name == "unrelated":
        if other is None:
            raise ModelError("no other network of as many channels")
        shutil.copy(other, target)
        said = _said(other)
    else:
        if name == "swapped" and model.preprocess.channels != 3:
            raise ModelError("one channel")
        proto = embed_weights(model.network)
        made = {"renamed": lambda: renamed(proto), "shuffled": lambda: shuffled(proto), "swapped": lambda: swapped(model), "tuned": lambda: tuned(model, images)}  # fmt: skip
        onnx.save(made[name](), target)
    if said:
        target.with_name("new.onnxspace.toml").write_text(said)
    return base, target


# ---- the table


def cell(name: str, found: Judged | str) -> str:
    if isinstance(found, str):
        return "–"
    affinity = f"{found.measures.get('affinity', float('nan')):.4f}"
    if name in FORMS:
        return f"{affinity} {'✓' if found.calibrated and (found.usual or name == 'int8') else '✗'}"
    caught = not found.usual and not found.calibrated
    return f"{affinity} {'✓' if caught else '✗'}{'' if found.named else ' (reason not named)'}"


def totals(rows: Mapping[str, Mapping[str, Judged | str]]) -> Iterable[str]:
    """A line per form and fault."""
    for name in (*FORMS, *FAULTS):
        known = [one for row in rows.values() if isinstance(one := row.get(name, ""), Judged)]
        usual, own = sum(one.usual for one in known), sum(one.calibrated for one in known)
        low, high = (f(one.measures["affinity"] for one in known) for f in (min, max)) if known else (0.0, 0.0)
        if name in FORMS:
            yield f"| {name} | {len(known)} | {usual} pass | {own} pass | – | {low:.4f} to {high:.4f} |"
        else:
            told = sum(one.named for one in known)
            yield f"| {name} | {len(known)} | {len(known) - usual} caught | {len(known) - own} caught | {told} | {low:.4f} to {high:.4f} |"  # fmt: skip


def page(rows: Mapping[str, Mapping[str, Judged | str]]) -> str:
    lines = ["| pair | pairs | usual limits | calibrated limits | reason named | affinity |", "|---|---|---|---|---|---|", *totals(rows), ""]  # fmt: skip
    lines += [f"| network | {' | '.join((*FORMS, *FAULTS))} |", "|---" * (1 + len(FORMS) + len(FAULTS)) + "|"]
    for stem, row in rows.items():
        lines.append(
            f"| {stem.partition('__')[2] or stem} | {' | '.join(cell(name, row.get(name, '')) for name in (*FORMS, *FAULTS))} |"
        )
    lines += ["", *lacking(rows)]
    return "\n".join(lines)


def lacking(rows: Mapping[str, Mapping[str, Judged | str]]) -> Iterable[str]:
    """Why a pair could not be had, a line per reason."""
    told: dict[str, list[str]] = {}
    for stem, row in rows.items():
        for name, one in row.items():
            if isinstance(one, str):
                told.setdefault(f"{name}: {one}", []).append(stem.partition("__")[2] or stem)
    return [f"- {reason} ({', '.join(stems)})" for reason, stems in told.items()]


def others(files: Sequence[Path]) -> dict[Path, Path | None]:
    """For each file the next one with as many channels, another word at the start of its name, and another architecture."""
    known = {}
    for file in files:
        try:
            model = ox.open_model(file)
        except OnnxspaceError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        shapes = Counter(v.shape for v in read_weights(model.network).values() if v.ndim > 1)
        known[file] = model.preprocess.channels, re.split("[-_]", file.stem.rpartition("__")[2])[0], shapes
    turned = {file: [*list(known)[i + 1 :], *list(known)[:i]] for i, file in enumerate(known)}
    return {file: next((o for o in turned[file] if _other(known[file], known[o])), None) for file in known}


def _other(one: tuple[int, str, Counter[Any]], two: tuple[int, str, Counter[Any]]) -> bool:
    """Whether less than half of the weights have sizes that the other's have: a shared start would be no other network."""
    alike = 2 * (one[2] & two[2]).total() >= max(1, min(one[2].total(), two[2].total()))
    return one[0] == two[0] and one[1] != two[1] and not alike


def seconds(rounds: int = 3) -> None:
    """Wall and processor time of the whole command, its child included."""
    from conversion import resnet50

    with tempfile.TemporaryDirectory() as place:
        resnet50(Path(place) / "net.onnx")
        words = [sys.executable, "-m", "onnxspace", "check", "net.onnx", "--against", "net.fp", "--quiet"]
        subprocess.run([*words, "--update"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        for _ in range(rounds):
            before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(words, cwd=place, check=True, stdout=subprocess.DEVNULL)
            wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"ResNet-50 against its fingerprint, 64 images: {wall:.1f} s, {used:.1f} s of processor time", flush=True)


def existing(bench: Bench, old: Path, new: Path) -> Judged | str:
    """Two files as they are, by the usual limits."""
    try:
        return bench.check(new, old, {}, "")
    except OnnxspaceError as error:
        return str(error).splitlines()[0]


def pairs_page(found: Mapping[str, Judged | str]) -> str:
    lines = ["| pair | verdict | affinity | encoder's cosine | reasons |", "|---|---|---|---|---|"]
    for name, one in found.items():
        if isinstance(one, str):
            lines.append(f"| {name} | could not be compared | – | – | {one} |")
            continue
        verdict, encoder = "same" if one.usual else "different", one.measures.get("encoder_cosine")
        near = "–" if encoder is None else f"{encoder:.4f}"
        lines.append(f"| {name} | {verdict} | {one.measures['affinity']:.4f} | {near} | {one.why or '–'} |")
    return "\n".join(lines)


def _read(one: Any) -> Judged | str:
    return one if isinstance(one, str) else Judged(**one)


def tables(files: Sequence[Path]) -> str:
    rows: dict[str, dict[str, Judged | str]] = {}
    couples: dict[str, Judged | str] = {}
    for file in files:
        told = json.loads(file.read_text("utf-8"))
        rows |= {stem: {name: _read(one) for name, one in row.items()} for stem, row in told["networks"].items()}
        couples |= {name: _read(one) for name, one in told["pairs"].items()}
    return page(rows) + ("\n\n" + pairs_page(couples) if couples else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--pair", nargs=2, type=Path, action="append", default=[])
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--table", nargs="+", type=Path)
    parser.add_argument("--seconds", action="store_true")
    told = parser.parse_args()
    if told.seconds:
        seconds()
        return
    if told.table:
        print(tables(told.table))
        return
    files = [f.resolve() for folder in told.folders for f in sorted(folder.glob("*.onnx"))]
    kept: dict[str, dict[str, Any]] = {"networks": {}, "pairs": {}}
    with tempfile.TemporaryDirectory() as place, silence_libraries():
        for old, new in told.pair:
            kept["pairs"][f"{old.stem} → {new.stem}"] = _plain(existing(Bench(Path(place), told.images), old, new))
    for file, other in others(files).items():
        if not re.search(told.only, file.name):
            continue
        begun = time.perf_counter()
        with silence_libraries(), tempfile.TemporaryDirectory() as place:
            try:
                row = network(Bench(Path(place), told.images), file, other)
            except OnnxspaceError as error:
                print(f"left out: {file.stem}: {error}", flush=True)
                continue
        kept["networks"][file.stem] = {name: _plain(one) for name, one in row.items()}
        print(f"{file.stem} ({time.perf_counter() - begun:.0f} s)", flush=True)
        for name, found in row.items():
            shown = (
                found
                if isinstance(found, str)
                else f"{cell(name, found)} usual={found.usual} own={found.calibrated} {found.why}"
            )
            print(f"    {name:<10} {shown}", flush=True)
        if told.rows:
            told.rows.write_text(json.dumps(kept, indent=1), "utf-8")
    if told.rows:
        told.rows.write_text(json.dumps(kept, indent=1), "utf-8")


def _plain(one: Judged | str) -> Any:
    return one if isinstance(one, str) else asdict(one)


if __name__ == "__main__":
    main()
