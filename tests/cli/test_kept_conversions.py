"""Models of other formats in `score`: conversions are kept until anything about them changes, whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import onnx
import pytest

import onnxspace as ox
from onnxspace.exporters import Request, cache, export
from onnxspace.inputs.config import Config
from onnxspace.sandbox.limits import Limits
from tests.helpers import torchnets
from tests.helpers.nets import classifier, save
from tests.helpers.noise import probes


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_models_of_other_formats_are_scored_under_their_own_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_children: None
) -> None:
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    save(classifier(), tmp_path / "other.onnx")
    source = torchnets.write_program(tmp_path, torchnets.plain(seed=0))
    export.to_onnx(source, tmp_path / "twin.onnx")
    (tmp_path / "broken.pt2").write_bytes(b"PK")
    models = [source, tmp_path / "twin.onnx", tmp_path / "other.onnx", tmp_path / "broken.pt2"]
    result = ox.score(models, probes())
    assert result.names == ("net", "twin", "other")
    assert [failure.path for failure in result.failed] == [str(tmp_path / "broken.pt2")]
    assert "broken.pt2 is not a PyTorch archive" in result.failed[0].error
    assert result.models[0].path == str(source)
    assert result.matrix[0, 1] == pytest.approx(1, abs=1e-3)
    (kept,) = (tmp_path / "cache/converted").iterdir()
    assert left(kept) == ["made.json", "net.onnx", "net.onnxspace.toml"]


def test_a_conversion_is_kept_until_anything_about_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def fake(source: str, target: Path, request: Request, *, limits: Limits | None) -> None:
        made.append(source)
        save(classifier(), target)

    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "to_onnx", fake)
    source = tmp_path / "net.pt2"
    source.write_bytes(b"one")
    first = cache.onnx_file(source, None, Config())
    assert cache.onnx_file(source, "auto", Config()) == first
    assert len(made) == 1
    first.write_bytes(b"damaged")
    assert cache.onnx_file(source, None, Config()) == first
    assert onnx.load(first).graph.node
    assert cache.onnx_file(source, "layer", Config()) != first
    source.write_bytes(b"two")
    assert cache.onnx_file(source, None, Config()) != first
    assert len(made) == 4
    assert cache.onnx_file(tmp_path / "a.onnx", None, Config()) == tmp_path / "a.onnx"
    assert not [name for name in left(tmp_path / "cache/converted") if name.startswith(".making")]


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(source: str, target: Path, request: Request, *, limits: Limits | None) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "to_onnx", stopped)
    (tmp_path / "net.pt2").write_bytes(b"one")
    with pytest.raises(KeyboardInterrupt):
        cache.onnx_file(tmp_path / "net.pt2", None, Config())
    assert left(tmp_path / "cache/converted") == []


def test_two_at_once_keep_one_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2)

    def slow(source: str, target: Path, request: Request, *, limits: Limits | None) -> None:
        save(classifier(), target)
        together.wait(30)

    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "to_onnx", slow)
    (tmp_path / "net.pt2").write_bytes(b"one")
    found: list[Path] = []
    workers = [
        threading.Thread(target=lambda: found.append(cache.onnx_file(tmp_path / "net.pt2", None, Config()))) for _ in "ab"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert len(left(tmp_path / "cache/converted")) == 1
