"""`onnxspace score` with fingerprints among the models, and with --certainty, from the files to what is printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.cli import main
from onnxspace.errors import ConfigError
from onnxspace.similarity.fingerprints import agreement
from onnxspace.similarity.fingerprints.agreement import ProtocolRequest
from onnxspace.similarity.fingerprints.file import print_affinity, project_file, read_fingerprint, write_fingerprint
from tests.cli.test_score import SCHEMA
from tests.helpers.commands import Run
from tests.helpers.paths import REPOSITORY

CLASSIFIERS = "abcd"
SMALL = ("--images", "3")


_written: dict[str, bytes] = {}  # fingerprints of the models, which are the same in all tests


@pytest.fixture
def prints(run: Run) -> Run:
    """With a.fp to c.fp, made on three generated images."""
    for name in "abc":
        if name not in _written:
            assert run("fingerprint", f"{name}.onnx", "-o", f"{name}.fp", *SMALL, "--quiet")[0] == 0
            _written[name] = Path(f"{name}.fp").read_bytes()
        Path(f"{name}.fp").write_bytes(_written[name])
    return run


def told(found: tuple[int, str, str], code: int = 0) -> dict[str, Any]:
    assert found[0] == code, found[2]
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def test_fingerprints_alone_are_compared_by_their_numbers(prints: Run) -> None:
    facts = told(prints("score", "a.fp", "b.fp", "c.fp", "--json"))
    assert [model["name"] for model in facts["models"]] == ["a", "b", "c"]
    assert facts["probe"] == told(prints("score", "a.onnx", "b.onnx", *SMALL, "--json"))["probe"]
    read = [read_fingerprint(Path(f"{name}.fp")) for name in "abc"]
    for i, one in enumerate(read):
        for j, other in enumerate(read):
            value, error = print_affinity(one, other)
            assert facts["affinity"][i][j] == pytest.approx(value if i != j else 1, abs=1e-6)
            assert facts["errors"][i][j] == pytest.approx(error if i != j else 0, abs=1e-6)


@pytest.mark.process
def test_fingerprints_alone_need_neither_torch_nor_onnx(prints: Run) -> None:
    code = (
        "import sys\nfrom onnxspace.cli import main\n"
        "try: main(['score', 'a.fp', 'b.fp', '--certainty', '--output', 'result'])\n"
        "except SystemExit as end: print(end.code, [n for n in ('torch', 'onnx', 'onnxruntime') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_pairs_of_networks_come_from_maps_and_others_from_prints(prints: Run) -> None:
    whole = told(prints("score", "d.onnx", "a.onnx", "c.onnx", *SMALL, "--json"))
    facts = told(prints("score", "d.onnx", "b.fp", "a.onnx", "c.fp", "--json"))
    assert [model["name"] for model in facts["models"]] == ["d", "b", "a", "c"]
    matrix, errors = np.array(facts["affinity"]), np.array(facts["errors"])
    assert matrix[0, 2] == whole["affinity"][0][1]
    np.testing.assert_array_equal(errors > 0, [[0, 1, 0, 1], [1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]])
    assert prints("fingerprint", "d.onnx", "-o", "d.fp", *SMALL, "--quiet")[0] == 0
    read = {name: read_fingerprint(Path(f"{name}.fp")) for name in "abcd"}
    for i, one in enumerate("dbac"):
        for j, other in enumerate("dbac"):
            if errors[i, j]:
                assert (matrix[i, j], errors[i, j]) == pytest.approx(print_affinity(read[one], read[other]), abs=1e-6)
    assert (matrix == matrix.T).all()
    assert abs(matrix[0, 3] - whole["affinity"][0][2]) < 5 * errors[0, 3]


def test_what_is_printed_says_how_far_estimates_can_be_trusted(prints: Run) -> None:
    code, out, err = prints("score", "a.onnx", "a.fp", "b.fp")
    assert code == 0
    assert "warning: models are explained on 3 images (generated-0), as a.fp was." in err
    assert "Affinity: mean cosine of elrp maps on 3 images (generated-0)" in out
    assert re.search(
        r"Affinities from fingerprints have a standard error of up to 0\.0\d\d; the rankings show", " ".join(out.split())
    )
    assert re.search(
        r"Most alike to a, by affinity of maps\n    1\. a\.fp +1\.000( ± 0\.000)?\n    2\. b +-?0\.\d{3} ± 0\.0\d\d\n", out
    )
    assert "±" not in prints("score", "a.onnx", "b.onnx", *SMALL)[1]


def test_method_options_and_images_are_those_of_the_first_that_can_be_had(prints: Run) -> None:
    other = ("--images", "2", "--seed", "7", "--method", "integrated-gradients", "--steps", "3", "--baseline", "black")
    assert prints("fingerprint", "b.onnx", "-o", "b.fp", *other, "--quiet")[0] == 0
    facts = told(prints("score", "a.onnx", "b.fp", "d.onnx", "--json", "--quiet"))
    assert facts["affinity"][0][2] == told(prints("score", "a.onnx", "d.onnx", *other, "--json"))["affinity"][0][1]
    assert (facts["method"], facts["options"]) == ("integrated-gradients", {"steps": 3, "baseline": "black"})
    assert facts["warnings"] == [
        "models are explained by integrated-gradients with baseline black, steps 3 on 2 images (generated-7), as b.fp was."
    ]
    assert told(prints("score", "a.onnx", "b.fp", *other, "--json"))["warnings"] == []


def test_one_that_was_made_otherwise_is_named_with_what_to_ask_for(prints: Run) -> None:
    other = ("--images", "2", "--seed", "7", "--method", "smoothgrad", "--samples", "2")
    assert prints("fingerprint", "b.onnx", "-o", "b.fp", *other, "--quiet")[0] == 0
    facts = told(prints("score", "a.onnx", "b.fp", "d.onnx", "c.fp", *SMALL, "--json", "--quiet"), code=2)
    assert [model["name"] for model in facts["models"]] == ["a", "d", "c"]
    assert facts["failed"] == [{
        "path": "b.fp",
        "error": "b.fp was made by smoothgrad with noise 0.15, samples 2 (here: elrp) on 2 images of generated-7 (here: 3 of "
        "generated-0), so it can't be compared; give --method smoothgrad --noise 0.15 --samples 2 --images 2 --seed 7, or make it "
        "again.",
    }]  # fmt: skip
    assert told(prints("score", "a.onnx", "b.fp", *other, "--noise", "0.15", "--json"))["failed"] == []
    code, _, err = prints("score", "a.fp", "c.fp", "--method", "saliency", "--quiet")
    assert code == 2
    assert err.count("so it can't be compared; give --method elrp") == 2
    facts = told(prints("score", "a.fp", "b.fp", "c.fp", "--json"), code=2)
    assert [model["name"] for model in facts["models"]] == ["a", "c"]
    assert "a.fp and b.fp were fingerprinted on different probe images" in facts["failed"][0]["error"]


def test_photos_must_be_given_again(prints: Run) -> None:
    Path("photos").mkdir()
    for name in "xy":
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 256, (40, 50, 3), np.uint8)).save(f"photos/{name}.png")
    Image.fromarray(np.full((30, 30, 3), 77, np.uint8)).save("grey.png")
    given = ("--probe", "photos", "--baseline", "grey.png")
    assert prints("fingerprint", "b.onnx", "-o", "b.fp", *given, "--quiet")[0] == 0
    facts = told(prints("score", "a.onnx", "b.fp", "--method", "elrp", *SMALL, "--json", "--quiet"), code=2)
    assert facts["failed"][0]["error"].endswith(
        "give --method elrp --baseline with its picture --images 2 --probe with its pictures, or make it again."
    )
    assert told(prints("score", "a.onnx", "b.fp", *given, "--json"))["failed"] == []
    taken = told(prints("score", "a.onnx", "b.fp", "c.fp", "--json", "--quiet"), code=2)
    assert [model["name"] for model in taken["models"]] == ["a", "c"]


def test_broken_and_missing_ones_are_listed_and_the_others_compared(prints: Run) -> None:
    Path("cut.fp").write_bytes(Path("b.fp").read_bytes()[:-40])
    Path("text.fp").write_text("no fingerprint")
    facts = told(prints("score", "cut.fp", "a.fp", "text.fp", "c.onnx", "gone.fp", "--json", "--quiet"), code=2)
    assert [model["name"] for model in facts["models"]] == ["a", "c"]
    errors = {failure["path"]: failure["error"] for failure in facts["failed"]}
    assert list(errors) == ["cut.fp", "text.fp", "gone.fp"]
    assert "damaged fingerprint" in errors["cut.fp"]
    assert "not a fingerprint" in errors["text.fp"]
    assert errors["gone.fp"] == "There is no file gone.fp."
    code, out, err = prints("score", "cut.fp", "text.fp", "--output", "result")
    assert (code, out, len(err.splitlines())) == (2, "", 2)
    assert not Path("result").exists()


def test_a_print_beside_its_network_keeps_its_suffix_and_can_be_the_target(prints: Run) -> None:
    facts = told(prints("score", "a.onnx", "a.fp", "b.fp", "--target", "a.fp", "--json", "--quiet"))
    assert [model["name"] for model in facts["models"]] == ["a", "a.fp", "b"]
    assert [row["source"] for row in facts["rankings"]["a.fp"]["sources"]] == ["a", "b"]
    assert facts["affinity"][0][1] > 0.9999
    assert list(told(prints("score", "b.fp", "c.fp", "--target", "c.fp", "--json"))["rankings"]) == ["c"]


def test_the_folder_has_maps_of_networks_and_errors_of_the_rest(prints: Run) -> None:
    printed = told(prints("score", "a.onnx", "b.fp", "--json", "--output", "result"))
    assert json.loads(Path("result/score.json").read_text()) == printed
    assert [path.name for path in Path("result/maps").iterdir()] == [f"{printed['models'][0]['sha256'][:12]}.npy"]
    assert prints("score", "b.fp", "c.fp", "--output", "result", "--quiet")[0] == 0
    assert sorted(path.name for path in Path("result").iterdir()) == [
        "affinity.csv", "affinity.npy", "affinity.png", "rankings.csv", "score.json",
    ]  # fmt: skip
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"baseline": "/etc/passwd"}},
        {"options": {"baseline": "secret.png"}},
        {"options": {"rules": {"Relu": "no such rule"}}},
        {"options": {"rules": [1]}},
        {"options": {"steps": 10**9}},
        {"options": {"unknown": 1}},
        {"method": "new-method"},
        {"probe_name": "generated-9999999999999999999", "probe_size": 2**16},
        {"probe_name": "\ud800\n\x1b[31m"},
    ],
)
def test_an_untrusted_fingerprint_is_never_followed_beyond_its_limits(
    prints: Run, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch, drawn_results: None
) -> None:
    """No file is opened, nothing huge is drawn; it is compared with its like, and refused beside a network."""
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("secret.png")
    for name in "ab":
        write_fingerprint(Path(f"odd-{name}.fp"), replace(read_fingerprint(Path(f"{name}.fp")), **changes))
    facts = told(
        prints("score", "odd-a.fp", "c.onnx", "d.onnx", *SMALL, "--json", "--quiet"), code=0 if "probe_name" in changes else 2
    )
    assert len(facts["failed"]) == (0 if "probe_name" in changes else 1)
    code, out, _ = prints("score", "odd-a.fp", "odd-b.fp", "--output", "result")
    assert code == 0
    assert "Most alike to odd-a" in out
    read = read_fingerprint(Path("odd-a.fp"))
    drawn = ox.Probes.generate
    monkeypatch.setattr(ox.Probes, "generate", lambda n=64, size=224, seed=0: drawn(min(n, 3), size, seed))
    met = agreement.agree({Path("odd-a.fp"): read}, ProtocolRequest(None, None, None))
    assert (met.setup.method, met.setup.options in (None, ox.Options()), met.setup.probes.name) == ("elrp", True, "generated-0")


def test_rules_of_the_configuration_hold_for_networks_and_must_be_the_prints(prints: Run) -> None:
    Path("onnxspace.toml").write_text("[rules.elrp]\nepsilon = 0.5\n")
    facts = told(prints("score", "a.onnx", "b.fp", "c.onnx", *SMALL, "--json", "--quiet"), code=2)
    assert "(here: elrp with epsilon 0.5)" in facts["failed"][0]["error"]
    assert prints("fingerprint", "b.onnx", "-o", "b.fp", *SMALL, "--quiet")[0] == 0
    Path("onnxspace.toml").unlink()
    facts = told(prints("score", "a.onnx", "b.fp", "--json", "--quiet"))
    assert facts["options"] == {"rules": {"epsilon": 0.5}}


def test_other_sketches_of_the_same_images_are_refused_beside_each_other(prints: Run) -> None:
    assert prints("score", "b.onnx", "d.onnx", *SMALL, "--output", "result", "--quiet")[0] == 0
    b = read_fingerprint(Path("b.fp"))
    other = project_file(Path(f"result/maps/{b.sha256[:12]}.npy"), 32, seed=1)
    write_fingerprint(Path("b.fp"), replace(b, prints=other, seed=1))
    facts = told(prints("score", "a.fp", "b.fp", "d.onnx", "--json", "--quiet"), code=2)
    assert "are different sketches" in facts["failed"][0]["error"]
    assert told(prints("score", "b.fp", "b.onnx", "--json", "--quiet"))["affinity"][0][1] > 0.9999


def sure(facts: dict[str, Any], target: str) -> dict[str, Any]:
    found: dict[str, Any] = facts["certainty"][target]
    ranking = facts["rankings"][target]
    rows = ranking["sources"] if isinstance(ranking, dict) else [{**row, "value": row["affinity"]} for row in ranking]
    assert [row["source"] for row in found["sources"]] == [row["source"] for row in rows]
    for row, ranked in zip(found["sources"], rows, strict=True):
        assert row["low"] - 1e-6 <= ranked["value"] <= row["high"] + 1e-6
    return found


def without_brackets(facts: dict[str, Any]) -> dict[str, Any]:
    for ranking in facts["rankings"].values():
        for row in ranking["sources"]:
            del row["bracket"]
    return facts


def test_certainty_is_asked_for_by_a_flag_and_only_grows_the_schema(prints: Run) -> None:
    models = ("a.onnx", "b.onnx", "c.onnx", "d.onnx")
    plain = told(prints("score", *models, "--images", "6", "--json"))
    facts = told(prints("score", *models, "--images", "6", "--json", "--certainty"))
    rows = {"type": "array", "items": {"type": "object", "required": ["source", "low", "high", "ahead"]}}
    of_target = {"type": "object", "required": ["sources", "settled"], "properties": {"sources": rows}}
    grown = {**SCHEMA, "properties": {**SCHEMA["properties"], "certainty": {"additionalProperties": of_target}}}  # type: ignore[dict-item]
    jsonschema.validate(facts, grown)
    assert facts == told(prints("score", *models, "--images", "6", "--json", "--certainty"))
    for name in "abcd":
        found = sure(facts, name)
        assert 1 <= found["settled"] <= found["images"] == 6
        assert [row["ahead"] is None for row in found["sources"]] == [False, False, True]
    del facts["certainty"]
    assert without_brackets(facts) == without_brackets(plain)  # they rest on the resamples where there are any
    only = told(prints("score", *models, "--images", "6", "--json", "--certainty", "--target", "b.onnx"))
    assert list(only["certainty"]) == ["b"]


def test_certainty_in_words(prints: Run) -> None:
    code, out, _ = prints("score", "a.onnx", "b.onnx", "c.onnx", "b.fp", "--certainty", "--target", "a", "--quiet")
    assert code == 0
    number = r"-?\d\.\d{3}"
    lines = out.split("Most alike to a, by affinity of maps, with 95 % intervals\n")[1].splitlines()
    for place, line in enumerate(lines[:3], 1):
        assert re.match(rf"[ │┊]   {place}\. [bc](\.fp)? +{number}( ± {number})? +\[ ?{number},  ?{number}\]", line), line
        assert bool(re.search(r"  ahead in (>99| <1| *\d+) %$", line)) == (place < 3)
    assert re.match(
        r"  The ranking (no longer changes after \d of 3 images|still changed with image \d of 3; more images)", lines[4]
    )


def test_certainty_in_python(prints: Run) -> None:
    probes = ox.Probes.generate(3)
    result = ox.score(["a.onnx", "b.fp", "c.onnx"], probes, certainty=["c"])
    assert list(result.certainty) == ["c"]
    assert result.certainty["c"].target == "c"
    assert tuple((row.source, row.value) for row in result.certainty["c"].sources) == result.rank("c").sources
    assert dict(ox.score(["a.fp", "b.fp"]).certainty) == {}
    with pytest.raises(ConfigError, match="there is no model 'z'"):
        ox.score(["a.fp", "b.fp"], certainty=["z"])


def test_a_space_says_the_same_of_its_models(prints: Run) -> None:
    assert prints("space", "create", "zoo.space", *SMALL)[0] == 0
    assert prints("space", "add", "zoo.space", "a.onnx", "c.onnx", "b.fp", "d.onnx", "--quiet")[0] == 0
    scored = told(prints("score", "a.onnx", "c.onnx", "b.fp", "d.onnx", "--certainty", "--json", "--quiet"))
    facts = told(prints("space", "rank", "zoo.space", "--certainty", "--json"))
    space = ox.Space.open("zoo.space")
    for name in "acbd":
        ours, theirs = sure(facts, name), sure(scored, name)
        assert ours["settled"] == theirs["settled"] == space.certainty(name).settled
        for a, b in zip(ours["sources"], theirs["sources"], strict=True):
            assert a["source"] == b["source"]
            np.testing.assert_allclose([a["low"], a["high"]], [b["low"], b["high"]], atol=2e-6)
    one = prints("space", "rank", "zoo.space", "b", "--certainty")[1]
    assert one.startswith("Most alike to b, by affinity of maps, with 95 % intervals\n    1. ")
    assert "of resamples" in one
    assert "certainty" not in told(prints("space", "rank", "zoo.space", "--json"))


def test_a_copy_under_another_name_has_affinity_one(prints: Run) -> None:
    Path("theirs.fp").write_bytes(Path("a.fp").read_bytes())
    result = ox.score(["a.fp", "theirs.fp"])
    assert result.names == ("a", "theirs")
    assert result.models[0].sha256 == result.models[1].sha256 == read_fingerprint(Path("a.fp")).sha256
    assert result.matrix[0, 1] == pytest.approx(1, abs=1e-6)


def test_the_sample_of_the_documentation_is_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same words; affinities within a hundredth and shares within five of a hundred, since another processor rounds otherwise."""
    root = REPOSITORY
    monkeypatch.chdir(root)
    command = re.compile(
        r"score models/\{([a-z,-]+)\}\.onnx --target segment-torch --certainty([^`]*)` ends with:\n\n```text\n"
    )
    found = command.search((root / "docs/commands/score.md").read_text("utf-8"))
    assert found is not None
    models, more = [f"models/{name}.onnx" for name in found[1].split(",")], found[2].split()
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main(["score", *models, "--target", "segment-torch", "--certainty", "--quiet", *more])
    assert not stopped.value.code
    said = found.string[found.end() :].split("\n```")[0].splitlines()
    printed = capsys.readouterr().out.rstrip().splitlines()
    assert said[0] in printed
    printed = printed[printed.index(said[0]) :]
    number = re.compile(r"-?\d\.\d{3}|\d+(?= %| of \d)")
    for one, other in zip(said, printed, strict=True):
        assert number.sub("", one).split() == number.sub("", other).split()
        for a, b in zip(number.findall(one), number.findall(other), strict=True):
            assert float(a) == pytest.approx(float(b), abs=0.01 if "." in a else 5), one
