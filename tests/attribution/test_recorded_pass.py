"""CUDA graphs, proved without a GPU: a recorder on the CPU has the same tensors at every replay, and what fails is given up and said."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

import onnxspace as ox
from onnxspace.attribution import batches, maps
from onnxspace.attribution.checkpointing import profile_graph
from onnxspace.attribution.explainer import Explainer, make_explainer
from onnxspace.attribution.gradient_fields import METHOD, write_fields
from onnxspace.attribution.gradients import Batch, DifferentiableGraph, InputMaps
from onnxspace.attribution.maps import Engines, engines_for
from onnxspace.attribution.recorded_pass import RecordedPass
from onnxspace.attribution.subject import find_subject
from onnxspace.errors import AttributionError
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.methods import METHODS, Method, Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert
from onnxspace.torchgraph.operators import interpolation
from tests.attribution.test_checkpointing import cut_everywhere, segmented
from tests.attribution.test_checkpointing import prepare as make_checkpointed
from tests.attribution.test_image_groups import centred, columns, shuffled
from tests.helpers.asknets import export, make_network
from tests.helpers.nets import classifier, save
from tests.helpers.noise import probes
from tests.helpers.sized_nets import resizing
from tests.helpers.tape import Tape, TapeRecorder

MODELS = Path(__file__).parents[2] / "models"
NAMES = ["shapes-torch", "colour-tflite", "light-torch", "minitaskonomy/depth-vit", "resizing", "transformer"]
_QUICK = {"steps": 3, "samples": 5, "units": 4}
Opened = dict[str, tuple[Model, EncoderGraph]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("nets")
    net = resizing()
    save(net.model([net.nodes[-1].output[0]]), folder / "resizing.onnx")
    export(make_network("transformer"), folder / "transformer.onnx")
    places = [folder if name in ("resizing", "transformer") else MODELS for name in NAMES]
    models = {name: open_model(place / f"{name}.onnx") for name, place in zip(NAMES, places, strict=True)}
    return {name: (model, convert(model, Probes.generate(2, size=32).images)) for name, model in models.items()}


def setup_of(method: Method, count: int = 7) -> Setup:
    options = Options(**{key: _QUICK[key] for key in METHODS[method].options if key in _QUICK})  # type: ignore[arg-type]
    return Setup(Probes.generate(count, size=32), method, options)


def prepare(model: Model, converted: EncoderGraph, setup: Setup, batch: int = 2) -> Engines:
    return engines_for(model, converted, setup, Execution.on("cpu", batch), subject=find_subject(model, setup))


def record(engines: Engines, recorder: TapeRecorder) -> Engines:
    """The same engines, whose passes are recorded."""
    own = [replace(one, network=replace(one.network, recorded=RecordedPass(recorder))) for one in engines.explainers]
    return replace(engines, explainers=own)


def collect(engines: Engines) -> NDArray[np.float32]:
    return np.concatenate([found.maps for found in engines.maps()])


@pytest.mark.parametrize("method", ["elrp", "saliency", "attnlrp", "lrp-gamma", "integrated-gradients", "smoothgrad"])
@pytest.mark.parametrize("name", NAMES)
def test_maps_of_replays_are_equal_to_the_byte(name: str, method: Method, opened: Opened) -> None:
    engines, recorder = prepare(*opened[name], setup_of(method)), TapeRecorder()
    found = collect(own := record(engines, recorder))
    assert found.tobytes() == collect(engines).tobytes()
    assert recorder.recorded == recorder.warmed == 1
    assert recorder.replayed >= 2
    assert own.uncompiled == ()


def test_the_first_batch_and_the_last_smaller_one_are_computed_as_usual(opened: Opened) -> None:
    """Seven images by two: one alone, one that is recorded and compared, one replayed, and one image as usual."""
    recorder, sizes = TapeRecorder(), list[int]()
    engines = record(prepare(*opened["shapes-torch"], setup_of("elrp")), recorder)
    network, genuine = engines.explainers[0].network, DifferentiableGraph._differentiate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DifferentiableGraph, "_differentiate", lambda self, x, w: sizes.append(len(x)) or genuine(self, x, w))
        collect(engines)
    assert network.recorded is not None
    assert sizes == [2, 2, 2, 1]  # the third of them is recorded
    assert recorder.replayed == 2


def test_results_are_copies_that_later_batches_do_not_overwrite(opened: Opened) -> None:
    engines, recorder = prepare(*opened["shapes-torch"], setup_of("elrp", 8)), TapeRecorder()
    plain, own = (one.explainers[0] for one in (engines, record(engines, recorder)))
    images = engines.setup.probes.images
    values = [plain.prepare_batch(images[i : i + 2]).values for i in range(0, 8, 2)]
    found = [own.network.gradient(one) for one in values]
    assert recorder.replayed == 3
    assert len({one.untyped_storage().data_ptr() for one in found}) == 4
    for one, given in zip(found, values, strict=True):
        assert torch.equal(one, plain.network.gradient(given))
    assert all(not one.requires_grad for one in values)


def test_inputs_are_left_as_they_are(opened: Opened) -> None:
    engines = record(prepare(*opened["shapes-torch"], setup_of("elrp", 8)), TapeRecorder())
    explainer, images = engines.explainers[0], engines.setup.probes.images
    values = [explainer.prepare_batch(images[i : i + 2]).values for i in range(0, 8, 2)]
    before = [one.clone() for one in values]
    for one in values:
        explainer.network.gradient(one)
    assert all(torch.equal(one, other) for one, other in zip(values, before, strict=True))


def test_weights_of_a_target_are_copied_in_for_every_batch(opened: Opened) -> None:
    """The most probable class differs from image to image, and with it the weights."""
    model = opened["transformer"][0]
    setup = Setup(Probes.generate(8, size=32), "saliency", target=Target(rank=1))
    converted = convert(model, setup.probes.images[:2], find_subject(model, setup).encoder)
    engines, recorder = prepare(model, converted, setup), TapeRecorder()
    found = list(record(engines, recorder).maps())
    assert np.concatenate([one.maps for one in found]).tobytes() == collect(engines).tobytes()
    assert recorder.replayed == 7  # of eight images, each its own batch
    assert len({caption for one in found for caption in one.captions}) > 1


def fail(_compute: Callable[[], Tensor]) -> None:
    raise RuntimeError("CUDA error: operation failed due to a previous error during capture.\nmore")


def test_a_pass_that_cannot_be_recorded_is_computed_as_usual_and_said(opened: Opened) -> None:
    engines, recorder = prepare(*opened["shapes-torch"], setup_of("smoothgrad")), TapeRecorder()
    recorder.record = fail  # type: ignore[method-assign, assignment]
    own = record(engines, recorder)
    assert collect(own).tobytes() == collect(engines).tobytes()
    assert recorder.warmed == 1
    assert own.remarks(()) == (
        "its gradients are computed without CUDA graphs: a pass can't be recorded (CUDA error: operation failed due to a previous "
        "error during capture).",
    )


@pytest.mark.parametrize(
    "change", [lambda found: found.mul_(1.02), lambda found: found.zero_(), lambda found: found[0].fill_(torch.nan)]
)
def test_a_recording_with_another_result_is_not_used_and_said(change: Callable[[Tensor], object], opened: Opened) -> None:
    """Of another length, zero, and not a number in one of two images."""
    engines, recorder = prepare(*opened["shapes-torch"], setup_of("elrp")), TapeRecorder(change)
    own = record(engines, recorder)
    assert collect(own).tobytes() == collect(engines).tobytes()
    assert recorder.replayed == 1
    (remark,) = own.remarks(())
    assert "the result of the first one differs by" in remark
    assert "of its length, and 0.014 is allowed" in remark


def test_rounding_is_no_other_result(opened: Opened) -> None:
    recorder = TapeRecorder(lambda found: found.mul_(1 + 1e-5))
    own = record(prepare(*opened["shapes-torch"], setup_of("elrp")), recorder)
    collect(own)
    assert own.remarks(()) == ()
    assert recorder.replayed == 2


def test_a_replay_that_fails_later_is_said(opened: Opened) -> None:
    recorder = TapeRecorder()

    def fail_later(_found: Tensor) -> None:
        if recorder.replayed > 1:
            raise RuntimeError("a tensor no longer exists")

    recorder.change = fail_later
    engines = prepare(*opened["shapes-torch"], setup_of("elrp"))
    own = record(engines, recorder)
    assert collect(own).tobytes() == collect(engines).tobytes()
    assert own.uncompiled == (
        "its gradients are computed without CUDA graphs: one could not be launched anew (a tensor no longer exists).",
    )


def test_several_processors_say_it_once(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "list_devices", lambda _compute: [torch.device("cpu")] * 2)
    engines = prepare(*opened["shapes-torch"], setup_of("elrp", 12))
    recorder = TapeRecorder(lambda found: found.zero_())
    own = record(engines, recorder)
    assert collect(own).tobytes() == collect(engines).tobytes()
    assert len(own.uncompiled) == 1


def test_a_recording_is_dropped_for_smaller_batches(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out at the third batch of four; batches of two are then recorded anew."""
    recorder, genuine, seen = TapeRecorder(), Explainer.compute_maps, list[int]()

    def tight(self: Explainer, batch: Batch) -> InputMaps:
        seen.append(len(batch.values))
        if seen.count(4) > 2 and len(batch.values) > 2 and self.network.recorded is not None:
            self.network.recorded.run(exhaust, (batch.values[:3],))
        return genuine(self, batch)

    def exhaust(*_given: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engines = prepare(*opened["shapes-torch"], setup_of("elrp", 20), batch=4)
    expected = collect(engines)
    monkeypatch.setattr(Explainer, "compute_maps", tight)
    own = record(engines, recorder)
    found = collect(own)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * float(np.abs(expected).max()))
    assert seen[:3] == [4, 4, 4]
    assert set(seen[3:]) == {2}
    assert recorder.recorded == 2
    assert own.uncompiled == ()


