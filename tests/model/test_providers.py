"""Where features are computed: ONNX Runtime's CUDA provider is taken where a session gets it, and a fall-back is said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import onnxspace as ox
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.protocol import Setup
from onnxspace.model import providers, runtime
from onnxspace.model.encoder import find_encoder
from onnxspace.model.features import features_key, write_features
from onnxspace.model.model import open_model
from onnxspace.workflows.child import representations
from onnxspace.workflows.child.representations import FeaturesFile
from tests.helpers.nets import classifier, save

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
    assert providers.find_fault() == "its CUDA provider fails (CUDA failure 35: driver too old)"


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> tuple[Path, tuple[str, ...], Any]:
    model = open_model(save(classifier(), folder / "net.onnx"))
    monkeypatch.setattr(representations, "list_devices", lambda _compute: [torch.device(device)])
    prepared: Any = SimpleNamespace(model=model, encoder=find_encoder(model))
    file = FeaturesFile(Setup(ox.Probes.generate(5, 16)), Execution(), lambda found: found.encoder)
    to: Any = SimpleNamespace(folder=folder)
    return (*file.write(prepared, to, lambda _images: None), model)


def test_features_on_a_gpu_have_a_file_of_their_own_and_full_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, remarks, model = write(tmp_path, monkeypatch, "cpu")
    assert remarks == ()
    install(monkeypatch, (CUDA, CPU), (CUDA, CPU))
    there, remarks, _ = write(tmp_path, monkeypatch, "cuda")
    assert remarks == ()
    assert here != there
    assert (np.load(here) == np.load(there)).all()
    assert providers.list_providers("cuda") == [(CUDA, {"use_tf32": "0"}), CPU]
    keys = {features_key(model, ("x",), "fit", "0" * 64, provider) for provider in ("cpu", "cuda")}
    assert len(keys) == 2


def test_features_on_the_cpu_beside_maps_on_a_gpu_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, _, _ = write(tmp_path, monkeypatch, "cpu")
    install(monkeypatch, (CUDA, CPU), (CPU,))
    file, remarks, _ = write(tmp_path, monkeypatch, "cuda")
    assert file == here
    (remark,) = remarks
    assert remark == (
        "its features are computed on the CPU, not on the GPU: its CUDA provider can't be loaded, such as for lack of a library."
    )


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
