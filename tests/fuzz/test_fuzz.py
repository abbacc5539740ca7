"""Random files for every reader: one sentence or a right answer, never a traceback, a signal, 60 seconds or 4 GB.

Run by `pytest -m fuzz -n 0 -s tests/fuzz`. ONNXSPACE_FUZZ_SECONDS is the time for all kinds together (60), ONNXSPACE_FUZZ_SEED
the seed (0), ONNXSPACE_FUZZ_KEEP a folder for the files that failed, and for those whose sentence no code foresaw.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from tests.fuzz import mutations, seeds
from tests.helpers import torchnets

pytestmark = [pytest.mark.fuzz, pytest.mark.process]
SECONDS = float(os.environ.get("ONNXSPACE_FUZZ_SECONDS", "60"))
SEED = int(os.environ.get("ONNXSPACE_FUZZ_SEED", "0"))
KEEP = os.environ.get("ONNXSPACE_FUZZ_KEEP")
KINDS = ("onnx", "torch", "fp", "npy", "sqlite", "toml", "csv", "json", "pt2")
_WALL, _MEMORY, _MOST_FAILURES = 60, 4 * 2**30, 20


@dataclass
class Campaign:
    """One kind of file: commands run on changed files until the time is over, what they ended as, and what failed."""

    kind: str
    python: Path
    folder: Path
    rng: random.Random
    ends: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    unforeseen: Counter[str] = field(default_factory=Counter)
    changes: bool = False

    def change(self, how: Callable[..., bytes], content: bytes, *more: Path) -> bytes:
        """The content changed at random, once changes are switched on."""
        return how(content, self.rng, *more) if self.changes else content

    def run(
        self, arguments: Sequence[str], file: Path, judge: Callable[[subprocess.CompletedProcess[str]], str | None]
    ) -> None:
        """Run `python ARGUMENTS` in the folder, and note how it ended; `judge` says what is wrong with an answer, if anything."""
        wrong: str | None
        try:
            done = subprocess.run(
                [str(self.python), *arguments], cwd=self.folder, capture_output=True, text=True, errors="replace", timeout=_WALL,
                preexec_fn=_limit_memory, env=self._environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            wrong = f"took more than {_WALL} seconds"
        else:
            wrong = find_fault(done) or judge(done)
            self.ends["unforeseen" if "failed unexpectedly" in done.stdout + done.stderr else f"exit {done.returncode}"] += 1
            self._note_unforeseen(done.stdout + done.stderr, file)
        if wrong is not None:
            self.ends["failed"] += 1
            self.failed.append(f"{self._keep(file, f'{len(self.failed)}')}: {wrong}")

    def _note_unforeseen(self, text: str, file: Path) -> None:
        """Keep the sentences of what no code foresaw: they are allowed, and each shows a check that is missing."""
        found = re.search(r"failed unexpectedly \(.{1,160}", text)
        if found is not None:
            self.unforeseen[found[0]] += 1
            self._keep(file, f"unforeseen-{sum(self.unforeseen.values())}")

    def _environment(self) -> dict[str, str]:
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "ONNXSPACE_CACHE": str(self.folder / "cache")}

    def _keep(self, file: Path, name: str) -> str:
        if KEEP is None:
            return file.name
        Path(KEEP).mkdir(parents=True, exist_ok=True)
        target = Path(KEEP, f"{self.kind}-{SEED}-{name}{file.suffix}")
        shutil.copyfile(file, target)
        return str(target)


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))


def find_fault(done: subprocess.CompletedProcess[str]) -> str | None:
    """What no command may do, whatever it reads: end by a signal, print a traceback or what a terminal obeys, say nothing."""
    text = done.stdout + done.stderr
    if done.returncode < 0 or done.returncode > 128:
        return f"ended by a signal ({done.returncode}): {text[-300:]!r}"
    if "Traceback" in text:
        return f"a traceback: {text[-600:]!r}"
    if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", text):
        return f"control characters: {text[-300:]!r}"
    if done.returncode not in (0, 1, 2):
        return f"the exit code {done.returncode}"
    if done.returncode == 2 and not re.search(r"^(onnxspace: .*\S|Error: .*\S|warning: .*\S)$", done.stderr, re.M):
        return f"no sentence: {text[-300:]!r}"
    return None


def has_answer(_done: subprocess.CompletedProcess[str]) -> str | None:
    return None


def keeps_the_good(done: subprocess.CompletedProcess[str]) -> str | None:
    """`score a.onnx BAD --json` has a's result, whatever the other file does."""
    if done.returncode == 2 and not done.stdout:
        return f"no result: {done.stderr[-300:]!r}"
    result = json.loads(done.stdout)
    names = {model["name"] for model in result["models"]} | {Path(one["path"]).stem for one in result["failed"]}
    return None if "a" in {model["name"] for model in result["models"]} else f"a is missing: {names}"


