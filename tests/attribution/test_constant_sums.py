"""Encoders behind a normalisation: what is explained is no rounding noise, and one network gives one map, whoever wrote its file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

import onnxspace as ox
from onnxspace.attribution.gradient_fields import METHOD, write_fields
from onnxspace.attribution.gradients import sum_deviations
from onnxspace.attribution.maps import Method
from onnxspace.inputs.config import Config, ModelOptions
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import Options
from onnxspace.inputs.protocol import Setup
from onnxspace.model.constant_sums import find_constant_sums, has_constant_sum
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import model_key, open_model
from onnxspace.workflows.child.open import describe_prepared, prepare_model
from tests.helpers.nets import Net, classifier, save, worst_cosine
from tests.helpers.noise import probes
from tests.helpers.normed_nets import NETWORKS, POOLED, Tokens, convolutions

SIZE = 16
OPTIONS = ModelOptions(size=(SIZE, SIZE))
#: Name → dynamo or not, opset, open batch.
FORMS = {
    "script13": (False, 13, False), "script17": (False, 17, True), "dynamo18": (True, 18, False), "dynamo20": (True, 20, True),
}  # fmt: skip
Exported = Callable[[str, str], Path]


def trained(make: Callable[[], nn.Module]) -> nn.Module:
    """A network whose normalisations keep a scale of one and no shift, as they begin, and all else is drawn."""
    torch.manual_seed(0)
    return make().eval()


#: A network, and the forms of its export; dynamo's older opset is left to the stage of all cases but once.
CASES = [
    *(pytest.param((name, ("script13", "script17", "dynamo20")), id=name) for name in NETWORKS if name != "Softmax"),
    pytest.param(("Softmax", tuple(FORMS)), id="Softmax"),
    *(
        pytest.param((name, tuple(FORMS)), id=f"{name}, all forms", marks=pytest.mark.exhaustive)
        for name in NETWORKS
        if name != "Softmax"
    ),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network's file by the names of network and form; each is exported once."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def export_once(name: str, form: str) -> Path:
        return export(trained(NETWORKS[name]), folder / f"{name} {form}.onnx", *FORMS[form])

    return export_once


@pytest.fixture(scope="module", params=CASES)
def files(request: pytest.FixtureRequest, exported: Exported) -> dict[str, Path]:
    """Files of one network by the form of their export."""
    given, forms = request.param
    return {form: exported(given, form) for form in forms}


def export(network: nn.Module, path: Path, dynamo: bool, opset: int, batched: bool) -> Path:
    image = torch.rand(2 if batched else 1, 3, SIZE, SIZE)
    dynamic = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)} if dynamo else {"dynamic_axes": {"image": {0: "batch"}}}
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (image,), str(path), dynamo=dynamo, opset_version=opset, input_names=["image"], verbose=False,
            external_data=False, **(dynamic if batched else {}),
        )  # fmt: skip
    logging.disable(logging.NOTSET)
    return path


@cache
def maps_of(path: Path, method: Method = "elrp") -> NDArray[np.float32]:
    return ox.attribute(open_model(path, options=OPTIONS), probes(4, SIZE), method)


@pytest.mark.parametrize("method", ["elrp", "saliency", "attnlrp"])
def test_one_network_gives_one_map_whichever_exporter_wrote_it(files: dict[str, Path], method: Method) -> None:
    """The forms of one exporter differ in their operators: elrp, which has a rule for each, compares all of them."""
    forms = files if method == "elrp" else ("script17", "dynamo20")
    maps = {name: maps_of(files[name], method) for name in forms}
    first = maps.pop("script17")
    assert np.abs(first).max() > 1e-4
    assert {name: worst_cosine(first, found) > 0.999 for name, found in maps.items()} == dict.fromkeys(maps, True)


def test_every_form_says_what_is_explained(files: dict[str, Path]) -> None:
    for path in files.values():
        found = find_encoder(open_model(path, options=OPTIONS))
        assert found.deviations == found.tensors
        assert str(found) == f"{found.tensors[0]} (deviations)"
        assert found.why.endswith("; its units add up to a constant, so their deviations above the mean are explained")


def test_nodes_in_another_order_give_the_same_map(files: dict[str, Path], tmp_path: Path) -> None:
    proto = onnx.load(files["script17"])
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.save(proto, tmp_path / "net.onnx")
    assert worst_cosine(maps_of(files["script17"]), maps_of(tmp_path / "net.onnx")) > 0.9999


class Half(nn.Module):
    """A network in half precision between float32 images and outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.network(x.half()).float()
        return made


