"""`onnxspace score --by`: every score against a computation of its own, and what becomes of failures and interruptions."""

from __future__ import annotations

import csv
import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

import onnxspace as ox
from onnxspace.attribution import gradient_fields
from onnxspace.attribution.explainer import Explainer
from onnxspace.errors import ConfigError
from onnxspace.model.model import open_model
from onnxspace.scores import registry
from onnxspace.scores.all_pairs import balancing_weight
from onnxspace.scores.selection import pair_score_names
from onnxspace.workflows.child import representations
from tests.helpers.commands import Run
from tests.helpers.nets import Net, save

CLASSIFIERS, CLASSIFIER_OPTIONS = "abc", {"units": 6}
MODELS = ("a.onnx", "b.onnx", "c.onnx")
COUNT = 12
IMAGES = ("--images", str(COUNT))
ALL = tuple(word for name in ("attribution", "depara", "rsa", "cka", "dds", "modelgif") for word in ("--by", name))


def scored(run: Run, *arguments: str, models: tuple[str, ...] = MODELS) -> dict[str, Any]:
    code, out, err = run("score", *models, *IMAGES, "--json", *arguments)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def features(path: str, tensor: str = "t5") -> NDArray[np.float64]:
    """What a session of its own computes at the encoder, one image at a time: float64 [images, dimensions]."""
    proto = onnx.load(path)
    proto.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    values = open_model(path).preprocess(ox.Probes.generate(COUNT).images)
    return np.array([session.run([tensor], {"image": values[i : i + 1]})[0].ravel() for i in range(COUNT)], np.float64)


def maps(path: str) -> NDArray[np.float64]:
    return ox.attribute(path, ox.Probes.generate(COUNT)).reshape(COUNT, -1).astype(np.float64)


def upper(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])


def slow_nodes(a: str, b: str) -> float:
    return float(np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(maps(a), maps(b), strict=True)]))