def is_right(done: subprocess.CompletedProcess[str]) -> str | None:
    found = done.stdout.strip()
    return None if re.match("same|refused: ", found) else f"a wrong answer: {found[-300:]!r} {done.stderr[-300:]!r}"


def of_onnx(campaign: Campaign, content: bytes, file: Path) -> None:
    file.write_bytes(campaign.change(mutations.change_model, content))
    if campaign.rng.random() < 0.5:
        campaign.run(["-m", "onnxspace", "inspect", file.name], file, has_answer)
    else:
        campaign.run(
            ["-m", "onnxspace", "score", "a.onnx", file.name, "--images", "2", "--json", "--quiet"], file, keeps_the_good
        )


def of_torch(campaign: Campaign, content: bytes, file: Path) -> None:
    file.write_bytes(campaign.change(mutations.change_model, content))
    campaign.run(["-m", "tests.fuzz.compare", str(file)], file, is_right)


def of_fp(campaign: Campaign, content: bytes, file: Path) -> None:
    file.write_bytes(campaign.change(mutations.change_bytes, content))
    campaign.run(["-m", "onnxspace", "score", "a.fp", file.name, "--json", "--quiet"], file, has_answer)


def of_npy(campaign: Campaign, _content: bytes, file: Path) -> None:
    """An array of a result or of a space."""
    place = campaign.rng.choice(
        sorted(campaign.folder.glob("result/**/*.npy")) + sorted(campaign.folder.glob("zoo.space/**/*.npy"))
    )
    before = place.read_bytes()
    try:
        changed = (
            campaign.change(mutations.change_bytes, before[:200]) + before[200:]
            if campaign.rng.random() < 0.7
            else campaign.change(mutations.change_bytes, before)
        )
        place.write_bytes(changed)
        file.write_bytes(changed)
        _read_results(campaign, file, of_space="zoo.space" in str(place))
    finally:
        place.write_bytes(before)


def _read_results(campaign: Campaign, file: Path, *, of_space: bool) -> None:
    if of_space:
        command = campaign.rng.choice((["list"], ["affinity"], ["verify"], ["rank"]))
        campaign.run(["-m", "onnxspace", "space", command[0], "zoo.space"], file, has_answer)
    else:
        campaign.run(["-m", "onnxspace", "report", "result", "-o", "page.html"], file, has_answer)


def of_sqlite(campaign: Campaign, _content: bytes, file: Path) -> None:
    place = campaign.folder / "zoo.space/catalogue.sqlite"
    before = place.read_bytes()
    try:
        place.write_bytes(campaign.change(mutations.change_database, before, campaign.folder))
        shutil.copyfile(place, file)
        _read_results(campaign, file, of_space=True)
    finally:
        for beside in place.parent.glob("catalogue.sqlite*"):
            beside.unlink()
        place.write_bytes(before)


def of_toml(campaign: Campaign, content: bytes, file: Path) -> None:
    file.write_bytes(campaign.change(mutations.change_text, content))
    campaign.run(["-m", "onnxspace", "inspect", "a.onnx", "--config", file.name], file, has_answer)


def of_csv(campaign: Campaign, content: bytes, file: Path) -> None:
    file.write_bytes(campaign.change(mutations.change_text, content))
    pair = ["good.csv", file.name] if campaign.rng.random() < 0.5 else [file.name, "good.csv"]
    campaign.run(
        ["-m", "onnxspace", "evaluate", "--oracle", pair[0], "--predicted", pair[1], "--resamples", "20"], file, has_answer
    )