def test_memory_of_a_recording_is_given_to_a_pass_that_needs_it(opened: Opened) -> None:
    """One image of another size of batch does not fit beside a recording, and does without it."""
    engines = record(prepare(*opened["shapes-torch"], setup_of("elrp", 8)), TapeRecorder())
    explainer, images = engines.explainers[0], engines.setup.probes.images
    for start in (0, 2, 4):
        explainer.network.gradient(explainer.prepare_batch(images[start : start + 2]).values)
    recorded, genuine = explainer.network.recorded, DifferentiableGraph._differentiate
    assert recorded is not None
    kept = weakref.ref(recorded._replay)

    def tight(self: DifferentiableGraph, values: Tensor, weights: Sequence[Tensor] | None) -> Tensor:
        if kept() is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(self, values, weights)

    one = explainer.prepare_batch(images[:1]).values
    expected = explainer.network._differentiate(one, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DifferentiableGraph, "_differentiate", tight)
        assert torch.equal(explainer.network.gradient(one), expected)
    assert recorded.remark == ""


@pytest.mark.parametrize("make", [shuffled, centred, columns])
def test_networks_that_take_several_images_are_replayed(make: Callable[[], ModelProto], tmp_path: Path) -> None:
    """Those whose images influence each other too."""
    model, setup = open_model(save(make(), tmp_path / "net.onnx")), setup_of("elrp", 18)
    engines, recorder = prepare(model, convert(model, setup.probes.images[:2]), setup, 4), TapeRecorder()
    own = record(engines, recorder)
    assert collect(own).tobytes() == collect(engines).tobytes()
    assert recorder.replayed > 1
    assert own.uncompiled == ()