class LastAxis(nn.Module):
    """A network that takes images with their channels last."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.network(x.permute(0, 3, 1, 2))
        return made


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_gives_the_same_map(name: str, exported: Exported, tmp_path: Path) -> None:
    whole = exported(name, "script17")
    half = export(Half(trained(NETWORKS[name])), tmp_path / "half.onnx", False, 17, False)
    assert worst_cosine(maps_of(whole), maps_of(half)) > 0.99


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_last_give_the_same_map(name: str, exported: Exported, tmp_path: Path) -> None:
    plain = exported(name, "script17")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            LastAxis(trained(NETWORKS[name])), (torch.rand(1, SIZE, SIZE, 3),), str(tmp_path / "last.onnx"), dynamo=False,
            opset_version=17, input_names=["image"],
        )  # fmt: skip
    assert worst_cosine(maps_of(plain), maps_of(tmp_path / "last.onnx")) > 0.999


def test_a_scale_per_channel_leaves_the_sum_of_the_units(tmp_path: Path) -> None:
    """Σ γ·x̂ is no constant, although Σ x̂ is."""
    network = trained(NETWORKS["ViT, class token, headless"])
    assert isinstance(network, Tokens)
    with torch.no_grad():
        network.last.weight.add_(torch.randn(24) / 10)
    found = find_encoder(open_model(export(network, tmp_path / "net.onnx", False, 17, False), options=OPTIONS))
    assert not found.deviations


def test_the_sum_of_the_units_would_have_been_noise(files: dict[str, Path]) -> None:
    """The gradient of a constant sum, beside that of the deviations."""
    from onnxspace.torchgraph.encoder_graph import convert

    model = open_model(files["script17"], options=OPTIONS)
    graph = convert(model, probes(2, SIZE).images).graph
    point = torch.from_numpy(model.preprocess(probes(2, SIZE).images)).requires_grad_(True)
    plain = torch.autograd.grad(graph(point).sum(), point)[0].norm()
    assert plain < 1e-3 * torch.autograd.grad(sum_deviations(graph(point), 2), point)[0].norm()


def test_deviations_are_half_of_the_distances_from_the_mean() -> None:
    """As Σ (u − ū) = 0, those above the mean add up to what those below it lack."""
    units = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = (units - units.mean(1, keepdim=True)).abs().sum() / 2
    assert sum_deviations(units, 3).item() == pytest.approx(expected.item())
    assert sum_deviations(units.T.reshape(7, 3, 1), 3).item() == pytest.approx(expected.item())
    assert sum_deviations(units[0], 1).item() == pytest.approx(((units[0] - units[0].mean()).abs().sum() / 2).item())


@pytest.mark.parametrize(
    ("values", "expected"),
    [([[1, 2, 3], [3, 2, 1], [2, 2, 2]], True), ([[1, 2, 3], [1, 2, 3]], False), ([[1, 2, 3], [3, 2, 2]], False)],
)
def test_a_sum_is_constant_where_units_differ_and_it_does_not(values: list[list[float]], expected: bool) -> None:
    assert has_constant_sum(np.array(values, np.float32)) is expected


def test_values_that_are_not_finite_have_no_constant_sum() -> None:
    assert not has_constant_sum(np.array([[np.nan, 1], [1, np.inf]]))


def test_tensors_without_a_normalisation_are_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from onnxspace.model import constant_sums

    monkeypatch.setattr(constant_sums, "_compute", lambda *_: pytest.fail("the network was run"))
    assert find_constant_sums(open_model(save(classifier(), tmp_path / "net.onnx")), ["t5"]) == ()


class Normalised(nn.Module):
    """Features of unit length before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = convolutions(POOLED, nn.Flatten()), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(F.normalize(self.body(x)))
        return made


