"""`onnxspace evaluate`: tables of every form, what is printed and drawn, and untrusted files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxspace.cli.commands.evaluate import evaluate as command
from onnxspace.errors import TableError
from onnxspace.evaluation import Table, bootstrap
from onnxspace.evaluation.precision import RELEVANT
from onnxspace.evaluation.reading import read_aliases
from tests.helpers.commands import Run
from tests.helpers.disks import file_size_limit
from tests.helpers.paths import REPOSITORY

COMMAND = "evaluate"
ORACLE = "target,a,b,c,d\nA,4,3,2,1\nB,1,3,2,4\nC,2,4,1,3\n"
PREDICTED = ",a,b,c,d\nA,.9,.8,.7,.6\nB,.1,.2,.4,.3\nC,.3,.2,.1,.4\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oracle.csv").write_text(ORACLE)
    (tmp_path / "p.csv").write_text(PREDICTED)
    return tmp_path


BASE = ("--oracle", "oracle.csv", "--predicted", "p.csv", "--relevant", "2")


def refused(found: tuple[int, str, str], *words: str) -> None:
    code, out, err = found
    assert (code, out) == (2, "")
    assert err.startswith("onnxspace: ")
    assert len(err.splitlines()) == 1
    assert err.strip().isprintable()
    for word in words:
        assert word in err


def test_text_and_json_say_the_same(run: Run) -> None:
    code, out, err = run(*BASE, "--known", "oracle.csv")
    assert (code, err) == (0, "")
    facts = json.loads(run(*BASE, "--known", "oracle.csv", "--json")[1])
    assert [one["name"] for one in facts["rankings"]] == ["p", "static baseline"]
    for one in facts["rankings"]:
        line = next(line for line in out.splitlines() if line.startswith(f"{one['name']} "))
        assert line.split()[-4:] == [f"{value:.3f}" for value in one["precision"]["mean"]]
        assert f"{one['weighted_tau']['mean']:6.3f} [{one['weighted_tau']['low']:.3f}, " in out
    assert facts["rankings"][0]["hits"] == [2, 4, 6, 6]
    assert "Ahead of the static baseline" in out
    assert facts["ahead_of_static"]["p"]["mean"] == pytest.approx(
        facts["rankings"][0]["weighted_tau"]["mean"] - facts["rankings"][1]["weighted_tau"]["mean"]
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "\ufeff,a,b\r\nA,1,\r\nB,2,3\r\n"),
        ("t.csv", "source\\target,A,B\na,1,2\nb,nan,3\n"),
        ("l.csv", "target,source,rank,value\nA,a,1,1\nB,a,2,2\nB,b,1,3\n"),
        ("l2.csv", "source,target,gain\na,A,1\na,B,2\nb,B,3\n"),
        ("j.json", '{"A": {"a": 1, "b": null}, "B": {"a": 2, "b": 3}}'),
    ],
)
def test_every_form_of_a_table_reads_the_same(place: Path, name: str, text: str) -> None:
    (place / name).write_text(text, "utf-8")
    found = Table.read(place / name)
    np.testing.assert_array_equal(found.grid("AB", "ab"), [[1, np.nan], [2, 3]])
    assert not found.ordinal


@pytest.mark.parametrize("text", ["target,rank1,rank2\nA,b,a\nB,a,b\n", "target,source,rank\nA,a,2\nA,b,1\nB,a,1\nB,b,2\n"])
def test_orders_are_read_as_orders(run: Run, text: str) -> None:
    Path("o.csv").write_text(text)
    found = Table.read("o.csv")
    assert found.ordinal
    np.testing.assert_array_equal(found.grid("AB", "ab"), [[-2, -1], [-1, -2]])
    code, out, _ = run("--oracle", "o.csv", "--known", "o.csv", "--relevant", "1", "--lower-is-better")
    assert code == 0
    assert "this one has ranks only" in out
    assert run("--oracle", "o.csv", "--known", "o.csv", "--relevant", "1")[1] == out  # an order has its direction


def test_square_tables_of_names_in_json(place: Path) -> None:
    (place / "q.json").write_text('{"names": ["a", "b"], "matrix": [[1, 0.5], [0.25, 1]]}')
    np.testing.assert_array_equal(Table.read(place / "q.json").grid("ba", "ab"), [[0.25, 1], [1, 0.5]])


def test_repeats_are_averaged_and_losses_have_their_direction(run: Run) -> None:
    Path("o.csv").write_text("target,source,seed,loss\nA,a,0,1\nA,a,1,2\nA,b,0,3\nB,a,0,4\nB,b,0,5\nB,b,1,9\n")
    found = Table.read("o.csv")
    np.testing.assert_array_equal(found.grid("AB", "ab"), [[-1.5, -3], [-4, -7]])
    code, out, _ = run("--oracle", "o.csv", "--predicted", "o.csv", "--relevant", "1")
    assert code == 0
    assert run("--oracle", "o.csv", "--predicted", "o.csv", "--relevant", "1", "--lower-is-better")[1] == out
    Path("o.csv").write_text("target,source,run,value\nA,a,0,1\nA,a,1,nan\nA,b,0,\nB,b,0,2\nB,b,1,\nB,b,2,4\n")
    np.testing.assert_array_equal(Table.read("o.csv").grid("AB", "ab"), [[1, np.nan], [np.nan, 3]])
    Path("o.csv").write_text("target,source,fold,error\nA,a,0,1\nA,a,0,2\n")
    with pytest.raises(TableError, match="target A and source a of one repeat"):
        Table.read("o.csv")


def test_losses(run: Run) -> None:
    Path("loss.csv").write_text(re.sub(r"(?<=,)(\d)", lambda m: str(5 - int(m[1])), ORACLE))
    gains = json.loads(run(*BASE, "--json")[1])["rankings"][0]
    losses = json.loads(run("--oracle", "loss.csv", *BASE[2:], "--lower-is-better", "--json")[1])["rankings"][0]
    for measure in ("precision", "weighted_tau", "regret"):
        assert losses[measure] == gains[measure]
    assert losses["rel"] != gains["rel"]  # shares of other numbers
    assert 0 < losses["rel"]["mean"][0] < 1


def test_names_may_differ(run: Run) -> None:
    Path("other.csv").write_text(PREDICTED.replace(",a,", ",model-a,"))
    code, out, err = run("--oracle", "oracle.csv", "--predicted", "other.csv", "--relevant", "2")
    assert code == 0
    assert err == "warning: other.csv has no source a; oracle.csv has no source model-a; left out.\n"
    assert run("--oracle", "oracle.csv", "--predicted", "other.csv", "--relevant", "2", "--quiet") == (0, out, "")
    for name, text in (("a.csv", "model-a,a\n"), ("a.json", '{"model-a": "a"}')):
        Path(name).write_text(text)
        found = run("--oracle", "oracle.csv", "--predicted", "other.csv", "--relevant", "2", "--alias", name)
        assert found[2] == ""
        assert found[1].replace("other", "p").split() == run(*BASE)[1].split()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a table"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"a,b\n1\n", "1 cells in line 2 and 2 in the first"),
        (b",a,b\nA,1,x\x1b[31m\n", "is not a number"),
        (b",a,b\nA,1,inf\n", "infinite"),
        (b",a,a\nA,1,2\n", "more than one source called a"),
        (b",a,b\nA,1,2\nA,1,2\n", "more than one target called A"),
        (b",a,\nA,1,2\n", "without one"),
        (b"target,source,x,y\nA,a,1,2\n", "exactly one column of values"),
        (b"target,source,value\nA,a,1\nA,a,2\n", "two values for target A"),
        (b"{", "not a JSON file"),
        (b"[1]", "not hold a JSON object"),
        (b"{}", "does not hold a table"),
        (b'{"A": 1}', "does not hold a table"),
        (b'{"A": {}}', "no names"),
        (b'{"A": {"a": "1"}}', "in place of a number or null"),
        (b'{"A": {"a": true}}', "in place of a number or null"),
        (b'{"A": {"a": 1' + b"0" * 400 + b"}}", "infinite"),
        (b'{"names": ["a"], "matrix": [[1, 2]]}', "not 1"),
        (b'{"names": [1], "matrix": [[1]]}', "a name for each row"),
        (b'{"affinity": [1], "models": [{"name": "a"}]}', "a name for each row"),
        (b"[" * 100_000, "not a JSON file"),
        (b",a\nA,\x00\n", "p.csv"),
        (b'"' + b"x" * 200_000 + b'",a\nA,1\n', "not a CSV file"),
    ],
)  # fmt: skip
def test_broken_tables_are_refused_in_one_sentence(run: Run, content: bytes, words: str) -> None:
    Path("p.csv").write_bytes(content)
    refused(run(*BASE), "p.csv", words)
    assert sorted(p.name for p in Path().iterdir()) == ["oracle.csv", "p.csv"]


@pytest.mark.parametrize("content", [b"a\n", b'{"a": 1}', b"[1]", b"a,b,c\n", b"{"])
def test_broken_aliases_are_refused(run: Run, content: bytes) -> None:
    Path("alias").write_bytes(content)
    refused(run(*BASE, "--alias", "alias"), "alias")


def test_two_names_do_not_become_one(run: Run) -> None:
    Path("alias").write_text("a,b\n")
    refused(run(*BASE, "--alias", "alias"), "more than one source called b")


def test_files_that_are_none(run: Run) -> None:
    refused(run("--oracle", "gone.csv", "--predicted", "p.csv"), "gone.csv: no such file")
    refused(run("--oracle", ".", "--predicted", "p.csv"), "is not a file")
    refused(run("--oracle", "a\0b", "--predicted", "p.csv"), "can't be read")
    code, out, err = run("--oracle", "oracle.csv")
    assert (code, out) == (2, "")
    assert "Give a --predicted table" in err
    refused(run("--oracle", "oracle.csv", "--predicted", "p.csv", "--relevant", "9"), "Give a smaller --relevant")
    Path("one.csv").write_text(",a,b\nA,1,2\n")
    refused(run("--oracle", "one.csv", "--known", "one.csv", "--relevant", "1"), "no dataset other than A")


def test_large_files_are_not_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.evaluation.reading._MOST_BYTES", 2**20)
    with (place / "large.csv").open("wb") as file:
        file.truncate(2**20 + 1)
    for read in (Table.read, read_aliases):
        with pytest.raises(TableError, match="larger than 1 MiB"):
            read(place / "large.csv")
    rows = "".join(f"t{i},s{i},1\n" for i in range(5000))
    (place / "sparse.csv").write_text(f"target,source,value\n{rows}")
    with pytest.raises(TableError, match="too many"):
        Table.read(place / "sparse.csv")


@pytest.mark.parametrize("name", ["curves.png", "deep/curves.svg"])
def test_a_picture_is_written_whole_and_repeats(run: Run, name: str) -> None:
    assert run(*BASE, "--output", name)[0] == 0
    first = Path(name).read_bytes()
    assert run(*BASE, "--output", name)[0] == 0
    assert Path(name).read_bytes() == first
    assert first.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")


def test_pictures_show_every_curve(run: Run) -> None:
    """Each in its colour, in the panels of precision and of recall."""
    from onnxspace.evaluation.curves import _COLOURS

    assert run(*BASE, "--known", "oracle.csv", "--output", "c.png")[0] == 0
    with Image.open("c.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    thirds = np.array_split(pixels, 3, axis=1)
    for colour in _COLOURS[:2]:
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        for panel in thirds:
            assert (np.abs(panel - wanted).max(-1) < 12).sum() > 100


def test_names_are_drawn_as_they_are(run: Run) -> None:
    names = ["_hidden", "$x^2$", "long" * 30, "\\alpha"]
    for name in names:
        Path(f"{name}.csv").write_text(PREDICTED)
    chosen = [part for name in names for part in ("--predicted", f"{name}.csv")]
    assert run("--oracle", "oracle.csv", *chosen, "--relevant", "2", "--output", "c.svg")[::2] == (0, "")
    drawn = Path("c.svg").read_text("utf-8")
    assert "<!--  _hidden -->" in drawn
    assert "<!-- $x^2$ -->" in drawn


SQUARE = ",A,B,C\nA,1,.8,.1\nB,.8,1,.2\nC,.1,.2,1\n"


def test_a_folder_holds_all_and_replaces_an_earlier_one(run: Run) -> None:
    Path("square.csv").write_text(SQUARE)
    given = ("--oracle", "square.csv", "--predicted", "square.csv", "--relevant", "1", "--output", "out")
    assert run(*given)[0] == 0
    assert run(*given, "--correlations", "square.csv", "--linkage", "single")[0] == 0
    names = [f"{name}{kind}" for name in ("curves", "priority", "trees") for kind in (".png", ".svg")]
    assert sorted(p.name for p in Path("out").iterdir()) == sorted([*names, "evaluate.json", "measures.csv"])
    facts = json.loads(Path("out/evaluate.json").read_text())
    assert facts["trees"]["square"]["linkage"] == "single"
    assert {p["source"]: p["correlation"] for p in facts["priorities"]["oracle"]} == pytest.approx(
        {"A": 0.45, "B": 0.5, "C": 0.15}
    )
    Path("out/mine.txt").write_text("keep")
    refused(run(*given), "out already exists")
    assert Path("out/mine.txt").exists()
    assert not [p for p in Path().iterdir() if p.name.endswith(".partial")]


def test_outputs_that_are_something_else(run: Run) -> None:
    refused(run(*BASE, "--output", "p.csv"), "p.csv is one of the tables")
    Path("taken").write_text("x")
    refused(run(*BASE, "--output", "taken"), "taken already exists")
    Path("dir.png").mkdir()
    refused(run(*BASE, "--output", "dir.png"), "dir.png already exists")
    Path("p.png").symlink_to("p.csv")
    refused(run(*BASE, "--output", "p.png"), "is one of the tables")
    assert Path("p.csv").read_text() == PREDICTED


@pytest.mark.parametrize("output", ["out", "c.png"])
def test_a_full_disk_leaves_nothing(run: Run, output: str) -> None:
    assert run(*BASE, "--output", output)[0] == 0  # libraries write their caches now
    earlier = (Path(output) / "curves.png" if output == "out" else Path(output)).read_bytes()
    with file_size_limit(100):
        refused(run(*BASE, "--output", output), "can't be written")
    assert (Path(output) / "curves.png" if output == "out" else Path(output)).read_bytes() == earlier
    assert sorted(p.name for p in Path().iterdir()) == sorted(["oracle.csv", "p.csv", output])


def test_an_interruption_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxspace.evaluation.curves.draw_priorities", stop)
    assert run(*BASE, "--output", "out")[0] == 130
    assert sorted(p.name for p in Path().iterdir()) == ["oracle.csv", "p.csv"]


def test_the_single_linkage_tree_prints_distances(run: Run) -> None:
    Path("square.csv").write_text(SQUARE)
    given = ("--oracle", "square.csv", "--predicted", "square.csv", "--relevant", "1")
    average, single = run(*given)[1], run(*given, "--linkage", "single")[1]
    assert "┐ 0.800" in average
    assert f"┐ {np.linalg.norm([0.2, -0.2, -0.1]):.3f}" in single


def test_bounds_are_those_of_the_library() -> None:
    defaults: dict[str, Any] = {p.opts[0]: p.default for p in command.params}
    assert (defaults["--resamples"], defaults["--relevant"]) == (bootstrap.DRAWS, RELEVANT)
    assert next(p for p in command.params if p.name == "resamples").type.max == bootstrap.MOST_DRAWS  # type: ignore[attr-defined]


def test_the_command_in_the_documentation_runs(run: Run) -> None:
    line = (REPOSITORY / "docs/commands/evaluate.md").read_text("utf-8").split("```sh\n")[1].split("\n")[0]
    Path("benchmarks").symlink_to(REPOSITORY / "benchmarks")
    code, out, err = run(*line.split()[2:])
    assert code == 0
    assert "0.824 0.882 0.882 0.809 0.741" in out
    assert err.startswith("warning: benchmarks/data/rsa_17x17.csv has no target class_places")
    assert Path("rsa.svg").is_file()


def test_the_example_in_the_documentation_runs(place: Path) -> None:
    (place / "finetuned.csv").write_text(ORACLE)
    (place / "affinity.csv").write_text(PREDICTED)
    text = (REPOSITORY / "docs/evaluation.md").read_text("utf-8")
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    assert names["found"].scored[0].measures["precision"].values.shape == (3, 4)


def test_the_documented_keys_are_those_of_the_object(run: Run) -> None:
    text = (REPOSITORY / "docs/evaluation.md").read_text("utf-8").split("## Output")[1].split("<!-- object")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert documented | {"schema"} == set(json.loads(run(*BASE, "--json")[1]))
