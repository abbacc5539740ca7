"""What a network computes at its encoder: against ONNX Runtime image by image, and how large outputs are averaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.errors import AttributionError, OutputError
from onnxspace.model.encoder import Encoder
from onnxspace.model.features import BATCH, Pool, features_key, pool_to_fit, write_features
from onnxspace.model.model import open_model
from tests.helpers.nets import Net, classifier, save

PROBES = ox.Probes.generate(BATCH + 3, 32)


def runtime(path: Path, images: NDArray[np.uint8], tensor: str) -> NDArray[np.float32]:
    """The tensor by a session of its own, one image at a time."""
    import onnx

    proto = onnx.load(path)
    proto.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    values = open_model(path).preprocess(images)
    rows = [session.run([tensor], {"image": values[i : i + 1]})[0] for i in range(len(values))]
    return np.concatenate(rows)


def windows(values: NDArray[np.float32], factor: int) -> NDArray[np.float64]:
    """Means over windows, slowly: [images, channels, height, width]."""
    images, channels, height, width = values.shape
    rows, columns = -(-height // factor), -(-width // factor)
    found = np.zeros((images, channels, rows, columns))
    for i in range(rows):
        for j in range(columns):
            part = values[:, :, i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            found[:, :, i, j] = part.astype(np.float64).mean(axis=(2, 3))
    return found


@pytest.mark.parametrize("pool", ["none", "mean", "fit"])
@pytest.mark.parametrize("batch", ["N", 1])
def test_values_are_the_runtimes_for_each_image(tmp_path: Path, pool: Pool, batch: str | int) -> None:
    path = save(classifier((batch, 3, 16, 16)), tmp_path / "a.onnx")
    counted: list[int] = []
    found = write_features(open_model(path), Encoder(("t1",), ""), PROBES.images, tmp_path / "f.npy", pool, counted.append)
    expected = runtime(path, PROBES.images, "t1")
    shape = {"none": (-1, 8 * 256), "mean": (-1, 8), "fit": (-1, 8, 16, 16)}[pool]
    expected = expected.mean(axis=(2, 3)) if pool == "mean" else expected
    np.testing.assert_allclose(found.values, expected.reshape(shape), rtol=1e-4, atol=1e-5)
    assert found.values.dtype == np.float32
    assert isinstance(found.values, np.memmap)
    assert sum(counted) == len(PROBES)


@pytest.mark.parametrize("shape", [(2, 3, 17, 31), (2, 4, 8, 8), (1, 5, 1, 40)])
@pytest.mark.parametrize("most", [10**6, 300, 60, 3])
def test_windows_are_the_smallest_that_fit(shape: tuple[int, ...], most: int) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    factor = next(
        (f for f in range(1, max(shape[2:])) if shape[1] * -(-shape[2] // f) * -(-shape[3] // f) <= most), max(shape[2:])
    )
    np.testing.assert_allclose(pool_to_fit(values, most), windows(values, factor), rtol=1e-4, atol=1e-5)


def test_tokens_are_averaged_along_their_axis_and_plain_features_never() -> None:
    tokens = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
    np.testing.assert_allclose(
        pool_to_fit(tokens, 9), np.stack([tokens[:, :2].mean(1), tokens[:, 2:4].mean(1), tokens[:, 4]], axis=1)
    )
    plain = np.ones((2, 100), np.float32)
    assert pool_to_fit(plain, 10) is plain


def test_several_tensors_stand_one_after_another(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "a.onnx")
    found = write_features(open_model(path), Encoder(("t5", "t1"), ""), PROBES.images, tmp_path / "f.npy", "fit")
    both = [runtime(path, PROBES.images, name).reshape(len(PROBES), -1) for name in ("t5", "t1")]
    np.testing.assert_allclose(found.values, np.concatenate(both, axis=1), rtol=1e-4, atol=1e-5)


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    model = open_model(save(classifier(), tmp_path / "a.onnx"))
    (tmp_path / "kept").mkdir()

    def stop(_images: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(model, Encoder(("t1",), ""), PROBES.images, tmp_path / "kept/f.npy", "none", stop)
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Div", net.conv("image", 3, 2), net.weight(np.zeros(1, np.float32)))
    path = save(net.model([net.dense(net.add("Flatten", x), 2 * 196, 2)]), tmp_path / "a.onnx")
    with pytest.raises(AttributionError, match=r"a\.onnx computes NaN or infinity at its encoder for image 0"):
        write_features(open_model(path), Encoder(("t1",), ""), PROBES.images, tmp_path / "f.npy")


def test_a_place_that_can_not_be_written_to_is_said(tmp_path: Path) -> None:
    model = open_model(save(classifier(), tmp_path / "a.onnx"))
    with pytest.raises(OutputError, match=r"a\.onnx"):
        write_features(model, Encoder(("t1",), ""), PROBES.images, tmp_path / "a.onnx/f.npy")


def test_the_key_tells_all_that_determines_features(tmp_path: Path) -> None:
    model, other = (open_model(save(classifier(seed=seed), tmp_path / f"{seed}.onnx")) for seed in (0, 1))
    keys = [
        features_key(model, ("t1",), "none", "x"),
        features_key(other, ("t1",), "none", "x"),
        features_key(model, ("t2",), "none", "x"),
        features_key(model, ("t1",), "fit", "x"),
        features_key(model, ("t1",), "none", "y"),
    ]
    assert len(set(keys)) == 5
    assert keys[0] == features_key(model, ("t1",), "none", "x")
