"""Every command that the documentation shows is one of the program's, and does what the page says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxspace.cli import main
from tests.helpers.nets import classifier, save
from tests.helpers.pages_commands import NOT_RUN, PAGES, Line, list_lines, parse
from tests.helpers.paths import REPOSITORY
from tests.helpers.widths import WIDTH, list_wide_lines

README = "README.md"
#: Names of files that pages take as given, and the seed of a small network's weights.
GIVEN = {"docs/light.md": {"model": 0}}
#: Pages whose commands another test runs.
RUN_ELSEWHERE = {
    README: "in full, below",
    "docs/check.md": "tests/checking/test_uses.py",
    "docs/catalogue.md": "tests/project/test_catalogue_page.py",
}
#: Fewer models, less time: what a command shows in full is tested where it is defined.
SMALLER = (
    ("models/*.onnx", "models/shapes-torch.onnx models/digits-torch.onnx models/shapes-jax.onnx"),
    ("--budget 10m", "--budget 1s"),
    ("--probe photos --method grad-cam --method elrp", "--probe photos/star --method grad-cam --method elrp"),
    ("--save best.onnx", "--save best.onnx --workers 1"),
)
IMAGES = {"score": "12", "transfer": "40", "layers": "4", "create": "8", "fingerprint": "8", "check": "6"}
#: Commands whose exit code is 1, since a check is shown that fails, or models that differ.
FAILS = ("check tuned.onnx", "check models/colour-torch.onnx", "diff models/shapes-torch.onnx models/edges-torch.onnx")


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As wide as the samples of the pages."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures that pages draw with models/photos.py."""
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    subprocess.run([sys.executable, "models/photos.py", folder], cwd=REPOSITORY, check=True)
    return folder


def prepare(folder: Path, page: str, photos: Path) -> None:
    """What a reader of the page has: the repository's networks and tables, photos, and files of the page's own."""
    for name in ("models", "benchmarks"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "photos").symlink_to(photos)
    shutil.copy(REPOSITORY / "models/shapes-torch.onnx", folder / "shapes-int8.onnx")
    for name, seed in GIVEN.get(page, {}).items():
        save(classifier(seed=seed), folder / f"{name}.onnx")


def make_smaller(line: Line) -> Line:
    text = line.text
    for part, small in SMALLER:
        text = text.replace(part, small)
    name = next(word for word in text.split()[1:] if word != "space")
    if name in IMAGES and not re.search(r"--images|--space|\w\.fp [^-]", f"{text} "):
        text += f" --images {IMAGES[name]}"
    return Line(text, line.output)


def run(line: Line, folder: Path, capture: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and output of a command of onnxspace, of which no line is wider than the terminal; the output is also where the
    shell would put it."""
    capture.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(line.words(folder)[1:])
    printed = capture.readouterr()
    if line.output:
        (folder / line.output).write_text(printed.out, "utf-8")
    assert list_wide_lines(printed.err + ("" if line.output else printed.out)) == [], line.text
    return int(stopped.value.code or 0), printed.out


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_pages_show_are_the_programs(page: str, tmp_path: Path, photos: Path) -> None:
    prepare(tmp_path, page, photos)
    lines = list_lines(page)
    assert lines
    for line in lines:
        words = line.words(tmp_path) if line.text.startswith(("onnxspace", ".venv/bin/onnxspace")) else []
        if words:
            parse(words[1:])
        else:
            assert line.reason or page in RUN_ELSEWHERE or line.text.startswith(("python models/photos.py", "mkdir ")), (
                line.text
            )


@pytest.mark.process
@pytest.mark.parametrize("page", [page for page in PAGES if page not in RUN_ELSEWHERE])
def test_commands_that_pages_show_run(
    page: str,
    tmp_path: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    warm_children: None,
) -> None:
    """In the order of the page, in one folder."""
    prepare(tmp_path, page, photos)
    monkeypatch.chdir(tmp_path)
    for line in list_lines(page):
        if line.text.startswith("mkdir "):
            subprocess.run(line.text.split(), check=True)
        elif not line.reason and line.text.startswith("onnxspace"):
            code, _ = run(make_smaller(line), tmp_path, capsys)
            assert code == int(line.text.removeprefix("onnxspace ").startswith(FAILS)), line.text


def test_reasons_for_what_is_not_run_are_needed() -> None:
    shown = [line.text for page in PAGES for line in list_lines(page)]
    assert [part for part in NOT_RUN if not any(part in text for text in shown)] == []


NUMBER = re.compile(r"-?\d+\.?\d*%?")


def samples(page: str) -> list[tuple[list[Line], list[str]]]:
    """Commands of a shell block, and the lines that the next block shows of their output."""
    text = (REPOSITORY / page).read_text("utf-8")
    pairs = re.findall(r"```sh\n([^`]*)```\n\n(?:[^\n`#]+\n\n)?```text\n([^`]*)```", text)
    return [([Line(line) for line in commands.splitlines()], shown.splitlines()) for commands, shown in pairs]


@pytest.mark.process
@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/howto/class_maps.md"])
def test_samples_are_what_the_program_prints(
    page: str, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines in their order with the same words; numbers within a hundredth, since another processor rounds otherwise."""
    prepare(tmp_path, page, photos)
    monkeypatch.chdir(tmp_path)
    found = samples(page)
    assert len(found) == {"README.md": 5, "docs/tutorial.md": 2, "docs/howto/class_maps.md": 3}[page]
    for lines, shown in found:
        printed: list[str] = []
        for line in lines:
            with pytest.raises(SystemExit) as stopped:
                main(line.words(tmp_path)[1:])
            assert (stopped.value.code or 0) == int(line.text.removeprefix("onnxspace ").startswith(FAILS)), line.text
            captured = capsys.readouterr()
            printed += (captured.out + captured.err).splitlines()
            assert list_wide_lines(captured.out + captured.err) == [], line.text
        for one in filter(None, shown):
            assert any(is_alike(one, other) for other in printed), one
            printed = printed[next(i for i, other in enumerate(printed) if is_alike(one, other)) + 1 :]


def is_alike(shown: str, printed: str) -> bool:
    """Whether two lines have the same words, and numbers that differ by a hundredth at most."""
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split()[: len(shown.split())]:
        return False
    pairs = [[float(number.rstrip("%")) for number in NUMBER.findall(text)] for text in (shown, printed)]
    few = min(map(len, pairs))
    return len(pairs[0]) == few and bool(np.allclose(pairs[0], pairs[1][:few], rtol=0.02, atol=0.01))
