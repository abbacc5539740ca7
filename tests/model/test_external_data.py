"""External data: confined to the model's folder whatever changes meanwhile, and read once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnxspace.errors import ModelError
from onnxspace.model import external_data
from onnxspace.model.model import open_model
from tests.helpers import nets


def with_data_beside(path: Path, location: str = "data.bin") -> Path:
    onnx.save(nets.classifier(), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def test_a_cache_of_links_to_one_folder_is_contained(tmp_path: Path) -> None:
    """As the Hugging Face cache has it: model and data are links to files with other names in one folder."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots/x").mkdir(parents=True)
    plain = open_model(with_data_beside(tmp_path / "snapshots/x/model.onnx"))
    for name, blob in (("model.onnx", "0a"), ("data.bin", "0b")):
        (tmp_path / "snapshots/x" / name).rename(tmp_path / "blobs" / blob)
        (tmp_path / "snapshots/x" / name).symlink_to(f"../../blobs/{blob}")
    assert open_model(tmp_path / "snapshots/x/model.onnx").sha256 == plain.sha256


def test_data_is_found_beside_the_file_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    with_data_beside(tmp_path / "real/model.onnx")
    (tmp_path / "link.onnx").symlink_to("real/model.onnx")
    assert open_model(tmp_path / "link.onnx").sha256 == open_model(tmp_path / "real/model.onnx").sha256


def test_a_link_out_of_the_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    with_data_beside(tmp_path / "blobs/0a")
    (tmp_path / "snapshot/model.onnx").symlink_to("../blobs/0a")
    (tmp_path / "blobs/data.bin").rename(tmp_path / "secret")
    (tmp_path / "snapshot/data.bin").symlink_to("../secret")
    with pytest.raises(ModelError, match="outside the model's folder"):
        open_model(tmp_path / "snapshot/model.onnx")


def test_a_hard_link_outside_the_real_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    with_data_beside(tmp_path / "real/model.onnx")
    (tmp_path / "real/data.bin").rename(tmp_path / "secret")
    (tmp_path / "model.onnx").symlink_to("real/model.onnx")
    (tmp_path / "data.bin").hardlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match=r"model\.onnx: external data 'data\.bin' of tensor '\w+' is a hard link outside"):
        open_model(tmp_path / "model.onnx")
    (tmp_path / "real/data.bin").hardlink_to(tmp_path / "secret")
    assert open_model(tmp_path / "real/model.onnx").sha256


@pytest.mark.parametrize("exchange", ["file", "folder"])
def test_what_is_exchanged_after_the_check_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: str) -> None:
    """Between the check and the opening, the data or its folder becomes a link to something else."""
    (tmp_path / "inside").mkdir()
    path = with_data_beside(tmp_path / "model.onnx", "inside/data.bin")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/data.bin").write_bytes((tmp_path / "inside/data.bin").read_bytes())
    opened = external_data.open_below

    def late(root: Path, source: Path) -> int:
        place = tmp_path / ("inside/data.bin" if exchange == "file" else "inside")
        place.rename(tmp_path / "old")
        place.symlink_to(tmp_path / ("outside/data.bin" if exchange == "file" else "outside"))
        return opened(root, source)

    monkeypatch.setattr(external_data, "open_below", late)
    with pytest.raises(ModelError, match="can't be read"):
        open_model(path)


def overlapping(folder: Path, tensors: int, size: int, step: int) -> Path:
    """A classifier with further weights that all lie in one sparse file, each `step` bytes after the one before."""
    model = nets.classifier()
    for number in range(tensors):
        tensor = TensorProto(
            name=f"extra{number}", data_type=TensorProto.FLOAT, dims=[size // 4], data_location=TensorProto.EXTERNAL
        )
        for key, value in (("location", "sparse.bin"), ("offset", number * step), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        model.graph.initializer.append(tensor)
    with (folder / "sparse.bin").open("wb") as file:
        file.truncate(size + tensors * step)
    return nets.save(model, folder / "net.onnx")


@pytest.mark.parametrize("step", [0, 4])
def test_a_range_of_bytes_counts_once(tmp_path: Path, step: int) -> None:
    path = overlapping(tmp_path, 200, 2**24, step)
    tracemalloc.start()
    model = open_model(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**25
    assert len(model.network.weights) >= 200
    assert not model.network.weights["extra199"].any()


def test_overlapping_data_counts_once_towards_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = overlapping(tmp_path, 9, 2**20, 4)
    monkeypatch.setattr(external_data, "MAX_DATA_BYTES", 2**20 + 8 * 4)
    assert open_model(path).sha256
    monkeypatch.setattr(external_data, "MAX_DATA_BYTES", 2**20 + 7 * 4)
    with pytest.raises(ModelError, match="GiB of external data"):
        open_model(path)


def test_each_tensor_has_its_part_of_a_shared_range(tmp_path: Path) -> None:
    path = overlapping(tmp_path, 2, 2**16, 400)
    values = np.arange(2**14 + 200, dtype="<f4")
    (tmp_path / "sparse.bin").write_bytes(values.tobytes())
    model = open_model(path)
    np.testing.assert_array_equal(model.network.weights["extra0"], values[: 2**14])
    np.testing.assert_array_equal(model.network.weights["extra1"], values[100 : 2**14 + 100])


def test_files_are_closed(tmp_path: Path) -> None:
    path = with_data_beside(tmp_path / "model.onnx")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        open_model(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
