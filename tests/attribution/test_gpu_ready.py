"""What runs on a GPU, proved without one: no tensor stays on the host, and nothing waits for a value, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.fx import GraphModule

from onnxspace.attribution import gradients, noise_samples
from onnxspace.attribution.cpu_tuning import tune_graph
from onnxspace.attribution.explainer import make_explainer
from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.attribution.lrp import apply_rules
from onnxspace.attribution.noise import pixel_noise
from onnxspace.attribution.noise_samples import NoiseSamples
from onnxspace.attribution.subject import find_subject
from onnxspace.inputs.methods import METHODS, Method, Options
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import to_target
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert
from onnxspace.torchgraph.operators import interpolation
from onnxspace.torchgraph.verify import outputs_of
from tests.helpers.asknets import export, make_network
from tests.helpers.device_watch import DeviceWatch, list_waits
from tests.helpers.nets import save
from tests.helpers.sized_nets import resizing

META = torch.device("meta")
MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.onnx"))
STUDY = [Path(__file__).parents[2] / "models" / "minitaskonomy" / f"depth{end}.onnx" for end in ("", "-vit", "-convnext")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Model, EncoderGraph]]:
    """Networks of each kind with their verified graphs."""
    folder, probes = tmp_path_factory.mktemp("nets"), Probes.generate(2, size=32)
    models = {path.stem: open_model(path) for path in (*MODELS, *STUDY)}
    net = resizing()
    models["resizing"] = open_model(save(net.model([net.nodes[-1].output[0]]), folder / "resizing.onnx"))
    models["transformer"] = export(make_network("transformer"), folder / "transformer.onnx")
    return {name: (model, convert(model, probes.images)) for name, model in models.items()}


NAMES = [*(path.stem for path in (*MODELS, *STUDY)), "resizing", "transformer"]


@pytest.mark.parametrize("name", NAMES)
def test_the_forward_pass_waits_for_nothing(name: str, opened: dict[str, tuple[Model, EncoderGraph]]) -> None:
    model, converted = opened[name]
    graph = copy_graph(converted.graph).to(META)
    for images in (1, 3) if converted.batchable else (1,):
        assert list_waits(graph, torch.empty((images, *model.input_shape[1:]), device=META)) == set()


@pytest.fixture
def _taps_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taps of Resize have data, and none without data are kept."""

    def find(axis: Any, settings: Any, device: torch.device, dtype: torch.dtype) -> interpolation.Taps:
        with unset_fake_temporarily():
            index, weights, outside = interpolation.find_taps(axis, settings)
            some = bool(outside.any())
        return index.to(device), weights.to(device, dtype), outside.to(device) if some else None

    monkeypatch.setattr(interpolation, "keep_taps", find)


def run_on_fake_cuda(graph: GraphModule, shape: tuple[int, ...]) -> tuple[torch.device, ...]:
    """Run a graph forward on tensors without data that say that they are a GPU's; returns the devices of its outputs."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        own = copy_graph(graph).to("cuda")
        return tuple(output.device for output in outputs_of(own, torch.empty(shape, device="cuda").requires_grad_(True)))


@pytest.mark.usefixtures("_taps_in_advance")
@pytest.mark.parametrize("rules", [None, "elrp", "attnlrp"])
@pytest.mark.parametrize("name", NAMES)
def test_the_forward_pass_of_rules_stays_on_a_gpu(
    name: str, rules: str | None, opened: dict[str, tuple[Model, EncoderGraph]]
) -> None:
    """As on the device without data, but where code could ask for the kind of the device, it is told that of a GPU."""
    model, converted = opened[name]
    graph = tune_graph(converted.graph if rules is None else apply_rules(converted.graph, rules).graph)
    devices = run_on_fake_cuda(graph, (2 if converted.batchable else 1, *model.input_shape[1:]))
    assert set(devices) == {torch.device("cuda", 0)}


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda x: x * x.sum().item(), "_local_scalar_dense"),
        (lambda x: x + torch.ones(2, 1), "cpu"),
        (lambda x: x[x > 0], "nonzero"),
    ],
)
def test_a_fake_gpu_refuses_what_is_read_and_what_is_elsewhere(
    function: Callable[[torch.Tensor], torch.Tensor], error: str
) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    root, graph = torch.nn.Module(), torch.fx.Graph()
    root.add_module("Odd_1", Odd())
    graph.output(graph.call_module("Odd_1", (graph.placeholder("x"),)))
    with pytest.raises((RuntimeError, NotImplementedError), match=error):
        run_on_fake_cuda(GraphModule(root, graph), (2, 3))


#: The functions that copy from the host or to it, once for each batch: what a batch is, and its result.
COPIES = {
    "explainer._to_tensor copies from the host": "the images, and the baseline of a method that has one",
    "explainer.to_probe_pixels copies to the host": "the maps, and standard errors of those that are estimates",
    "noise_samples.__call__ copies from the host": "SmoothGrad's noise, whose numbers are the same on every device, many samples at once",
    "gradients._draw_units copies from the host": "the numbers of the units that are drawn for each image",
}


def explain(model: Model, converted: EncoderGraph, setup: Setup) -> DeviceWatch:
    """Watch all that is done for one batch."""
    subject = find_subject(model, setup)
    explainer = make_explainer(model, converted, setup, META, subject=subject)
    images = 2 if converted.batchable else 1
    watch, graph = DeviceWatch(), explainer.network.graph
    assert isinstance(graph, GraphModule)
    with watch.of(graph):
        found = explainer.to_probe_pixels(explainer.compute_maps(explainer.prepare_batch(setup.probes.images[:images])))
    assert found.maps.shape == (images, 32, 32)
    return watch


_SMALL = {"steps": 3, "samples": 3, "units": 4}
PLAIN = [method for method, spec in METHODS.items() if spec.place == "image"]


def setup_of(method: Method, factor: int = 1) -> Setup:
    """Few steps, samples and units, or so many times as many."""
    sizes = {key: _SMALL[key] * factor for key in METHODS[method].options if key in _SMALL}
    return Setup(Probes.generate(2, size=32), method, Options(**sizes))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", PLAIN)
@pytest.mark.parametrize("name", ["shapes-torch", "colour-tflite", "light-torch", "depth-vit", "resizing", "transformer"])
def test_every_method_runs_on_one_device(name: str, method: Method, opened: dict[str, tuple[Model, EncoderGraph]]) -> None:
    """Rules, the gradient, and what maps are made of: nothing is read or computed on the host, and no operator copies from there."""
    watch = explain(*opened[name], setup_of(method))
    assert watch.found <= {("", "copies from the host"), ("", "copies to the host")}
    assert set(watch.copies) <= set(COPIES)


@pytest.mark.parametrize("method", [method for method in PLAIN if set(METHODS[method].options) & set(_SMALL)])
@pytest.mark.parametrize("name", ["shapes-torch", "transformer"])
def test_no_copy_is_within_a_loop(
    name: str, method: Method, opened: dict[str, tuple[Model, EncoderGraph]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as many steps, samples or units copy as often."""
    monkeypatch.setattr(gradients, "UNITS_AT_ONCE", 1)
    few, many = (explain(*opened[name], setup_of(method, factor)).copies for factor in (1, 2))
    assert few == many
    assert max(few.values()) <= 2