def test_units_of_a_vector_of_unit_length_have_no_constant_sum(tmp_path: Path) -> None:
    """Their squares do: the sum is explained, and every exporter gives its map."""
    paths = [export(trained(Normalised), tmp_path / f"{name}.onnx", *FORMS[name]) for name in ("script17", "dynamo20")]
    assert not any(find_encoder(open_model(path, options=OPTIONS)).deviations for path in paths)
    assert worst_cosine(*map(maps_of, paths)) > 0.999


def test_two_transformers_that_share_their_patches_alone_differ(exported: Exported, tmp_path: Path) -> None:
    one = trained(NETWORKS["ViT, class token, headless"])
    torch.manual_seed(1)
    other = Tokens(lambda x: x[:, 0]).eval()
    assert isinstance(one, Tokens)
    other.patches.load_state_dict(one.patches.state_dict())
    paths = exported("ViT, class token, headless", "script17"), export(other, tmp_path / "other.onnx", False, 17, True)
    first, second = (maps_of(path).reshape(4, -1) for path in paths)
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert abs(float(cosines.mean())) < 0.5


def test_results_say_what_is_explained_and_are_kept_apart(files: dict[str, Path]) -> None:
    """The record, and the name of the maps' file, are others than those of the sum of the units."""
    path = files["script17"]
    found = prepare_model(path, "net", None, Config(models={path.name: OPTIONS}))
    assert found.record.encoder == f"{found.encoder.tensors[0]} (deviations)"
    assert any("add up to a constant" in text for text in found.record.assumed)
    assert describe_prepared(found)["key"] != model_key(found.model, found.encoder.tensors)
    again = prepare_model(path, "net", found.record.encoder, Config(models={path.name: OPTIONS}))
    assert describe_prepared(again)["key"] == describe_prepared(found)["key"]


def test_gradient_fields_are_the_same_from_two_exporters(exported: Exported, tmp_path: Path) -> None:
    fields = []
    for name in ("script17", "dynamo20"):
        model, file = open_model(exported("ConvNeXt", name), options=OPTIONS), tmp_path / f"{name}.npy"
        setup = Setup(probes(2, SIZE), METHOD, Options(steps=3))
        write_fields(model, find_encoder(model), setup, file, Execution())
        fields.append(np.load(file).astype(np.float32))
    assert worst_cosine(*fields) > 0.999


def test_layers_behind_a_norm_have_the_same_value_from_two_exporters(tmp_path: Path) -> None:
    """The norm of the class token is a layer, which is compared with the same network from another exporter."""
    network = nn.Sequential(Tokens(lambda x: x[:, 0]), nn.Linear(24, 5)).eval()
    first, second = (export(network, tmp_path / f"{name}.onnx", *FORMS[name]) for name in ("script17", "dynamo20"))
    table = ox.layers(first, second, probes(4, SIZE))
    own = [layer for layer in table.layers if f"{layer.tensor} (deviations)" == table.source.encoder]
    assert own[0].nodes > 0.999


def test_quantised_units_count_as_those_before(tmp_path: Path) -> None:
    """Rounding to 8 bits makes a sum vary that is constant, and lets its gradient pass."""
    net = Net((1, 3, SIZE, SIZE))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.conv("image", 3, 24, 4, strides=[4, 4])))
    x = net.add("LayerNormalization", x, net.weight(np.ones(24)), net.weight(np.zeros(24)))
    scale, zero = net.weight([0.05]), net.weight(np.array([128], np.uint8))
    x = net.add("DequantizeLinear", net.add("QuantizeLinear", x, scale, zero), scale, zero)
    model = open_model(save(net.model([net.dense(x, 24, 5)]), tmp_path / "net.onnx"))
    assert find_encoder(model).deviations == (x,)
