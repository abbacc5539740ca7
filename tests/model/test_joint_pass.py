"""Two sets of tensors from one forward pass: the same bytes as from two, or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.errors import OutputError
from onnxspace.model import joint_pass
from onnxspace.model.encoder import Encoder
from onnxspace.model.features import BATCH, write_features
from onnxspace.model.joint_pass import Rows, write_together
from onnxspace.model.model import Model, open_model
from onnxspace.model.outputs import find_float_outputs
from tests.helpers.nets import Net, classifier, save

IMAGES = ox.Probes.generate(4 * BATCH + 3, 24).images
FEATURES = Encoder(("t5",), "test")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return open_model(save(classifier(), tmp_path / "net.onnx"))


def write(model: Model, folder: Path, images: NDArray[np.uint8] = IMAGES, first: Encoder = FEATURES) -> tuple[bool, list[int]]:
    """Whether both were written, and the numbers of images that were reported."""
    parts = [(first, folder / "together-0.npy"), (find_float_outputs(model), folder / "together-1.npy")]
    done: list[int] = []
    return write_together(model, parts, images, "fit", done.append), done


def test_both_files_have_the_bytes_of_two_passes(model: Model, tmp_path: Path) -> None:
    written, done = write(model, tmp_path)
    assert (written, sum(done)) == (True, len(IMAGES))
    for number, encoder in enumerate((FEATURES, find_float_outputs(model))):
        write_features(model, encoder, IMAGES, tmp_path / "alone.npy", "fit")
        assert (tmp_path / f"together-{number}.npy").read_bytes() == (tmp_path / "alone.npy").read_bytes()


def test_all_images_are_read_once(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    compute = joint_pass._JointPass.compute

    def count(self: joint_pass._JointPass, images: NDArray[np.uint8]) -> list[Rows]:
        seen.append(len(images))
        return compute(self, images)

    monkeypatch.setattr(joint_pass._JointPass, "compute", count)
    assert write(model, tmp_path)[0]
    assert sorted(seen) == [3, *[BATCH] * 4]


def test_other_bits_are_not_taken(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = joint_pass._JointPass.compute

    def round_otherwise(self: joint_pass._JointPass, images: NDArray[np.uint8]) -> list[Rows]:
        first, second = compute(self, images)
        return [first, np.nextafter(second, np.float32(np.inf)) if len(images) < BATCH else second]

    monkeypatch.setattr(joint_pass._JointPass, "compute", round_otherwise)
    assert write(model, tmp_path) == (False, [])
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_there_is_one_pass_only_where_it_saves_one(model: Model, tmp_path: Path) -> None:
    assert not write(model, tmp_path, IMAGES[: 4 * BATCH - 1])[0]
    assert not write(model, tmp_path, first=find_float_outputs(model))[0]
    net = Net((2, 3, 16, 16))  # images of which the mean of the batch is subtracted
    x = net.conv("image", 3, 4)
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Sub", x, net.add("ReduceMean", x, axes=[0], keepdims=1))))
    group = open_model(save(net.model([net.dense(x, 4, 2)]), tmp_path / "group.onnx"))
    assert group.group is not None
    assert not write(group, tmp_path, first=Encoder((x,), "test"))[0]


def test_a_failure_is_left_to_the_pass_that_reports_it(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Sqrt", net.conv("image", 3, 4))
    model = open_model(
        save(net.model([net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 4, 2)]), tmp_path / "nan.onnx")
    )
    assert not write(model, tmp_path, first=Encoder((x,), "test"))[0]
    assert [path.name for path in tmp_path.iterdir()] == ["nan.onnx"]


def test_a_place_that_can_not_be_written_to_is_an_error(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        write(model, tmp_path / "file")
