"""All layers of two networks: against hooks of Torch's own modules and a float64 CKA from its definition."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

import onnxspace as ox
from onnxspace.errors import ConfigError, ModelError
from onnxspace.model.records import Candidate
from onnxspace.report.layer_matrix import draw_layer_matrix
from onnxspace.report.layer_names import shorten_layers
from onnxspace.scores.layer_similarity import centre_similarities, compute_predictivity
from onnxspace.scores.pairs.cka import cka
from onnxspace.scores.pairs.predictivity import predictivity
from onnxspace.workflows.child import reading_tasks
from tests.helpers.commands import Run
from tests.helpers.nets import Net, classifier, save

CLASSIFIERS = "ab"
PROBES = ox.Probes.generate(9, 16)
Values = NDArray[np.float64]


def hooked(seed: int) -> list[Values]:
    """The outputs of the layers of `classifier`, by forward hooks."""
    weights = [torch.from_numpy(numpy_helper.to_array(t).copy()) for t in classifier(seed=seed).graph.initializer]
    convolutions = [torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.Conv2d(8, 4, 3, padding=1, bias=False)]
    last = torch.nn.Linear(4, 3, bias=False)
    for module, weight in zip((*convolutions, last), weights, strict=True):
        module.weight = torch.nn.Parameter(weight)
    pooled = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    net = torch.nn.Sequential(convolutions[0], torch.nn.ReLU(), convolutions[1], torch.nn.ReLU(), pooled, last)
    found: dict[int, Values] = {}
    for place in (1, 4, 5):
        net[place].register_forward_hook(lambda _m, _i, out, at=place: found.__setitem__(at, out.detach().double().numpy()))
    net(torch.from_numpy(PROBES.images).permute(0, 3, 1, 2) / 127.5 - 1)
    return [found[place] for place in (1, 4, 5)]


def debiased(a: Values, b: Values) -> float:
    """CKA by the definition of Song et al. 2012, equation 5, term by term."""

    def hsic(k: Values, m: Values) -> float:
        n, ones = len(k), np.ones(len(k))
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return float((np.trace(k @ m) + middle - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3)))

    k, m = (x.reshape(len(x), -1) @ x.reshape(len(x), -1).T for x in (a, b))
    return hsic(k, m) / float(np.sqrt(hsic(k, k) * hsic(m, m)))


def permute(path: Path, to: Path) -> Path:
    """The same function with the channels of the first convolution in another order."""
    model = onnx.load(path)
    first, second = (numpy_helper.to_array(t) for t in model.graph.initializer[:2])
    order = np.random.default_rng(0).permutation(len(first))
    for tensor, values in zip(model.graph.initializer[:2], (first[order], second[:, order]), strict=True):
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    onnx.save(model, to)
    return to


def test_cka_is_that_of_hooked_layers_by_the_definition(place: Path) -> None:
    found = ox.compare_layers("a.onnx", "b.onnx", PROBES)
    expected = [[debiased(x, y) for y in hooked(1)] for x in hooked(0)]
    np.testing.assert_allclose(found.scores["cka"], expected, atol=1e-6)
    assert [layer.tensor for layer in found.source_layers] == ["t1", "t5", "t6"]
    assert [layer.shape for layer in found.target_layers] == [(8, 16, 16), (4,), (3,)]


def test_predictivity_is_that_of_the_score_on_hooked_layers(place: Path) -> None:
    found = [layer.astype(np.float32) for layer in hooked(0)]
    folds = np.arange(9) % 4
    loads = [partial(np.asarray, x) for x in found]
    plain = compute_predictivity(loads, loads, folds, lambda: None)
    from onnxspace.scores.pairs.predictivity import SourceFeatures, TargetOutputs

    expected = [[SourceFeatures(x, folds).explained_shares([TargetOutputs.of(y)])[0] for y in found] for x in found]
    np.testing.assert_allclose(plain, expected, atol=1e-9)
    assert predictivity(found[1], found[1]) > 0.9


def test_a_network_and_its_permuted_copy_are_the_same_at_every_layer(place: Path) -> None:
    permute(place / "a.onnx", place / "c.onnx")
    for other in ("a.onnx", "c.onnx"):
        found = ox.compare_layers("a.onnx", other, PROBES)
        np.testing.assert_allclose(np.diag(found.scores["cka"]), 1, atol=1e-6)
        assert found.find_partners() == ([0, 1, 2], [0, 1, 2])


@pytest.mark.parametrize("shape", [(5, 3), (12, 40), (30, 4, 6, 6)])
def test_centred_similarities_give_the_score_of_pairs(shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(3)
    a, b = (draw.normal(size=form).astype(np.float32) + 5 for form in (shape, (shape[0], 7)))
    product = float(np.dot(centre_similarities(a), centre_similarities(b)))
    assert product == pytest.approx(cka(a, b), abs=1e-9)


def test_a_constant_layer_has_no_value_and_is_named(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = net.add("Relu", net.add("Sub", net.conv(x, 4, 4, pads=[1] * 4), net.weight(np.array([1e6], np.float32))))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    path = save(net.model([net.dense(x, 4, 3)]), tmp_path / "a.onnx")
    found = ox.compare_layers(path, save(classifier(), tmp_path / "b.onnx"), PROBES, by=["cka", "predictivity"])
    assert np.isnan(found.scores["cka"]).tolist() == [[False] * 3, [True] * 3, [True] * 3]
    assert found.find_partners()[0][1:] == [None, None]
    assert any("the same for every image" in warning for warning in found.warnings)
    assert json.loads(json.dumps(found.to_dict()))["scores"]["cka"][1] == [None] * 3
    assert "nan" not in found.to_csv()


def test_layers_are_computed_in_groups_as_they_are_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.model import layer_features

    whole = ox.compare_layers("a.onnx", "b.onnx", PROBES)
    groups: list[list[int]] = []
    group = layer_features._group

    def watch(layers: list[Candidate]) -> list[tuple[list[int], int]]:
        found = list(group(layers))
        groups.extend(places for places, _ in found)
        return found

    monkeypatch.setattr(layer_features, "_MOST_VALUES", 2048)
    monkeypatch.setattr(layer_features, "_group", watch)
    parts = ox.compare_layers("a.onnx", "b.onnx", PROBES)
    assert groups == [[0], [1, 2]] * 2
    np.testing.assert_allclose(parts.scores["cka"], whole.scores["cka"], atol=1e-6)


def test_the_command_prints_partners_and_writes_picture_and_table(run: Run, place: Path) -> None:
    permute(place / "a.onnx", place / "c.onnx")
    code, out, _ = run("layers", "a.onnx", "c.onnx", "--by", "cka", "--images", "5", "-o", "p.svg", "--csv", "p.csv")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines() if "↔ t" in line] == [
        [t, "1.000", "↔", t] for t in ("t1", "t5", "t6")
    ]
    rows = list(csv.DictReader(io.StringIO(Path("p.csv").read_text("utf-8"))))
    assert len(rows) == 9
    assert float(rows[0]["cka"]) == pytest.approx(1, abs=1e-6)
    assert Path("p.svg").read_text("utf-8").count("<svg") == 1
    code, out, _ = run("layers", "a.onnx", "c.onnx", "--by", "cka", "--images", "5", "--json")
    assert (code, json.loads(out)["schema"]) == (0, "onnxspace/layer-pairs/1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--by", "cka", "--images", "3"), "at least 4 images"),
        (("--by", "rsa"), "there is no score 'rsa'"),
        (("--by", "cka", "--method", "elrp"), "--method is an option of maps"),
        (("--by", "cka", "--csv", "p.txt"), "not a name for a CSV file"),
        (("--csv", "p.csv"), "Add --by cka"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, place: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run("layers", "a.onnx", "b.onnx", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert sorted(path.name for path in place.iterdir()) == ["a.onnx", "b.onnx"]


@pytest.mark.parametrize("by", [(), ("--by", "cka")])
def test_a_photo_of_the_probe_folder_is_not_replaced(run: Run, place: Path, by: tuple[str, ...]) -> None:
    Image.fromarray(PROBES.images[0]).save("photo.png")
    before = Path("photo.png").read_bytes()
    code, _, err = run("layers", "a.onnx", "b.onnx", "--probe", ".", "-o", "photo.png", *by)
    assert code == 2
    assert "photo.png is one of the files" in err
    assert Path("photo.png").read_bytes() == before


def test_the_library_refuses_other_scores(place: Path) -> None:
    for by in ((), ("rsa",)):
        with pytest.raises(ConfigError, match="cka"):
            ox.compare_layers("a.onnx", "b.onnx", PROBES, by=by)  # type: ignore[arg-type]


WRONG: dict[str, Callable[[dict[str, Any], Path], object]] = {
    "a file elsewhere": lambda found, _: found["layers"][0].update(file="../0/layer-0.npy"),
    "no layer": lambda found, _: found["layers"].clear(),
    "very many layers": lambda found, _: found["layers"].extend(found["layers"] * 100),
    "another type": lambda found, folder: np.save(folder / found["layers"][0]["file"], np.zeros((9, 3))),
    "fewer images": lambda found, folder: np.save(folder / found["layers"][0]["file"], np.zeros((8, 3), np.float32)),
    "a negative size": lambda found, _: found["layers"][0].update(shape=[-1]),
    "no share": lambda found, _: found["layers"][0].update(share_below="all"),
    "no warnings": lambda found, _: found.pop("warnings"),
}


@pytest.mark.parametrize("change", WRONG)
def test_a_worker_that_a_model_has_taken_over_is_a_sentence(place: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    honest = reading_tasks.TASKS["layer features"]

    def answer(request: Mapping[str, Any], advance: Callable[[int], None]) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(json.dumps(honest(request, advance)))
        WRONG[change](found, Path(request["folder"]))
        return found

    monkeypatch.setitem(reading_tasks.TASKS, "layer features", answer)
    with pytest.raises(ModelError, match=r"a\.onnx ended the process that read it"):
        ox.compare_layers("a.onnx", "b.onnx", PROBES)


def test_results_are_shown(place: Path) -> None:
    found = ox.compare_layers("a.onnx", "b.onnx", PROBES, by=["cka", "predictivity"])
    assert repr(found).startswith("3 layers of a × 3 of b, by cka, predictivity on 9 images")
    assert found._repr_html_().count("<table>") == 2
    assert list(found.to_dataframe().columns) == ["source", "target", "source_layer", "target_layer", "cka", "predictivity"]
    draw_layer_matrix(found, place / "p.png")
    assert (place / "p.png").read_bytes().startswith(b"\x89PNG")


def test_names_keep_module_and_operator_and_remain_distinct() -> None:
    names = [f"/net/layer{k}/layer{k}.0/relu_1/Relu_output_0" for k in range(3)]
    assert shorten_layers([*names, "logits"]) == ["layer0.0/relu_1", "layer1.0/relu_1", "layer2.0/relu_1", "logits"]
    assert shorten_layers(["a/Relu:0", "a/Relu:1"]) == ["a/Relu:0", "a/Relu:1"]
    long = shorten_layers([f"{'m' * 60}/Conv_{k}" for k in range(12)])
    assert all(first != second for first, second in pairwise(long))
    assert max(map(len, long)) <= 30
