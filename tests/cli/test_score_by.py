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
from onnxspace.attribution import gradient_fields as fields
from onnxspace.attribution.explainer import Explainer
from onnxspace.errors import ConfigError, ModelError
from onnxspace.evaluation import Table
from onnxspace.model.model import open_model
from onnxspace.report.read_result import read_result
from onnxspace.scores import predictivity, registry
from onnxspace.scores.all_pairs import Arrays, balance, fill, paired, score_matrix
from onnxspace.scores.pairs.predictivity import Answers, Source
from onnxspace.scores.selection import names
from onnxspace.workflows import representations as besides
from tests.helpers.commands import Run, save_classifiers
from tests.helpers.networks import Net, save

MODELS = ("a.onnx", "b.onnx", "c.onnx")
COUNT = 12
IMAGES = ("--images", str(COUNT))
ALL = tuple(word for name in ("attribution", "depara", "rsa", "cka", "dds", "modelgif") for word in ("--by", name))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("onnxspace.report.heatmap.draw_affinity", lambda result, path: path.write_text(result.title))
    monkeypatch.chdir(tmp_path)
    return save_classifiers(tmp_path, "abc", units=6)


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

    monkeypatch.setattr(Explainer, "passed", refuse)
    found = scored(run, "--by", "cka")
    assert found["affinity"] == found["scores"]["cka"]
    assert list(found["scores"]) == ["cka"]
    assert [s["affinity"] for s in found["rankings"]["a"]] == sorted(found["affinity"][0][1:], reverse=True)


def test_without_a_score_the_matrix_is_of_maps_and_sources_are_ranked_by_predictivity(run: Run) -> None:
    """Against the function on a session's own features and outputs."""
    found, alone = scored(run), scored(run, "--by", "attribution")
    assert found["affinity"] == alone["affinity"]
    assert "scores" not in alone
    assert (found["ranked_by"], list(found["scores"])) == ("predictivity", ["attribution", "predictivity"])
    for i, target in enumerate(MODELS):
        outputs = features(target, onnx.load(target).graph.output[0].name)
        values = {source[:-5]: predictivity(outputs, features(source)) for source in MODELS if source != target}
        assert [row["source"] for row in found["rankings"][target[:-5]]] == sorted(values, key=lambda n: -values[n])
        for row in found["rankings"][target[:-5]]:
            assert row["predictivity"] == pytest.approx(values[row["source"]], abs=2e-4)
            assert row["affinity"] == found["affinity"][i][[m["name"] for m in found["models"]].index(row["source"])]


def test_maps_alone_rank_where_there_is_nothing_else(run: Run, place: Path) -> None:
    fingerprint = ("fingerprint", "c.onnx", "-o", "c.fp", *IMAGES)
    assert run(*fingerprint)[0] == 0
    for arguments in (("a.onnx", "b.onnx", "c.fp", *IMAGES), (*MODELS, "--images", "5")):
        code, out, _ = run("score", *arguments, "--json")
        assert code == 0
        found = json.loads(out)
        assert "ranked_by" not in found
        assert [row["affinity"] for row in found["rankings"]["a"]] == sorted(found["affinity"][0][1:], reverse=True)


