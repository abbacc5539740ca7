"""`check --report`: a page on both graphs of each artifact that is not as expected, named in all formats."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from onnxspace.cli.check_pages import name_pages
from tests.helpers import diff_pairs as pairs
from tests.helpers.commands import Run
from tests.helpers.pages import Page

COMMAND = "check"
QUICK = ("--images", "4", "--quiet")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(pairs.base(), "old.onnx")
    onnx.save(pairs.rename(pairs.base()), "same.onnx")
    onnx.save(pairs.train(pairs.base(), size=0.5), "new.onnx")
    return tmp_path


def test_a_failing_check_has_a_page_that_its_report_names(run: Run, place: Path) -> None:
    code, out, _ = run("new.onnx", "same.onnx", "--against", "old.onnx", "--report", "page.html", *QUICK, "--json")
    found = {one["name"]: one for one in json.loads(out)["verdicts"]}
    assert code == 1
    assert (found["new"]["page"], found["same"]["page"]) == ("page-new.html", None)
    assert sorted(path.name for path in place.glob("*.html")) == ["page-new.html"]
    page = Page((place / "page-new.html").read_text("utf-8"))
    assert "The networks differ" in page.content[""]
    assert [row[0] for row in page.data["rows"]].count(3) == 1


def test_the_page_says_which_of_the_images_of_the_check_it_is_on(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxspace.cli.check_pages._MOST_IMAGES", 2)
    for images, words in ((2, "(generated-0)"), (3, "(generated-0, the first of 3 that the check used)")):
        run("new.onnx", "--against", "old.onnx", "--report", "page.html", "--images", str(images), "--quiet")
        content = (place / "page.html").read_text("utf-8")
        assert "2 images" in content
        assert words in content


def test_text_names_the_page_or_the_command_that_writes_it(run: Run) -> None:
    code, out, error = run("new.onnx", "--against", "old.onnx", *QUICK)
    assert code == 1, error
    assert "graphs: side by side with onnxspace diff old.onnx new.onnx -o diff.html" in " ".join(out.split())
    code, out, error = run("new.onnx", "--against", "old.onnx", *QUICK, "--report", "page.html")
    assert code == 1, error
    assert "graphs: page.html" in out
    _, out, _ = run("same.onnx", "--against", "old.onnx", *QUICK, "--report", "none.html")
    assert "graphs:" not in out
    assert not Path("none.html").exists()


def test_a_fingerprint_has_no_graph(run: Run, place: Path) -> None:
    assert run("old.onnx", "--against", "old.fp", "--update", *QUICK)[0] == 0
    code, _, error = run("new.onnx", "--against", "old.fp", "--report", "page.html", "--images", "4")
    assert code == 1
    assert "There is no page on new: old.fp has no graph to compare with." in " ".join(error.split())
    assert not list(place.glob("*.html"))


def test_what_can_not_be_a_page_is_refused_before_the_work(run: Run) -> None:
    code, _, error = run("new.onnx", "--against", "old.onnx", "--report", "page.png", *QUICK)
    assert (code, error) == (
        2, "onnxspace: page.png is not a name for an HTML page. Name a file that ends in .html as --report.\n",
    )  # fmt: skip
    assert run("new.onnx", "--against", "old.fp", "--update", "--report", "page.html", *QUICK)[0] == 2


def test_each_artifact_has_a_page_of_its_own() -> None:
    assert name_pages(Path("a/page.html"), ["net"]) == [Path("a/page.html")]
    assert name_pages(Path("a/page.html"), ["net", "../net"]) == [Path("a/page-net.html"), Path("a/page---net.html")]