def of_json(campaign: Campaign, _content: bytes, file: Path) -> None:
    place = campaign.folder / "result/score.json"
    before = place.read_bytes()
    try:
        place.write_bytes(campaign.change(mutations.change_json, before))
        shutil.copyfile(place, file)
        if campaign.rng.random() < 0.6:
            _read_results(campaign, file, of_space=False)
        else:
            campaign.run(
                [
                    "-m",
                    "onnxspace",
                    "evaluate",
                    "--oracle",
                    "good.csv",
                    "--predicted",
                    file.name,
                    "--relevant",
                    "1",
                    "--resamples",
                    "20",
                ],
                file,
                has_answer,
            )
    finally:
        place.write_bytes(before)


def of_pt2(campaign: Campaign, content: bytes, file: Path) -> None:
    file.write_bytes(campaign.change(mutations.change_archive, content, campaign.folder))
    campaign.run(["-m", "onnxspace", "convert", file.name, "-o", "out.onnx", "--quiet"], file, has_answer)


_STEPS: dict[str, Callable[[Campaign, bytes, Path], None]] = {
    "onnx": of_onnx, "torch": of_torch, "fp": of_fp, "npy": of_npy, "sqlite": of_sqlite, "toml": of_toml, "csv": of_csv,
    "json": of_json, "pt2": of_pt2,
}  # fmt: skip
_SUFFIXES = {"torch": "onnx"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Path:
    """A folder with good files of every kind."""
    place = tmp_path_factory.mktemp("fuzz")
    seeds.write_models(place)
    (place / "good.csv").write_bytes(seeds.table())
    torch.export.save(torch.export.export(torchnets.plain(), (torch.randn(1, *torchnets.SHAPE),)), place / "good.pt2")
    for arguments in (
        ["score", "a.onnx", "b.onnx", "c.onnx", "--images", "2", "--output", "result"], ["space", "create", "zoo.space", "--images", "2"],
        ["space", "add", "zoo.space", "a.onnx", "b.onnx"], ["fingerprint", "a.onnx", "-o", "a.fp", "--images", "8", "--detail", "pictures"],
        ["fingerprint", "b.onnx", "-o", "b.fp", "--images", "8", "--detail", "pictures"],
    ):  # fmt: skip
        subprocess.run([str(warm_python), "-m", "onnxspace", *arguments], cwd=place, check=True, capture_output=True)
    return place


def contents(kind: str, folder: Path) -> dict[str, bytes]:
    """The files of a kind from which changes start, by name."""
    if kind in ("onnx", "torch"):
        return seeds.networks()
    made = {"fp": "b.fp", "csv": "good.csv", "pt2": "good.pt2"}
    return {"config": seeds.config()} if kind == "toml" else {kind: (folder / made[kind]).read_bytes() if kind in made else b""}


@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_a_sentence_or_a_right_answer(kind: str, folder: Path, warm_python: Path) -> None:
    campaign = Campaign(kind, warm_python, folder, random.Random(f"{kind} {SEED}"))
    given, end = contents(kind, folder), time.monotonic() + SECONDS / len(KINDS)
    _STEPS[kind](campaign, next(iter(given.values())), folder / f"changed.{_SUFFIXES.get(kind, kind)}")
    assert campaign.ends == {"exit 0": 1}, f"the command fails on a good file: {campaign.failed}"
    campaign.changes = True
    while time.monotonic() < end and len(campaign.failed) < _MOST_FAILURES:
        content = given[campaign.rng.choice(list(given))]
        _STEPS[kind](campaign, content, folder / f"changed.{_SUFFIXES.get(kind, kind)}")
    print(f"fuzz {kind}: {sum(campaign.ends.values())} files, {dict(campaign.ends)}", file=sys.__stdout__)
    for sentence, count in campaign.unforeseen.most_common():
        print(f"  {count} × {sentence}", file=sys.__stdout__)
    assert campaign.failed == [], "\n".join(campaign.failed)