@pytest.mark.parametrize("name", ["skips", "tokens"])
def test_activations_that_are_computed_again_are_replayed(name: str) -> None:
    explainer, batch = make_checkpointed(name, "elrp")
    plain = segmented(explainer, profile := profile_graph(explainer.network.graph, batch.values), cut_everywhere(profile))  # type: ignore[arg-type]
    recorder = TapeRecorder()
    own = replace(plain, network=replace(plain.network, recorded=RecordedPass(recorder)))
    values = [batch.values, batch.values * 0.5, batch.values.flip(0), batch.values * 2]
    found = [own.network.gradient(one) for one in values]
    assert all(torch.equal(one, plain.network.gradient(given)) for one, given in zip(found, values, strict=True))
    assert recorder.replayed == 3
    assert own.remarks == ()


def test_a_pass_that_reads_a_value_is_not_recorded() -> None:
    class Reading(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * float(x.sum().item())

    recorder = TapeRecorder()
    network = DifferentiableGraph("net.onnx", Reading(), 1, recorded=RecordedPass(recorder))
    found = [network.gradient(torch.full((1, 3, 2, 2), float(k))) for k in range(1, 4)]
    assert [float(one.max()) for one in found] == [12.0, 24.0, 36.0]
    assert network.recorded is not None
    assert "operation not permitted when stream is capturing (aten._local_scalar_dense.default)" in network.recorded.remark


def test_an_error_of_the_model_is_no_reason_to_go_on() -> None:
    class Constant(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 2)

    network = DifferentiableGraph("net.onnx", Constant(), 1, recorded=RecordedPass(TapeRecorder()))
    for _ in range(3):
        with pytest.raises(AttributionError, match="no gradient reaches the image"):
            network.gradient(torch.ones(1, 3, 2, 2))


def test_what_is_kept_between_passes_stays_alive_with_a_recording(opened: Opened) -> None:
    """Taps of Resize, which a full cache drops, while the recording still has their addresses."""
    model, converted = opened["resizing"]
    engines = record(prepare(model, converted, setup_of("elrp", 8)), TapeRecorder())
    interpolation.keep_taps.cache_clear()
    collect(engines)
    recorded = engines.explainers[0].network.recorded
    assert recorded is not None
    assert recorded._replay is not None
    assert isinstance(recorded._replay.held, list)
    taps = {taps[0].data_ptr() for taps in recorded._replay.held}
    read = {one.data_ptr() for _, args, _, _ in steps_of(recorded) for one in args if isinstance(one, Tensor)}
    assert taps
    assert taps & read


def steps_of(recorded: RecordedPass) -> list[tuple[object, tuple[object, ...], object, object]]:
    assert recorded._replay is not None
    assert isinstance(recorded._replay.recording.held, Tape)
    return recorded._replay.recording.held.steps


def test_gradient_fields_are_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions of maxima differ from image to image, and are inputs of the recording."""
    model, images = open_model(save(classifier(), tmp_path / "net.onnx")), probes(3)
    setup, execution, recorder = Setup(images, METHOD, Options(steps=6)), Execution.on("cpu", 2), TapeRecorder()
    write_fields(model, find_encoder(model), setup, tmp_path / "plain.npy", execution)
    monkeypatch.setattr(
        "onnxspace.attribution.gradient_fields.engines_for", lambda *given: record(engines_for(*given), recorder)
    )
    assert write_fields(model, find_encoder(model), setup, tmp_path / "own.npy", execution) == ()
    assert (tmp_path / "plain.npy").read_bytes() == (tmp_path / "own.npy").read_bytes()
    assert recorder.recorded == 1
    assert recorder.replayed == 8  # three passes for each of three images, of which the first is not


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("device", ["cpu", "cuda", "meta"])
@pytest.mark.parametrize("compiled", [False, True])
def test_passes_are_recorded_on_a_gpu_where_they_are_compiled(
    method: Method, device: str, compiled: bool, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method whose passes can't be recorded says so."""
    monkeypatch.setattr("onnxspace.attribution.compiled_graph.mark_constants", lambda: None)
    monkeypatch.setattr("torch.compile", lambda graph, **_given: graph)
    monkeypatch.setattr("torch.Tensor.to", lambda values, *_given, **_named: values)
    monkeypatch.setattr("torch.nn.Module.to", lambda module, *_given, **_named: module)
    model, converted = opened["shapes-torch"]
    found = make_explainer(model, converted, setup_of(method, 2), torch.device(device), Compute(compiled=compiled))
    able = METHODS[method].place == "image" and method != "unit-saliency"
    assert (found.network.recorded is not None) == (compiled and device == "cuda" and able)
    assert (f"for other methods than {method}" in " ".join(found.remarks)) == (compiled and device == "cuda" and not able)


def test_a_queue_that_is_dropped_does_not_wait_for_a_gpu_that_records(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: held.append(batches.RECORDING.locked()))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: held.append(batches.RECORDING.locked()))
    batches._drop_waiting(batches.deque())
    assert held == [True, True]


def test_maps_are_the_same_through_the_public_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, recorder = open_model(save(classifier(), tmp_path / "net.onnx")), probes(9), TapeRecorder()
    expected = ox.attribute(model, images, batch_size=2)
    monkeypatch.setattr(maps, "make_explainer", lambda *given: make_recording(recorder, *given))
    np.testing.assert_array_equal(ox.attribute(model, images, batch_size=2), expected)
    assert recorder.replayed == 3


def make_recording(recorder: TapeRecorder, *given: object) -> Explainer:
    made = make_explainer(*given)  # type: ignore[arg-type]
    return replace(made, network=replace(made.network, recorded=RecordedPass(recorder)))
