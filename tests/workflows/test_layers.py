"""Which layer to start from: against gradients of Torch's own modules, and from the outside."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from scipy.stats import spearmanr

import onnxspace as ox
from onnxspace.errors import ConfigError, OutputError
from onnxspace.model.encoder import Encoder, Trunk, find_encoder
from onnxspace.model.model import open_model
from onnxspace.report.layers import draw_layers
from onnxspace.workflows.child.layer_choice import choose_layers
from tests.helpers.commands import Run
from tests.helpers.nets import Net, classifier, save

CLASSIFIERS = "ab"
SIZE = 16
PROBES = ox.Probes.generate(7, SIZE)
#: Tensors of `classifier` that are layers: behind each trained operator, the last before the next; and the output.
TENSORS = ("t1", "t5", "t6")


def native(seed: int) -> list[torch.nn.Module]:
    """The network of `classifier` as Torch's own modules, up to each of its layers."""
    weights = [torch.from_numpy(numpy_helper.to_array(t).copy()) for t in classifier(seed=seed).graph.initializer]
    first, second = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.Conv2d(8, 4, 3, padding=1, bias=False)
    last = torch.nn.Linear(4, 3, bias=False)
    for module, weight in zip((first, second, last), weights, strict=True):
        module.weight = torch.nn.Parameter(weight)
    below = torch.nn.Sequential(first, torch.nn.ReLU())
    encoder = torch.nn.Sequential(below, second, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return [below, encoder, torch.nn.Sequential(encoder, last)]


def seen(module: torch.nn.Module, *, absolute: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Maps and features of every image, each with a forward and a backward pass of its own."""
    maps, features = [], []
    for image in PROBES.images:
        x = (torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1).requires_grad_(True)
        output = module(x)
        output.sum().backward()
        assert x.grad is not None
        made = x.grad.abs() if absolute else x.grad * x.detach()
        maps.append(made.mean(dim=1).flatten().double().numpy())
        features.append(output.detach().flatten().double().numpy())
    return np.array(maps), np.array(features)


def cosines(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray((units @ units.T)[np.triu_indices(len(rows), 1)])


@pytest.mark.parametrize("method", ["gradient-x-input", "saliency"])
def test_scores_are_those_of_native_gradients(place: Path, method: str) -> None:
    maps, features = seen(native(1)[1], absolute=method == "saliency")
    found = ox.layers("a.onnx", "b.onnx", PROBES, method=method, weight=2.0, batch_size=3)  # type: ignore[arg-type]
    assert tuple(layer.tensor for layer in found.layers) == TENSORS
    for layer, module in zip(found.layers, native(0), strict=True):
        mine, values = seen(module, absolute=method == "saliency")
        nodes = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(mine, maps, strict=True)]
        edges = spearmanr(cosines(values), cosines(features)).statistic
        assert layer.nodes == pytest.approx(np.mean(nodes), abs=1e-5)
        assert layer.edges == pytest.approx(edges, abs=1e-9)
        assert layer.score == pytest.approx(np.mean(nodes) + 2 * edges, abs=1e-5)


def test_shares_are_those_of_the_work(place: Path) -> None:
    found = ox.layers("a.onnx", "b.onnx", PROBES)
    work = np.array([3 * 8 * 9 * 256, 8 * 4 * 9 * 256, 4 * 3])
    np.testing.assert_allclose([layer.share_below for layer in found.layers], work.cumsum() / work.sum())
    assert [layer.trained_below for layer in found.layers] == [1, 2, 3]
    assert [layer.shape for layer in found.layers] == [(8, 16, 16), (4,), (3,)]


@pytest.mark.parametrize("method", ["gradient-x-input", "elrp", "lrp-epsilon"])
@pytest.mark.parametrize("encoder", [None, "t1", "t3"])
def test_a_network_against_itself_picks_its_own_encoder(place: Path, method: str, encoder: str | None) -> None:
    found = ox.layers("a.onnx", "a.onnx", PROBES, method=method, encoder=encoder)  # type: ignore[arg-type]
    assert found.best is not None
    if encoder == "t3":  # not a layer: the pooled values behind it have the same maps
        assert found.best.tensor == "t5"
        assert found.best.nodes == pytest.approx(1, abs=1e-5)
        return
    assert found.best.tensor == (encoder or found.target.encoder)
    assert (found.best.nodes, found.best.edges) == (pytest.approx(1, abs=1e-5), pytest.approx(1, abs=1e-9))
    assert found.source.name == found.target.name == "a"


def test_one_forward_pass_per_batch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.workflows.child import layer_maps as module

    outputs_of, passes = module.outputs_of, []

    def counted(graph: torch.nn.Module, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        passes.append(len(values))
        return outputs_of(graph, values)

    monkeypatch.setattr(module, "outputs_of", counted)
    ox.layers("a.onnx", "b.onnx", PROBES, batch_size=3)
    assert passes == [3, 3, 1]


def deep(layers: int) -> Net:
    net = Net()
    x = "image"
    for index in range(layers):
        x = net.add("Relu", net.conv(x, 4 if index else 3, 4, pads=[1] * 4))
    net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 4, 3)
    return net


def test_of_too_many_layers_some_are_taken_evenly_and_the_encoder(tmp_path: Path) -> None:
    net = deep(10)
    model = open_model(save(net.model([f"t{len(net.nodes) - 1}"]), tmp_path / "a.onnx"))
    trunk = Trunk(model)
    own = find_encoder(model, trunk)
    everything, few = choose_layers(trunk, own), choose_layers(trunk, own, 4)
    assert [one.tensor for one in everything.layers] == [*(f"t{2 * i + 1}" for i in range(9)), "t21", "t22"]
    assert [one.tensor for one in few.layers] == ["t1", "t7", "t15", "t21", "t22"]
    assert (everything.skipped, few.skipped) == (0, 6)
    named = choose_layers(trunk, Encoder(("t2",), ""), 64)
    assert [one.tensor for one in named.layers][:3] == ["t1", "t2", "t5"]


def test_layers_above_the_encoder_that_can_not_be_converted_are_left_out(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv(x, 8, 4, pads=[1] * 4))))
    path = save(net.model([net.add("Bernoulli", net.add("Sigmoid", net.dense(x, 4, 3)))]), tmp_path / "a.onnx")
    other = save(classifier(), tmp_path / "b.onnx")
    found = ox.layers(path, other, PROBES)
    assert [layer.tensor for layer in found.layers] == ["t1", "t5"]
    assert len([warning for warning in found.warnings if "layers above its encoder are left out" in warning]) == 1


def test_a_layer_that_is_the_same_for_all_images_has_no_edges(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = net.add("Relu", net.add("Sub", net.conv(x, 4, 4, pads=[1] * 4), net.weight(np.float32([1e6]))))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    path = save(net.model([net.dense(x, 4, 3)]), tmp_path / "a.onnx")
    found = ox.layers(path, save(classifier(), tmp_path / "b.onnx"), PROBES)
    assert [layer.score is None for layer in found.layers] == [False, True, True]
    assert found.best is found.layers[0]
    assert any("equally similar" in warning for warning in found.warnings)
    assert [layer.nodes for layer in found.layers[1:]] == [0, 0]


def test_json_is_one_object(run: Run) -> None:
    code, out, _ = run("layers", "a.onnx", "b.onnx", "--images", "4", "--json", "--lambda", "10")
    found = json.loads(out)
    assert code == 0
    assert (found["schema"], found["lambda"], found["method"]) == ("onnxspace/layers/1", 10, "gradient-x-input")
    assert found["best"] in TENSORS
    same = ox.layers("a.onnx", "b.onnx", ox.Probes.generate(4), weight=10)
    assert found == json.loads(json.dumps(same.to_dict()))


def test_the_table_marks_the_best_and_says_what_to_do(run: Run) -> None:
    code, out, err = run("layers", "a.onnx", "b.onnx", "--images", "4", "-o", "layers.png")
    assert code == 0
    best = ox.layers("a.onnx", "b.onnx", ox.Probes.generate(4)).best
    assert best is not None
    arrows = [line for line in out.splitlines() if line.startswith("→")]
    assert [line.split()[6] for line in arrows] == [best.tensor]
    assert f"Cut a at {best.tensor} (--encoder {best.tensor}): keep what lies below it ({best.trained_below} of 3" in out
    assert "assumed for a, b:" in err
    assert Path("layers.png").read_bytes().startswith(b"\x89PNG")


def test_names_that_are_hard_to_draw_are_drawn(place: Path) -> None:
    (place / "a.onnx").rename(place / "$x_1$\udcff.onnx")
    draw_layers(ox.layers("$x_1$\udcff.onnx", "b.onnx", PROBES), place / "x.png")
    assert (place / "x.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--images", "2"), "2 is not in the range"),
        (("--method", "smoothgrad"), "there is no method 'smoothgrad'"),
        (("--lambda", "-1"), "-1.0 is not in the range"),
        (("--encoder", "nothing"), "there is no tensor or node 'nothing'"),
        (("-o", "layers.jpg"), "Name a file that ends in .png"),
        (("--baseline", "missing.png"), "missing.png"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, place: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run("layers", "a.onnx", "b.onnx", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert sorted(p.name for p in place.iterdir()) == ["a.onnx", "b.onnx"]


def test_the_library_refuses_what_the_command_line_does(place: Path) -> None:
    for arguments in ({"weight": float("nan")}, {"weight": -1}, {"method": "smoothgrad"}, {"options": ox.Options(steps=3)}):
        with pytest.raises(ConfigError):
            ox.layers("a.onnx", "b.onnx", PROBES, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 3 images"):
        ox.layers("a.onnx", "b.onnx", ox.Probes.generate(2, SIZE))


def test_a_picture_is_not_put_in_place_of_a_folder(run: Run, place: Path) -> None:
    (place / "x.png").mkdir()
    code, _, err = run("layers", "a.onnx", "b.onnx", "-o", "x.png")
    assert code == 2
    assert "something other than a file is there" in err
    assert issubclass(OutputError, OSError)


def test_a_faint_likeness_is_no_reason_to_start(place: Path) -> None:
    from dataclasses import replace

    found = ox.layers("a.onnx", "a.onnx", PROBES)
    faint = replace(found, layers=tuple(replace(layer, score=0.19) for layer in found.layers))
    assert found.advice.startswith("Cut a at t5")
    assert faint.advice == "No layer of a is similar to a: the best, t6, scores 0.190 of at most 2. Try another source."
    assert "can be compared" in replace(found, layers=()).advice


@pytest.mark.parametrize("models", [("a.fp", "b.onnx"), ("b.onnx", "a.fp")])
def test_fingerprints_are_refused_by_name(place: Path, run: Run, models: tuple[str, str]) -> None:
    assert run("fingerprint", "a.onnx", "-o", "a.fp", "--images", "3", "--quiet")[0] == 0
    code, out, err = run("layers", *models, "--quiet")
    assert (code, out) == (2, "")
    assert "a.fp is a fingerprint" in err
    assert "onnxspace score" in err