def test_a_copy_within_a_loop_is_named(opened: dict[str, tuple[Model, EncoderGraph]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above sees one: samples of noise that are moved one at a time."""
    monkeypatch.setattr(noise_samples, "MOVED_BYTES", 1)
    few, many = (explain(*opened["shapes-torch"], setup_of("smoothgrad", factor)).copies for factor in (1, 2))
    assert {name for name in many if many[name] > few[name]} == {"noise_samples.__call__ copies from the host"}


def test_methods_that_share_a_gradient_do_not_copy_the_images_back(opened: dict[str, tuple[Model, EncoderGraph]]) -> None:
    """The key of the images is made before they are moved."""
    model, converted = opened["shapes-torch"]
    known: dict[bytes, torch.Tensor] = {}
    probes = Probes.generate(2, size=32)
    for method in ("saliency", "gradient-x-input"):
        explainer = make_explainer(model, converted, Setup(probes, method), META, gradients=known)  # type: ignore[arg-type]
        watch = DeviceWatch()
        assert isinstance(explainer.network.graph, GraphModule)
        with watch.of(explainer.network.graph):
            explainer.compute_maps(explainer.prepare_batch(probes.images))
        assert watch.copies == {"explainer._to_tensor copies from the host": 1}
    assert len(known) == 1


@pytest.mark.parametrize("moved", [1, 10_000, noise_samples.MOVED_BYTES])
def test_noise_has_the_same_numbers_however_many_samples_are_moved_at_once(moved: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that are stacked, as for a GPU, and one by one, as on a CPU."""

    class Elsewhere:
        type = "cuda"

    monkeypatch.setattr(noise_samples, "MOVED_BYTES", moved)
    monkeypatch.setattr(torch.Tensor, "to", lambda values, _device: values)
    settings = Preprocess(16, 24, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    here = list(NoiseSamples(settings, [1, 2], torch.device("cpu"))(5, 0.1))
    there = list(NoiseSamples(settings, [1, 2], Elsewhere())(5, 0.1))  # type: ignore[arg-type]
    assert [one.numpy().tobytes() for one in there] == [one.numpy().tobytes() for one in here]
    assert [one.numpy().tobytes() for one in here] == [pixel_noise(settings, [1, 2], k, 0.1).tobytes() for k in range(5)]


@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++", "layer-cam", "attention-rollout"])
def test_methods_that_weight_activations_run_on_one_device(
    method: Method, opened: dict[str, tuple[Model, EncoderGraph]]
) -> None:
    """A class with a number is explained, for which no value is read."""
    model, probes = opened["transformer"][0], Probes.generate(2, size=32)
    setup = Setup(probes, method, target=None if method == "attention-rollout" else to_target(2))
    subject = find_subject(model, setup)
    graph = convert(model, probes.images, subject.encoder)
    explainer = make_explainer(model, graph, setup, META, subject=subject)
    watch = DeviceWatch()
    assert isinstance(explainer.network.graph, GraphModule)
    batch = explainer.prepare_batch(probes.images[: 2 if graph.batchable else 1])
    with watch.of(explainer.network.graph):
        if method == "attention-rollout":
            explainer.compute_maps(batch)
        else:
            outputs = explainer.network.forward(batch.values)
    assert watch.found == set()
    assert method == "attention-rollout" or len(outputs) == 2


def test_a_tensor_of_the_host_and_a_value_that_is_read_are_named() -> None:
    """The watch itself: what the tests above would miss is found, with its operator."""

    class Mixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.ones(3)

    class Read(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x.sum().item()

    class Copied(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.arange(3).to(x.device) + torch.tensor([1, 2, 3], device=x.device)

    def build(module: torch.nn.Module) -> GraphModule:
        root, graph = torch.nn.Module(), torch.fx.Graph()
        root.add_module("Odd_1", module)
        graph.output(graph.call_module("Odd_1", (graph.placeholder("x"),)))
        return GraphModule(root, graph)

    x = torch.empty(2, 3, device=META)
    with pytest.raises(RuntimeError, match="device"):
        list_waits(build(Mixed()), x)
    assert list_waits(build(Read()), x) == {("Odd", "reads values")}
    assert list_waits(build(Copied()), x) == {("Odd", "copies from the host")}