def slow_edges(a: str, b: str) -> float:
    cosines = []
    for path in (a, b):
        rows = features(path) - features(path).mean(axis=0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        cosines.append(upper(rows @ rows.T))
    return float(spearmanr(*cosines).statistic)


def slow_rsa(a: str, b: str) -> float:
    pair = [upper(1 - np.corrcoef(features(path) - features(path).mean(axis=0))) for path in (a, b)]
    return float(spearmanr(*pair).statistic)


def slow_cka(a: str, b: str) -> float:
    """Unbiased, from n × n matrices, Song et al. 2012."""

    def hsic(k: NDArray[np.float64], other: NDArray[np.float64]) -> float:
        n = len(k)
        ones = np.ones(n)
        middle = ones @ k @ ones * (ones @ other @ ones) / ((n - 1) * (n - 2))
        return float((np.trace(k @ other) + middle - 2 / (n - 2) * ones @ k @ other @ ones) / (n * (n - 3)))

    k, other = (features(path) @ features(path).T for path in (a, b))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(other, 0)
    return hsic(k, other) / np.sqrt(hsic(k, k) * hsic(other, other))


def slow_dds(a: str, b: str) -> float:
    centred = []
    for path in (a, b):
        rows = features(path) - features(path).mean(axis=0)
        spread = rows.std(axis=0)
        rows = rows[:, spread > 0] / spread[spread > 0]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        h = np.eye(COUNT) - 1 / COUNT
        centred.append((h @ rows @ rows.T @ h).ravel())
    return float(centred[0] @ centred[1] / np.linalg.norm(centred[0]) / np.linalg.norm(centred[1]))


def test_every_score_is_that_of_its_formula(run: Run) -> None:
    found = scored(run, *ALL, "--steps", "2")
    for name, slow in {
        "attribution": slow_nodes, "rsa": slow_rsa, "cka": slow_cka, "dds": slow_dds,
        "depara": lambda a, b: slow_nodes(a, b) + 0.25 * slow_edges(a, b),
    }.items():  # fmt: skip
        assert found["scores"][name][0][2] == pytest.approx(slow("a.onnx", "c.onnx"), abs=2e-4), name
    for matrix in found["scores"].values():
        assert np.array(matrix) == pytest.approx(np.array(matrix).T)
    assert found["affinity"] == found["scores"]["attribution"]
    assert found["details"]["modelgif"] == {"steps": 2, "baseline": "zero", "size": 128}
    assert found["unscored"] == {}


def test_a_network_is_its_own_best_source_by_every_score(run: Run, place: Path) -> None:
    (place / "twin.onnx").write_bytes((place / "a.onnx").read_bytes())
    found = scored(run, *ALL, "--steps", "2", models=(*MODELS, "twin.onnx"))
    for name, matrix in found["scores"].items():
        whole = 1.25 if name == "depara" else 1.0
        assert matrix[0][3] == pytest.approx(whole, abs=1e-3), name
        assert np.diag(matrix) == pytest.approx(whole, abs=1e-3), name


def test_without_a_score_of_maps_none_is_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a map was made")

    monkeypatch.setattr(Explainer, "compute_maps", refuse)
    found = scored(run, "--by", "cka")
    assert "affinity" not in found
    assert (found["by"], list(found["scores"])) == ("cka", ["cka"])
    values = [s["value"] for s in found["rankings"]["a"]["sources"]]
    assert values == sorted(found["scores"]["cka"][0][1:], reverse=True)


def test_lambda_is_what_was_said_or_the_ratio_of_spreads(run: Run) -> None:
    parts = scored(run, "--by", "depara", "--lambda", "2")["details"]["depara"]
    nodes, edges = np.array(parts["nodes"]), np.array(parts["edges"])
    assert parts["lambda"] == 2
    auto = scored(run, "--by", "depara", "--lambda", "auto")
    ratio = upper(nodes).std() / upper(edges).std()
    assert auto["details"]["depara"]["lambda"] == pytest.approx(ratio)
    np.testing.assert_allclose(auto["scores"]["depara"], nodes + ratio * edges)


def test_two_models_have_no_ratio_of_spreads(run: Run) -> None:
    found = scored(run, "--by", "depara", "--lambda", "auto", models=MODELS[:2])
    assert found["details"]["depara"]["lambda"] == 0.25
    assert any("can't be estimated" in warning for warning in found["warnings"])
    assert balancing_weight(np.ones((3, 3)), np.eye(3)) is None


def test_the_python_call_is_the_commands(run: Run) -> None:
    found = scored(run, "--by", "depara", "--by", "cka", "--lambda", "auto")
    result = ox.score(MODELS, ox.Probes.generate(COUNT), by=["depara", "cka"], weight="auto")
    assert json.loads(json.dumps(result.to_dict())) == found
    assert result.rank("a", "cka").sources[0][1] == max(result.scores["cka"][0][1:])
    with pytest.raises(ConfigError, match="No score 'rsa' was computed"):
        result.rank("a", "rsa")


def test_the_table_has_a_column_and_a_rank_for_each(run: Run) -> None:
    code, out, _ = run("score", *MODELS, *IMAGES, "--by", "attribution", "--by", "depara", "--target", "a")
    assert code == 0
    assert "depara is S_V + 0.25 · S_E" in out
    lines = out[out.index("Most alike to a") :].splitlines()
    assert lines[1].split() == ["attribution", "depara"]
    result = ox.score(MODELS, ox.Probes.generate(COUNT), by=["attribution", "depara"])
    order = [source for source, _ in result.rank("a").sources]
    assert [line.split()[1] for line in lines[2:4]] == order
    ranks = [[name for name, _ in result.rank("a", by).sources] for by in ("attribution", "depara")]
    for line, name in zip(lines[2:4], order, strict=True):
        values = [dict(result.rank("a", by).sources)[name] for by in ("attribution", "depara")]
        assert line.split()[2:] == [
            w for v, r in zip(values, ranks, strict=True) for w in (f"{v:.3f}", f"({r.index(name) + 1})")
        ]


def test_output_keeps_every_matrix(run: Run, place: Path) -> None:
    for _ in range(2):  # an earlier result is replaced
        found = scored(run, "--by", "cka", "--by", "depara", "--output", "kept")
    for name in ("cka", "depara"):
        np.testing.assert_array_equal(np.load(place / f"kept/score-{name}.npy"), found["scores"][name])
        rows = list(csv.reader((place / f"kept/score-{name}.csv").open()))
        np.testing.assert_array_equal(np.array(rows)[1:, 1:].astype(float), found["scores"][name])
    assert not list((place / "kept").glob("affinity.*"))
    assert (place / "kept/score-cka.png").read_text().startswith("cka on 12 images")
    assert len(list((place / "kept/maps").iterdir())) == 3
    assert not (place / ".kept.unfinished").exists()


def test_a_model_that_fails_does_not_stop_the_others(run: Run, place: Path) -> None:
    (place / "b.onnx").write_bytes(b"nothing")
    code, out, err = run("score", *MODELS, *IMAGES, "--json", "--by", "cka", "--by", "modelgif", "--steps", "2")
    found = json.loads(out)
    assert code == 2
    assert "b.onnx" in err
    assert [m["name"] for m in found["models"]] == ["a", "c"]
    assert [f["path"] for f in found["failed"]] == ["b.onnx"]
    assert np.shape(found["scores"]["modelgif"]) == (2, 2)


def test_a_score_that_fails_does_not_stop_the_others(run: Run, place: Path) -> None:
    """Features that are the same for all images have no correlation with others."""
    net = Net()
    x = net.add("Relu", net.add("Sub", net.conv("image", 3, 4), net.weight(np.float32([1e6]))))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    save(net.model([net.dense(x, 4, 3)]), place / "b.onnx")
    code, out, err = run("score", *MODELS, *IMAGES, "--json", "--by", "cka", "--output", "kept")
    found = json.loads(out)
    assert code == 2
    assert found["failed"] == []
    assert found["scores"]["cka"][0][1] is None
    assert found["scores"]["cka"][0][2] == pytest.approx(slow_cka("a.onnx", "c.onnx"), abs=1e-4)
    assert [(s["source"], s["place"]) for s in found["rankings"]["a"]["sources"]] == [("c", 1), ("b", None)]
    assert len(found["unscored"]["cka"]) == 1
    assert "warning: cka: " in err
    assert not list((place / "kept").glob("*.png"))
    _, text, _ = run("score", *MODELS, *IMAGES, "--by", "cka", "--by", "rsa")
    assert "n/a" in text


def test_fingerprints_have_attribution_only(run: Run) -> None:
    assert run("fingerprint", "b.onnx", "-o", "b.fp", *IMAGES)[0] == 0
    found = scored(run, "--by", "attribution", "--by", "depara", models=("a.onnx", "b.fp", "c.onnx"))
    assert found["affinity"][0][1] is not None
    assert found["errors"][0][1] > 0
    assert found["scores"]["depara"][0][1] is None
    assert found["scores"]["depara"][0][2] is not None
    assert run("fingerprint", "a.onnx", "-o", "a.fp", *IMAGES)[0] == 0
    code, out, err = run("score", "a.fp", "b.fp", "--by", "cka")
    assert (code, out) == (2, "")
    assert "Fingerprints do not hold what" in err


@pytest.mark.parametrize("stopped_at", [1, 2, 3])
def test_an_interrupted_run_goes_on(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int) -> None:
    """Features are written once per model, a file at a time; fields image by image."""
    command = ("score", *MODELS, *IMAGES, "--json", "--by", "cka", "--by", "modelgif", "--steps", "2", "--output")
    whole, printed = run(*command, "reference")[:2], (place / "reference/score.json").read_text()
    written: list[str] = []
    write, line = representations.write_features, gradient_fields.PathGradients.fields
    drawn: list[int] = []

    def counted(model: ox.Model, *arguments: Any) -> Any:
        made = write(model, *arguments)
        written.append(model.name)
        return made

    def stop(self: gradient_fields.PathGradients, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        drawn.append(1)
        if len(drawn) == (stopped_at - 1) * COUNT + 3:
            raise KeyboardInterrupt
        return line(self, image)

    monkeypatch.setattr(representations, "write_features", counted)
    monkeypatch.setattr(gradient_fields.PathGradients, "fields", stop)
    code, _, err = run(*command, "kept")
    assert code == 130
    shown = "1 model" if stopped_at == 1 else f"{stopped_at} models"
    assert f"{(stopped_at - 1) * COUNT + 2} maps and features of {shown} are kept" in err
    assert not (place / "kept").exists()
    assert run(*command, "kept")[:2] == whole
    assert sorted(written) == ["a", "b", "c"]
    assert len(drawn) == 3 * COUNT + 1
    assert (place / "kept/score.json").read_text() == printed
    assert not (place / ".kept.unfinished").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--by", "sfda"), "there is no score of two models 'sfda'"),
        (("--lambda", "2"), "--lambda is not an option of attribution"),
        (("--by", "depara", "--lambda", "-1"), "must be a number of at least 0"),
        (("--by", "depara", "--lambda", "much"), "neither a number nor auto"),
        (("--by", "depara", "--lambda", "nan"), "must be a number of at least 0"),
        (("--by", "cka", "--certainty"), "Name another score first"),
        (("--by", "cka", "--steps", "3"), "--steps is not an option"),
        (("--by", "modelgif", "--steps", "0"), "--steps is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, place: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run("score", *MODELS, *arguments, "--output", "kept")
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert not (place / "kept").exists()


def test_scores_with_labels_are_elsewhere(place: Path) -> None:
    with pytest.raises(ConfigError, match="onnxspace transfer --by sfda"):
        ox.score(MODELS, by="sfda")


def width_ratio(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.abs(a).mean() / np.abs(b).mean())


ADDED = registry.ScoreSpec("ratio of sizes", "nobody", "pair", width_ratio, "[0, ∞)", (), ("features",))


def test_scores_of_other_packages_may_tell_source_from_target(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("ratio", "tests.cli.test_score_by:ADDED", registry.GROUP)
    monkeypatch.setattr(registry, "_plugins", lambda: {"ratio": point})
    assert pair_score_names()[-1] == "ratio"
    result = ox.score(MODELS, ox.Probes.generate(COUNT), by="ratio")
    assert result.matrix[0, 1] == pytest.approx(1 / result.matrix[1, 0])
    assert result.matrix[0, 1] == pytest.approx(width_ratio(features("a.onnx"), features("b.onnx")), rel=1e-4)
