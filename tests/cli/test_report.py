"""`onnxspace report` and the results that it reads: damaged ones, photos, bad options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.probes import Probes
from onnxspace.report.read_result import read_result
from onnxspace.report.result_folder import place_probes, write_results
from onnxspace.similarity.affinity import Affinity
from onnxspace.workflows.report import write_report
from tests.helpers.pages import NAMES, Page, decoded, page_of, records, result
from tests.helpers.spaces import space


def damaged(place: Path, change: Any) -> Path:
    result(place, NAMES)
    told = json.loads((place / "score.json").read_text("utf-8"))
    text = change(told)
    (place / "score.json").write_text(text if isinstance(text, str) else json.dumps(told), "utf-8")
    return place


@pytest.mark.parametrize(
    "change",
    [
        lambda told: "{",
        lambda told: "[]",
        lambda told: "[" * 100_000,
        lambda told: told.update(schema="other/1"),
        lambda told: told.update(method="unknown"),
        lambda told: told.update(models=[]),
        lambda told: told.pop("probe"),
        lambda told: told["probe"].update(size=-1),
        lambda told: told["models"][1].update(name="model-0"),
        lambda told: told["models"][1].update(path=None),
        lambda told: told["affinity"].pop(),
        lambda told: told["affinity"][0].pop(),
        lambda told: told["affinity"][0].__setitem__(1, "x"),
        lambda told: json.dumps(told).replace('"affinity": [[1.0', '"affinity": [[NaN'),
        lambda told: json.dumps(told).replace('"affinity": [[1.0', '"affinity": [[1e999'),
        lambda told: told.update(certainty={"model-0": {"sources": 3}}),
    ],
)  # fmt: skip
def test_a_damaged_result_is_one_sentence(tmp_path: Path, change: Any) -> None:
    place = damaged(tmp_path / "out", change)
    with pytest.raises(OnnxspaceError, match=r"score\.json .*\.$") as caught:
        write_report(place, tmp_path / "page.html")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_with_a_number_that_is_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    found = result(tmp_path / "out", NAMES)
    path = tmp_path / "out/maps" / f"{found.models[0].sha256[:12]}.npy"
    maps = np.load(path)
    maps[-1, -1] = value
    np.save(path, maps)
    with pytest.raises(OnnxspaceError, match=r"\.npy is damaged \(a number in it is not finite\)\. Compare the models again"):
        write_report(tmp_path / "out", tmp_path / "page.html")


def test_maps_of_another_shape_and_links_are_refused(tmp_path: Path) -> None:
    found = result(tmp_path / "out", NAMES)
    path = tmp_path / "out/maps" / f"{found.models[0].sha256[:12]}.npy"
    for change in (
        lambda: np.save(path, np.zeros((4, 9), np.float16)),
        lambda: np.save(path, np.array([{}])),
        lambda: path.write_bytes(b""),
    ):
        change()
        with pytest.raises(OnnxspaceError, match=r"\.npy is damaged"):
            write_report(tmp_path / "out", tmp_path / "page.html")
    path.unlink()
    path.symlink_to(tmp_path / "out/maps" / f"{found.models[1].sha256[:12]}.npy")
    with pytest.raises(OnnxspaceError, match="regular file"):
        write_report(tmp_path / "out", tmp_path / "page.html")


def command(*words: str) -> int:
    from onnxspace.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["report", *words])
    return int(stopped.value.code or 0)


def photos(place: Path, images: Any) -> Path:
    """A result of photos, with them beside it."""
    result(place, NAMES)
    told = json.loads((place / "score.json").read_text("utf-8"))
    told["probe"] |= {"name": "photos", "sha256": Probes("photos", images).sha256}
    (place / "score.json").write_text(json.dumps(told), "utf-8")
    place_probes(place, images)
    return place


def test_a_result_of_photos_shows_them(tmp_path: Path) -> None:
    images = np.full((4, 24, 24, 3), 60, np.uint8) * np.arange(1, 5, dtype=np.uint8)[:, None, None, None]
    place = photos(tmp_path / "out", images)
    page = page_of(place)
    shown = [given["src"] or "" for tag, given in page.elements if tag == "img"][:4]
    assert [np.abs(decoded(uri).astype(int) - image).mean() < 20 for uri, image in zip(shown, images, strict=True)] == [
        True
    ] * 4
    assert not any("without the images" in text for text in page.content[""])
    (place / "probes.npy").unlink()
    assert any("without the images" in text for text in page_of(place).content[""])


def test_photos_that_are_not_those_of_the_result_are_refused(tmp_path: Path) -> None:
    images = np.zeros((4, 24, 24, 3), np.uint8)
    place = photos(tmp_path / "out", images)
    kept = place / "probes.npy"
    for change in (
        lambda: np.save(kept, images + 1),
        lambda: np.save(kept, images[:3]),
        lambda: np.save(kept, images.astype(np.int16)),
        lambda: kept.write_bytes(b""),
        lambda: (kept.unlink(), kept.symlink_to(tmp_path / "nowhere")),
    ):
        change()
        with pytest.raises(OnnxspaceError, match=r"probes\.npy is damaged"):
            write_report(place, tmp_path / "page.html")


def test_the_command_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result(tmp_path / "out", NAMES, warnings=("look out",))
    goal = tmp_path / "new/page.html"
    assert command(str(tmp_path / "out"), "-o", str(goal), "--images", "0", "--title", "Mine", "--target", "zoo/2.onnx") == 0
    assert capsys.readouterr() == ("", f"Wrote {goal}\nwarning: look out\n")
    page = Page(goal.read_text("utf-8"))
    assert (page.data["target"], page.data["gallery"]) == (2, None)
    assert page.content[""].count("Mine") == 2
    assert command(str(tmp_path / "out"), "-o", str(goal), "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere", "-o", "p.html"), "nowhere does not exist"),
        (
            ("plain.txt", "-o", "p.html"),
            "plain.txt is a file. Name a space, or a folder that `onnxspace score --output` wrote.",
        ),
        (("empty", "-o", "p.html"), "neither a model space nor a result"),
        (("zoo.space", "-o", "p.html"), "has no models to show"),
        (("out", "-o", "p.png"), "not a name for an HTML page"),
        (("out", "-o", "out/p.html"), "lies inside"),
        (("out", "-o", "dir.html"), "is not a file"),
        (("out", "-o", "p.html", "--target", "who"), "there is no model 'who'"),
        (("out", "-o", "p.html", "--oracle", "plain.txt"), "plain.txt"),
        (("out", "-o", "p.html", "--images", "65"), "65"),
    ],
)
def test_bad_input_is_one_sentence_and_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result(tmp_path / "out", NAMES)
    (tmp_path / "plain.txt").write_text("text", "utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dir.html").mkdir()
    space(tmp_path / "zoo.space")
    before = sorted(tmp_path.rglob("*"))
    assert command(*words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_interrupted_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result(tmp_path / "out", NAMES)
    goal = tmp_path / "page.html"
    goal.write_text("old", "utf-8")

    def stop(*_: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxspace.workflows.report.render", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path / "out", goal)
    assert goal.read_text("utf-8") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "page.html"]


def test_more_models_than_a_page_shows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result(tmp_path / "out", NAMES)
    monkeypatch.setattr("onnxspace.workflows.report.MOST_MODELS", 6)
    with pytest.raises(OnnxspaceError, match="7 models, but a page shows at most 6"):
        write_report(tmp_path / "out", tmp_path / "page.html")


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    found = result(tmp_path / "out", NAMES, warnings=("look out",))
    read = read_result(tmp_path / "out")
    assert read.affinity.models == found.models
    assert (read.affinity.matrix == found.matrix).all()
    assert (read.affinity.warnings, read.affinity.failed, read.affinity.probe) == (found.warnings, found.failed, found.probe)
    assert [path and path.stem for path in read.maps] == [model.sha256[:12] for model in found.models]


def test_models_of_one_content_have_their_own_maps_or_none(tmp_path: Path) -> None:
    one = records(("a", "b", "c"))
    same = tuple(replace(model, sha256="f" * 64) for model in one)
    probe = {"name": "photos", "images": 2, "size": 3, "sha256": "0" * 64}
    write_results(tmp_path, Affinity(same, np.eye(3), "elrp", probe))
    (tmp_path / "maps").mkdir()
    stems = ("f" * 12, "f" * 12 + "-2", "f" * 12 + "-3")
    for count, expected in ((1, [stems[0]] * 3), (2, [None] * 3), (3, list(stems))):
        np.save(tmp_path / "maps" / f"{stems[count - 1]}.npy", np.zeros((2, 9), np.float16))
        assert [path and path.stem for path in read_result(tmp_path).maps] == expected
