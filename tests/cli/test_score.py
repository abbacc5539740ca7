"""`onnxspace score` and `inspect` from the outside: what they print, what they keep, what they promise."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.errors import ConfigError
from tests.helpers.commands import Run
from tests.helpers.nets import Net, classifier, save

NUMBER, TEXT = {"type": "number"}, {"type": "string"}
SHA = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
EVIDENCE = {"enum": ["none", "pictures", "labels", "finetuned", "known"]}
SOURCE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["source", "value", "place", "bracket"],
    "properties": {
        "source": TEXT, "value": {"type": ["number", "null"]}, "place": {"type": ["integer", "null"]},
        "bracket": {"type": ["integer", "null"]},
    },
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["schema", "method", "probe", "evidence", "models", "by", "ranked_by", "rankings", "failed", "warnings"],
    "properties": {
        "schema": {"const": "onnxspace/score/2"},
        "evidence": EVIDENCE,
        "by": TEXT,
        "ranked_by": TEXT,
        "method": {"enum": ["elrp", "saliency", "gradient-x-input"]},
        "probe": {
            "type": "object",
            "required": ["name", "images", "size", "sha256"],
            "properties": {"name": TEXT, "images": {"type": "integer"}, "size": {"type": "integer"}, "sha256": SHA},
        },
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "path", "sha256", "encoder", "input", "opset", "producer", "assumed"],
                "properties": {"sha256": SHA, "opset": {"type": "integer"}, "assumed": {"type": "array", "items": TEXT}},
            },
        },
        "affinity": {"type": "array", "items": {"type": "array", "items": NUMBER}},
        "rankings": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["by", "evidence", "reliability", "sources", "notes"],
                "properties": {
                    "by": TEXT,
                    "evidence": EVIDENCE,
                    "reliability": TEXT,
                    "notes": {"type": "array", "items": TEXT},
                    "sources": {"type": "array", "items": SOURCE},
                },
            },
        },
        "precisions": {"type": "object", "additionalProperties": {"type": "object", "required": ["used", "asked"]}},
        "failed": {"type": "array", "items": {"type": "object", "required": ["path", "error"]}},
        "warnings": {"type": "array", "items": TEXT},
    },
}


CLASSIFIERS = "abc"
MODELS = ("a.onnx", "b.onnx", "c.onnx")
SMALL = ("--images", "3")


def scored(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, _ = run("score", *MODELS, *SMALL, "--json", *arguments)
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_json_is_one_object_of_the_schema_and_nothing_else(run: Run) -> None:
    found = scored(run)
    jsonschema.validate(found, SCHEMA)
    assert [m["name"] for m in found["models"]] == ["a", "b", "c"]
    assert found["probe"]["images"] == 3
    matrix = np.array(found["affinity"])
    assert matrix.shape == (3, 3)
    assert (matrix == matrix.T).all()
    assert (np.diag(matrix) == 1).all()
    assert (found["evidence"], found["by"], found["ranked_by"]) == ("none", "attribution", "attribution")
    for target, ranking in found["rankings"].items():
        values = [s["value"] for s in ranking["sources"]]
        assert target not in [s["source"] for s in ranking["sources"]]
        assert values == sorted(values, reverse=True)
        assert (ranking["by"], ranking["evidence"]) == ("attribution", "none")


def test_json_numbers_are_those_of_the_python_call(run: Run) -> None:
    found = scored(run)
    result = ox.score(MODELS, ox.Probes.generate(3))
    np.testing.assert_array_equal(found["affinity"], result.matrix)
    assert found["probe"]["sha256"] == ox.Probes.generate(3).sha256


def test_reruns_are_equal_to_the_bit(run: Run) -> None:
    assert scored(run) == scored(run)


def test_the_order_of_models_only_permutes_the_matrix(run: Run) -> None:
    first = np.array(scored(run)["affinity"])
    code, out, _ = run("score", "c.onnx", "a.onnx", "b.onnx", *SMALL, "--json")
    assert code == 0
    np.testing.assert_allclose(np.array(json.loads(out)["affinity"]), first[np.ix_([2, 0, 1], [2, 0, 1])], atol=1e-12)


@pytest.mark.parametrize("method", ["elrp", "saliency", "gradient-x-input"])
def test_methods(run: Run, method: str) -> None:
    found = scored(run, "--method", method)
    assert found["method"] == method
    if method == "saliency":
        assert np.array(found["affinity"]).min() > 0


def test_probe_sets_are_told_apart(run: Run, place: Path) -> None:
    photos = place / "photos"
    photos.mkdir()
    for k in range(5):
        noise = np.random.default_rng(k).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photos / f"{k}.png")
    generated, other, folder_set = scored(run), scored(run, "--seed", "1"), scored(run, "--probe", "photos")
    assert len({r["probe"]["sha256"] for r in (generated, other, folder_set)}) == 3
    assert folder_set["probe"]["name"] == "photos"
    assert folder_set["probe"]["images"] == 3


def test_text_names_every_model_and_every_ranking(run: Run) -> None:
    code, out, err = run("score", *MODELS, *SMALL)
    assert code == 0
    assert "Affinity: mean cosine of elrp maps on 3 images (generated-0)" in out
    for name in "abc":
        assert f"Most alike to {name}, by affinity of maps" in out
    assert err.count("assumed for ") == 1
    assert "assumed for a, b, c: encoder t5 (narrowest bottleneck: 4 values per image)" in err
    assert "Evidence: none (no picture of the task), by affinity of maps." in out
    assert "--probe photos/" in out
    assert "Sources" not in out
    assert "best first" not in out


def test_quiet_leaves_stderr_empty(run: Run) -> None:
    _, out, err = run("score", *MODELS, *SMALL, "--quiet")
    assert "Most alike to" in out
    assert err == ""


def test_target_ranks_for_one_model_only(run: Run) -> None:
    assert list(scored(run, "--target", "b")["rankings"]) == ["b"]
    assert list(scored(run, "--target", "b.onnx")["rankings"]) == ["b"]
    code, _, err = run("score", *MODELS, *SMALL, "--target", "z")
    assert code == 2
    assert "'z'" in err
    assert "a, b, c" in err


def test_a_target_that_fails_leaves_the_matrix_of_the_others(run: Run, place: Path) -> None:
    (place / "b.onnx").write_bytes(b"broken")
    code, out, err = run("score", *MODELS, *SMALL, "--json", "--target", "b")
    found = json.loads(out)
    assert code == 2
    assert "b.onnx" in err
    assert np.array(found["affinity"]).shape == (2, 2)
    assert found["rankings"] == {}


def test_no_folder_is_left_where_no_model_could_be_compared(run: Run, place: Path) -> None:
    for name in MODELS:
        (place / name).write_bytes(b"broken")
    code, out, err = run("score", *MODELS, *SMALL, "--output", "result")
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 3
    assert not (place / "result").exists()


def test_encoders_for_all_and_for_one(run: Run) -> None:
    found = scored(run, "--encoder", "t3", "--encoder", "b=t1", "--encoder", "c=auto")
    assert [m["encoder"] for m in found["models"]] == ["t3", "t1", "t5"]


def test_config_names_encodes_and_preprocesses(run: Run, place: Path) -> None:
    (place / "onnxspace.toml").write_text(
        '[models.a]\nname = "first"\nencoder = "t3"\n[models."b.onnx"]\nscale = "1/255"\nmean = [0.485, 0.456, 0.406]\n'
        "std = [0.229, 0.224, 0.225]\n"
    )
    (place / "c.onnxspace.toml").write_text('color = "BGR"\nname = "third"\n')
    found = scored(run)
    assert [m["name"] for m in found["models"]] == ["first", "b", "third"]
    assert found["models"][0]["encoder"] == "t3"
    assert not any("pixels" in text for text in found["models"][1]["assumed"])
    assert not any("RGB" in text for text in found["models"][2]["assumed"])
    (place / "onnxspace.toml").rename(place / "other.toml")
    again = scored(run, "--config", "other.toml")
    assert again["models"][1]["pixels"].pop("reason") == "other.toml [models.b.onnx]"
    assert found["models"][1]["pixels"].pop("reason") == "onnxspace.toml [models.b.onnx]"
    assert again == found
    assert scored(run) != found


def test_output_keeps_maps_matrix_rankings_and_a_picture(run: Run, place: Path, drawn_results: None) -> None:
    found = scored(run, "--output", "result")
    result = place / "result"
    kept = {p.relative_to(result).as_posix() for p in result.rglob("*") if p.is_file()}
    maps = {f"maps/{m['sha256'][:12]}.npy" for m in found["models"]}
    assert kept == {"affinity.npy", "affinity.csv", "affinity.png", "rankings.csv", "score.json"} | maps
    matrix = np.load(result / "affinity.npy")
    np.testing.assert_array_equal(matrix, found["affinity"])
    rows = list(csv.reader((result / "affinity.csv").open()))
    assert rows[0] == ["", "a", "b", "c"]
    np.testing.assert_array_equal(np.array([r[1:] for r in rows[1:]], float), matrix)
    assert json.loads((result / "score.json").read_text()) == found
    first = np.load(result / maps.copy().pop(), mmap_mode="r")
    assert first.shape == (3, 224 * 224)
    np.testing.assert_allclose(np.linalg.norm(first.astype(float), axis=1), 1, atol=1e-3)
    with Image.open(result / "affinity.png") as picture:
        assert min(picture.size) > 300
    assert [p.name for p in place.iterdir() if "partial" in p.name] == []


def test_kept_maps_give_the_matrix(run: Run, place: Path) -> None:
    found = scored(run, "--output", "result")
    maps = [np.load(place / "result/maps" / f"{m['sha256'][:12]}.npy").astype(np.float64) for m in found["models"]]
    expected = [[(a * b).sum(axis=1).mean() for b in maps] for a in maps]
    np.testing.assert_allclose(found["affinity"], expected, atol=1e-5)


def test_a_copy_has_affinity_one_and_its_maps_are_computed_once(run: Run, place: Path) -> None:
    (place / "copies").mkdir()
    (place / "copies/a.onnx").write_bytes((place / "a.onnx").read_bytes())
    code, out, _ = run("score", "a.onnx", "copies/a.onnx", "b.onnx", *SMALL, "--json", "--output", "result")
    found = json.loads(out)
    assert code == 0
    assert [m["name"] for m in found["models"]] == ["a", "copies/a", "b"]
    assert found["affinity"][0][1] == pytest.approx(1, abs=1e-12)
    assert len(list((place / "result/maps").iterdir())) == 2


def test_layouts_of_one_network_have_affinity_one(run: Run, place: Path) -> None:
    """The same weights behind an NHWC input and a Transpose."""
    net = Net(("N", 16, 16, 3), seed=0)
    x = net.add("Transpose", "image", perm=[0, 3, 1, 2])
    x = net.add("Relu", net.conv(x, 3, 8, pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 8, 4, pads=[1] * 4))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    save(net.model([net.dense(x, 4, 3)]), place / "last.onnx")
    code, out, _ = run("score", "a.onnx", "last.onnx", *SMALL, "--json")
    assert code == 0
    assert json.loads(out)["affinity"][0][1] >= 0.9999


def test_one_model_is_not_a_comparison(run: Run) -> None:
    code, _, err = run("score", "a.onnx")
    assert code == 2
    assert "two models or more" in err


@pytest.mark.parametrize("pattern", ["*.onnx", "{a,b}.onnx", "none/?.onnx"])
def test_a_pattern_that_the_shell_left_as_it_is_is_named(run: Run, pattern: str) -> None:
    code, out, err = run("score", pattern)
    assert (code, out) == (2, "")
    assert f"No file has the name {pattern}. Give a pattern without quotes" in " ".join(err.split())


def test_few_zero_maps_count_as_cosine_zero_and_are_reported(place: Path) -> None:
    """A network that answers to bright pixels only: the black probe image leaves it silent."""
    net = Net((1, 3, 16, 16))
    x = net.add("Relu", net.add("Conv", "image", net.weight(np.ones((1, 3, 1, 1))), net.weight([-0.5])))
    save(net.model([net.conv(x, 1, 2, 16)]), place / "bright.onnx")
    images = np.stack([np.full((16, 16, 3), v, np.uint8) for v in (255, 0)])
    result = ox.score(["bright.onnx", "bright.onnx"], ox.Probes("two", images), encoder="t1")
    few = "Models are listed by affinity of their maps, since ranking sources takes 8 images or more."
    assert result.warnings == (few, "bright: 1 of 2 maps is zero; cosines with zero count as 0.")
    assert result.matrix[0, 1] == pytest.approx(0.5, abs=1e-6)


def test_progress_counts_every_image_of_every_model(place: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    ox.score(MODELS, ox.Probes.generate(3), batch_size=2, progress=lambda *now: seen.append(now))
    assert seen[0] == ("a", 0, 9)
    assert seen[-1] == ("c", 9, 9)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_python_refuses_what_the_command_line_refuses(place: Path) -> None:
    with pytest.raises(ConfigError, match="method"):
        ox.score(MODELS, ox.Probes.generate(1), method="guess")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="there is no model 'z'; there are a, b"):
        ox.score(MODELS[:2], ox.Probes.generate(1)).rank("z")


def test_inspect_counts_by_hand(run: Run) -> None:
    """8·3·3·3 + 4·8·3·3 + 3·4 weights; FLOPs are two per multiply-add over 256 positions."""
    code, out, _ = run("inspect", "a.onnx", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["parameters"] == 216 + 288 + 12
    assert found["flops"] == 2 * (216 * 256 + 288 * 256 + 12)
    assert found["operators"] == {"Conv": 2, "Relu": 2, "Flatten": 1, "Gemm": 1, "GlobalAveragePool": 1}
    assert found["encoder"]["tensors"] == ["t5"]
    assert found["inputs"] == {"image": "float [?, 3, 16, 16]"}


def test_inspect_marks_the_encoder_that_score_takes(run: Run) -> None:
    code, out, _ = run("inspect", "a.onnx")
    assert code == 0
    marked = [line for line in out.splitlines() if line.startswith("→")]
    assert len(marked) == 1
    assert marked[0].endswith("t5")
    assert "= 4" in marked[0]
    _, out, _ = run("inspect", "a.onnx", "--encoder", "t1")
    assert next(line for line in out.splitlines() if line.startswith("→")).endswith("t1")


def test_files_of_the_hugging_face_cache(run: Run, tmp_path: Path) -> None:
    """A model and its data that both link into `blobs/`, under other names, score as the same file with its data beside it."""
    paths = []
    for seed in (0, 1):
        beside, snapshot, blobs = (tmp_path / f"{seed}" / name for name in ("plain", "snapshots/x", "blobs"))
        for folder in (beside, snapshot, blobs):
            folder.mkdir(parents=True)
        for k, folder in enumerate((beside, snapshot)):
            data = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 0}
            onnx.save(classifier(seed=seed), folder / "model.onnx", **data)
            paths.append(folder / "model.onnx")
            for blob, name in (("0a", "model.onnx"), ("0b", "model.onnx_data")) if k else ():
                (folder / name).rename(blobs / blob)
                (folder / name).symlink_to(f"../../blobs/{blob}")
    code, out, _ = run("score", *map(str, paths), *SMALL, "--json")
    assert code == 0
    result = json.loads(out)
    matrix = np.array(result["affinity"])
    assert result["failed"] == []
    assert matrix[0, 1] == matrix[2, 3] == pytest.approx(1)
    assert matrix[0, 2] == matrix[1, 3] < 0.999
