"""Where features are computed: by ONNX Runtime's CUDA provider where a session gets it, else by Torch; what it is, is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import onnxspace as ox
from onnxspace.attribution import torch_runner
from onnxspace.attribution.torch_runner import TorchRunner
from onnxspace.errors import ModelError
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.protocol import Setup
from onnxspace.model import providers, runtime
from onnxspace.model.encoder import find_encoder
from onnxspace.model.features import features_key, write_features
from onnxspace.model.model import open_model
from onnxspace.workflows.child import representations
from onnxspace.workflows.child.representations import FeaturesFile, representation_of
from tests.attribution.test_image_groups import columns, shuffled
from tests.helpers.nets import Net, Shape, classifier, save

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Session:
    """A session of ONNX Runtime on the CPU that states other providers, as one on a GPU would."""

    got: tuple[str, ...] = (CUDA, CPU)

    def __init__(self, content: bytes, options: Any, providers: Sequence[Any]) -> None:
        self.asked = list(providers)
        self.real = onnxruntime.InferenceSession(content, options, providers=[CPU])

    def get_providers(self) -> list[str]:
        return list(self.got)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    providers.find_fault.cache_clear()
    yield
    providers.find_fault.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, listed: Sequence[str], got: Sequence[str]) -> None:
    kind = type("_Session", (Session,), {"got": tuple(got)})
    library = SimpleNamespace(
        **{name: getattr(onnxruntime, name) for name in ("SessionOptions", "GraphOptimizationLevel", "OrtValue", "RunOptions")}
    )
    library.InferenceSession, library.get_available_providers = kind, lambda: list(listed)
    for module in (runtime, providers):
        monkeypatch.setattr(module, "import_onnxruntime", lambda: library)


@pytest.mark.parametrize(
    ("listed", "got", "fault"),
    [((CPU,), (CPU,), "has no CUDA provider"), ((CUDA, CPU), (CPU,), "can't be loaded"), ((CUDA, CPU), (CUDA, CPU), "")],
)
def test_a_session_says_what_it_got(monkeypatch: pytest.MonkeyPatch, listed: Any, got: Any, fault: str) -> None:
    install(monkeypatch, listed, got)
    assert (fault in providers.find_fault()) if fault else providers.find_fault() == ""


def test_a_provider_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_named: object) -> None:
        raise RuntimeError("CUDA failure 35: driver too old\nmore")

    install(monkeypatch, (CUDA, CPU), (CUDA, CPU))
    monkeypatch.setattr(providers.import_onnxruntime(), "InferenceSession", fail)
    assert providers.find_fault() == "ONNX Runtime's CUDA provider fails (CUDA failure 35: driver too old)"


def write(
    folder: Path, monkeypatch: pytest.MonkeyPatch, device: str, proto: onnx.ModelProto | None = None, count: int = 5
) -> tuple[Path, tuple[str, ...], Any]:
    """Write features with Torch's graph, if there is one, on the CPU in the place of a GPU."""
    model = open_model(save(proto or classifier(), folder / "net.onnx"))
    monkeypatch.setattr(representations, "list_devices", lambda _compute: [torch.device(device)])
    monkeypatch.setattr(representations, "TorchRunner", lambda *given: TorchRunner(*given[:-1], torch.device("cpu")))
    prepared: Any = SimpleNamespace(model=model, encoder=find_encoder(model))
    file = FeaturesFile(Setup(ox.Probes.generate(count, 16)), Execution(), lambda found: found.encoder)
    to: Any = SimpleNamespace(folder=folder)
    written = file.write(prepared, to, lambda _images: None)
    return written.path, written.remarks, model


def test_features_on_a_gpu_have_a_file_of_their_own_and_full_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, remarks, model = write(tmp_path, monkeypatch, "cpu")
    assert remarks == ()
    install(monkeypatch, (CUDA, CPU), (CUDA, CPU))
    there, remarks, _ = write(tmp_path, monkeypatch, "cuda")
    assert remarks == ("its features are computed by ONNX Runtime on CUDA.",)
    assert here != there
    assert (np.load(here) == np.load(there)).all()
    assert providers.list_providers("cuda") == [(CUDA, {"use_tf32": "0"}), CPU]
    keys = {features_key(model, ("x",), "fit", "0" * 64, provider) for provider in ("cpu", "cuda", "torch")}
    assert len(keys) == 3


FAULTS = [((CPU,), (CPU,), "has no CUDA provider"), ((CUDA, CPU), (CPU,), "'s CUDA provider can't be loaded")]


@pytest.mark.parametrize(("listed", "got", "fault"), FAULTS)
@pytest.mark.parametrize("shape", [("N", 3, 16, 16), (1, 3, 16, 16)])
def test_torch_computes_features_where_onnx_runtime_cannot(
    shape: Shape, listed: Any, got: Any, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same numbers as ONNX Runtime's, within rounding, in a file of their own; images by the batch, or one by one."""
    here, _, _ = write(tmp_path, monkeypatch, "cpu", classifier(shape), 19)
    install(monkeypatch, listed, got)
    there, (remark,), _ = write(tmp_path, monkeypatch, "cuda", classifier(shape), 19)
    assert here != there
    expected, found = np.load(here), np.load(there)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))
    assert remark.startswith("its features are computed by Torch's graph on CUDA: ONNX Runtime")
    assert fault in remark