def test_the_certainty_of_a_share_is_that_of_its_images_drawn_again(run: Run, place: Path) -> None:
    """Against a bootstrap in loops over what each image's outputs are missed by."""
    sources = ("a.onnx", "b.onnx")
    found = scored(run, "--certainty", "--target", "c")["certainty"]["c"]["sources"]
    outputs = features("c.onnx", onnx.load("c.onnx").graph.output[0].name)
    draws = np.random.default_rng(0).integers(0, COUNT, size=(1000, COUNT))
    for source in sources:
        missed, there = Source(features(source)).parts([Answers.of(outputs)])[0]
        drawn = [1 - missed[draw].sum() / there[draw].sum() for draw in draws]
        row = next(one for one in found if one["source"] == source[:-5])
        assert [row["low"], row["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-3)
    code, out, _ = run("score", *MODELS, *IMAGES, "--target", "c", "--certainty")
    assert code == 0
    assert "with 95 % intervals; value and rank by each score" in out
    assert out.count("of resamples") == 1


def test_a_result_keeps_how_sure_it_is_whether_asked_or_not(run: Run, place: Path) -> None:
    code, out, _ = run("score", *MODELS, *IMAGES, "--output", "out", "--json")
    assert code == 0
    assert "certainty" not in json.loads(out)
    sure = read_result(place / "out").affinity.certainty
    asked = ox.score(MODELS, ox.Probes.generate(COUNT), certainty=True).certainty
    assert set(sure) == set(asked) == set("abc")
    assert sure["a"].sources[0].low == pytest.approx(asked["a"].sources[0].low, abs=1e-3)
    assert run("report", "out", "-o", "page.html", "--images", "0")[0] == 0
    page = (place / "page.html").read_text("utf-8")
    assert '"rankedBy":"predictivity"' in page
    assert "of the target.s outputs a source.s features predict".replace(".s", "&#39;s") in page


def test_features_that_nobody_asked_for_fail_no_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that ONNX Runtime can't run has maps all the same."""

    def refuse(model: Any, *_: Any, **__: Any) -> None:
        raise ModelError(f"{model.path} can't be run by ONNX Runtime (no kernel). Export it again.")

    monkeypatch.setattr(besides, "write_features", refuse)
    found = scored(run)
    assert found["affinity"][0][0] == pytest.approx(1)
    assert "ranked_by" not in found
    assert sum("nothing can be predicted from it" in said for said in found["warnings"]) == 3
    code, _, err = run("score", *MODELS, *IMAGES, "--by", "cka")
    assert (code, err.count("can't be run by ONNX Runtime")) == (2, 3)


def test_of_very_many_models_the_ranking_is_left_to_maps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.workflows.score.MOST_RANKED", 2)
    found = scored(run)
    assert "ranked_by" not in found
    assert any("ranked by affinity, since predictivity of all pairs" in said for said in found["warnings"])
    assert scored(run, "--by", "predictivity")["rankings"]["a"][0]["affinity"] < 1


def test_a_model_without_an_answer_leaves_the_ranking_to_maps(run: Run, place: Path) -> None:
    proto = onnx.load("c.onnx")
    proto.graph.node.append(onnx.helper.make_node("ArgMax", [proto.graph.output[0].name], ["class"], axis=1))
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("class", onnx.TensorProto.INT64, None))
    onnx.save(proto, "c.onnx")
    found = scored(run)
    assert "ranked_by" not in found
    assert "scores" not in found
    assert any("no output of floating-point numbers" in said for said in found["warnings"])
    assert found["warnings"][-1] == "Sources are ranked by affinity, since not all models have predictivity."
    code, _, err = run("score", *MODELS, *IMAGES, "--by", "predictivity")
    assert code == 0
    assert "nothing can be told of what to start from for it" in err


def test_results_are_ranked_by_what_ranks_wherever_they_are_read(run: Run, place: Path) -> None:
    assert run("score", *MODELS, *IMAGES, "--output", "out")[0] == 0
    result = ox.score(MODELS, ox.Probes.generate(COUNT))
    matrix = result.scores["predictivity"]
    assert result.ranks_by == "predictivity"
    rows = list(csv.DictReader((place / "out/rankings.csv").open()))
    assert list(rows[0]) == ["target", "rank", "source", "predictivity"]
    for name in ("score.json", "rankings.csv", "score-predictivity.csv"):
        table = Table.read(place / "out" / name)
        for i, target in enumerate("abc"):
            for j, source in enumerate("abc"):
                if i != j:
                    value = table.values[table.targets.index(target), table.sources.index(source)]
                    assert value == pytest.approx(matrix[i, j], abs=2e-4), name
    stored = read_result(place / "out").affinity
    assert stored.rank("a") == result.rank("a")
    np.testing.assert_allclose(stored.matrix, result.matrix, atol=2e-4)


def test_lambda_is_what_was_said_or_the_ratio_of_spreads(run: Run) -> None:
    parts = scored(run, "--by", "depara", "--lambda", "2")["details"]["depara"]
    nodes, edges = np.array(parts["nodes"]), np.array(parts["edges"])
    assert parts["lambda"] == 2
    auto = scored(run, "--by", "depara", "--lambda", "auto")
    ratio = upper(nodes).std() / upper(edges).std()
    assert auto["details"]["depara"]["lambda"] == pytest.approx(ratio)
    np.testing.assert_allclose(auto["affinity"], nodes + ratio * edges)


def test_two_models_have_no_ratio_of_spreads(run: Run) -> None:
    found = scored(run, "--by", "depara", "--lambda", "auto", models=MODELS[:2])
    assert found["details"]["depara"]["lambda"] == 0.25
    assert any("can't be told" in warning for warning in found["warnings"])
    assert balance(np.ones((3, 3)), np.eye(3)) is None


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
    lines = out[out.index("Sources for a") :].splitlines()
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
    assert (place / "kept/affinity.csv").read_text() == (place / "kept/score-cka.csv").read_text()
    assert (place / "kept/affinity.png").read_text().startswith("cka on 12 images")
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
    """Features that are the same for all images correlate with nothing."""
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
    assert [s["source"] for s in found["rankings"]["a"]] == ["c"]
    assert len(found["unscored"]["cka"]) == 1
    assert "warning: cka: " in err
    assert not (place / "kept/affinity.png").exists()
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
    assert "Fingerprints hold maps only" in err


@pytest.mark.parametrize("stopped_at", [1, 2, 3])
def test_an_interrupted_run_goes_on(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int) -> None:
    """Features are written once per model, a file at a time; fields image by image."""
    command = ("score", *MODELS, *IMAGES, "--json", "--by", "cka", "--by", "modelgif", "--steps", "2", "--output")
    whole, printed = run(*command, "reference")[:2], (place / "reference/score.json").read_text()
    written: list[str] = []
    write, line = besides.write_features, fields.Line.fields
    drawn: list[int] = []

    def counted(model: ox.Model, *arguments: Any) -> Any:
        made = write(model, *arguments)
        written.append(model.name)
        return made

    def stop(self: fields.Line, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        drawn.append(1)
        if len(drawn) == (stopped_at - 1) * COUNT + 3:
            raise KeyboardInterrupt
        return line(self, image)

    monkeypatch.setattr(besides, "write_features", counted)
    monkeypatch.setattr(fields.Line, "fields", stop)
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
        (("--by", "sfda"), "'sfda' is not one of"),
        (("--lambda", "2"), "--lambda means nothing to attribution"),
        (("--by", "depara", "--lambda", "-1"), "must be a number from 0"),
        (("--by", "depara", "--lambda", "much"), "neither a number nor auto"),
        (("--by", "depara", "--lambda", "nan"), "must be a number from 0"),
        (("--by", "cka", "--certainty"), "Name another score first"),
        (("--by", "cka", "--steps", "3"), "--steps means nothing"),
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


def test_positions_are_samples_where_all_have_one_grid(tmp_path: Path) -> None:
    """Else the means over them are."""
    from onnxspace.scores import svcca

    rng = np.random.default_rng(0)
    values = [rng.standard_normal((30, 4, 3, 3)).astype(np.float32) for _ in range(2)] + [
        rng.standard_normal((30, 5)).astype(np.float32)
    ]
    for index, one in enumerate(values):
        np.save(tmp_path / f"{index}.npy", one)
    models = [Arrays(features=tmp_path / f"{index}.npy") for index in range(3)]
    same = score_matrix("svcca", registry.spec("svcca"), models[:2], "ab").matrix
    assert same[0, 1] == pytest.approx(svcca(values[0], values[1]), abs=1e-9)
    other = score_matrix("svcca", registry.spec("svcca"), models, "abc").matrix
    assert other[0, 2] == pytest.approx(svcca(values[0].mean(axis=(2, 3)), values[2]))


@pytest.mark.parametrize("shape", [(40, 6), (40, 200), (9, 30), (20, 5, 4, 4)])
def test_singular_vectors_that_are_computed_once_give_the_same(tmp_path: Path, shape: tuple[int, ...]) -> None:
    from onnxspace.scores import svcca

    rng = np.random.default_rng(1)
    values = [
        rng.standard_normal(shape) * np.geomspace(1, 1e-3, shape[1]).reshape(1, -1, *[1] * (len(shape) - 2)) for _ in "ab"
    ]
    values.append(np.ones(shape))
    for index, one in enumerate(values):
        np.save(tmp_path / f"{index}.npy", one)
    models = [Arrays(features=tmp_path / f"{index}.npy") for index in range(3)]
    found = score_matrix("svcca", registry.spec("svcca"), models, "abc")
    assert found.matrix[0, 1] == pytest.approx(svcca(values[0], values[1]), abs=1e-9)
    assert np.isnan(found.matrix[:, 2]).all()
    assert any("same for every image" in sentence for sentence in found.why)


def test_of_too_many_images_evenly_spaced_ones_are_paired() -> None:
    values = np.arange(10)[:, None]
    assert paired(values, 4).ravel().tolist() == [0, 3, 6, 9]
    assert paired(values, 10) is values


def test_a_pair_that_fails_is_said_once() -> None:
    def score(a: NDArray[Any], b: NDArray[Any]) -> float:
        if a is not b:
            raise ValueError("no")
        return 1.0

    found = fill(score, [[np.ones(1)], [np.ones(1)], [np.ones(1)]], "abc")
    assert found.why == ("a and b: ValueError: no",)
    np.testing.assert_array_equal(np.isnan(found.matrix), ~np.eye(3, dtype=bool))


def width_ratio(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.abs(a).mean() / np.abs(b).mean())


ADDED = registry.ScoreSpec("ratio of sizes", "nobody", "pair", width_ratio, "[0, ∞)", (), ("features",))


def test_scores_of_other_packages_may_tell_source_from_target(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("ratio", "tests.cli.test_score_by:ADDED", registry.GROUP)
    monkeypatch.setattr(registry, "_others", lambda: {"ratio": point})
    assert names()[-1] == "ratio"
    result = ox.score(MODELS, ox.Probes.generate(COUNT), by="ratio")
    assert result.matrix[0, 1] == pytest.approx(1 / result.matrix[1, 0])
    assert result.matrix[0, 1] == pytest.approx(width_ratio(features("a.onnx"), features("b.onnx")), rel=1e-4)