@pytest.mark.parametrize("make", [shuffled, columns])
def test_torch_computes_features_of_networks_that_take_several_images(
    make: Callable[[], onnx.ModelProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _, _ = write(tmp_path, monkeypatch, "cpu", make(), 6)
    install(monkeypatch, (CPU,), (CPU,))
    there, _, _ = write(tmp_path, monkeypatch, "cuda", make(), 6)
    assert here != there
    np.testing.assert_allclose(np.load(there), np.load(here), rtol=1e-4, atol=1e-5)


def test_maps_of_activations_are_pooled_as_those_of_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[images, channels, rows, columns] with more values than are kept."""
    net = Net(("N", 3, 64, 64))
    net.add("Relu", net.conv("image", 3, 16, pads=[1] * 4))
    model = open_model(save(net.model([net.nodes[-1].output[0]]), tmp_path / "net.onnx"))
    encoder, images = find_encoder(model), ox.Probes.generate(3, 64).images
    runner = TorchRunner(model, encoder, images, Compute(precision="bf16"), torch.device("cpu"))
    found = write_features(model, encoder, images, tmp_path / "t.npy", "fit", provider=runner).values
    expected = write_features(model, encoder, images, tmp_path / "o.npy", "fit").values
    assert found.shape == expected.shape == (3, 16, 32, 32)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_graph_that_torch_lacks_is_computed_on_the_cpu_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(("N", 3, 16, 16))
    x = net.add(
        "Add", net.conv("image", 3, 4), net.add("Mul", net.add("RandomNormalLike", net.conv("image", 3, 4)), net.weight(0.0))
    )
    proto = net.model([net.add("Relu", x)])
    here, _, _ = write(tmp_path, monkeypatch, "cpu", proto)
    install(monkeypatch, (CPU,), (CPU,))
    there, remarks, _ = write(tmp_path, monkeypatch, "cuda", proto)
    assert there == here
    (remark,) = remarks
    assert remark.startswith(
        "its features are computed by ONNX Runtime on the CPU: ONNX Runtime here has no CUDA provider, and Torch has no graph ("
    )
    assert "RandomNormalLike" in remark
    assert remark.endswith(").")


def test_features_of_torch_that_are_there_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, (CPU,), (CPU,))
    first, remarks, _ = write(tmp_path, monkeypatch, "cuda")
    monkeypatch.setattr(TorchRunner, "__init__", None)
    assert write(tmp_path, monkeypatch, "cuda")[:2] == (first, remarks)


def test_a_gpu_that_is_full_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")

    install(monkeypatch, (CPU,), (CPU,))
    monkeypatch.setattr(torch_runner, "outputs_of", exhaust)
    with pytest.raises(
        ModelError, match=r"net.onnx: its features or outputs can't be computed by Torch on a GPU \(CUDA out of .*--device cpu."
    ):
        write(tmp_path, monkeypatch, "cuda")


def test_outputs_are_named_apart_from_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that needs both says of each what computes it."""
    install(monkeypatch, (CUDA, CPU), (CUDA, CPU))
    monkeypatch.setattr(representations, "list_devices", lambda _compute: [torch.device("cuda")])
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    prepared: Any = SimpleNamespace(model=model, encoder=find_encoder(model))
    monkeypatch.setattr(representations, "decode_setup", lambda given: given)
    monkeypatch.setattr(representations, "decode_execution", lambda given: given)
    request: Any = SimpleNamespace(
        setup=Setup(ox.Probes.generate(3, 16)), execution=Execution(), seen=None, fields=None, outputs=True
    )
    to: Any = SimpleNamespace(folder=tmp_path)
    written = [representation_of(kind, request).write(prepared, to, lambda _n: None) for kind in ("features", "outputs")]  # type: ignore[arg-type]
    remarks = [one.remarks for one in written]
    assert remarks == [(f"its {kind} are computed by ONNX Runtime on CUDA.",) for kind in ("features", "outputs")]


def test_features_of_torch_are_single_precision(tmp_path: Path) -> None:
    """Whatever the precision of maps."""
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    encoder, images = find_encoder(model), ox.Probes.generate(2, 16).images
    pair = [TorchRunner(model, encoder, images, Compute(precision=one), torch.device("cpu")) for one in ("float32", "bf16")]  # type: ignore[arg-type]
    feeds = {pair[0].input: model.preprocess(images)}
    assert pair[0](feeds)[0].tobytes() == pair[1](feeds)[0].tobytes()


def test_the_provider_reaches_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    install(monkeypatch, (CUDA, CPU), (CUDA, CPU))
    library = runtime.import_onnxruntime()
    kind = library.InferenceSession
    monkeypatch.setattr(library, "InferenceSession", lambda *args, providers: asked.append(providers) or kind(*args, providers))
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    images = ox.Probes.generate(3, 16).images
    write_features(model, find_encoder(model), images, tmp_path / "a.npy", provider="cuda")
    assert providers.list_providers("cuda") in asked
