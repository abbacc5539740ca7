"""Gradient fields against the paper's formula in double precision, and a run of them that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

import onnxspace as ox
from onnxspace.attribution.gradient_fields import METHOD, SIZE, PathGradients, fields_key, find_peaks, values_at, write_fields
from onnxspace.errors import AttributionError
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import Options
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import open_model
from tests.helpers.nets import Net, save

STEPS = 5
PROBES = ox.Probes.generate(3, SIZE)


def fields_of(options: Options | None) -> Setup:
    """The probe images, with options of gradient fields."""
    return Setup(PROBES, METHOD, options)


def network(kind: str) -> tuple[Net, str]:
    """A small network of the paper's image size, and its encoder: a feature map, or a vector."""
    net = Net(("N", 3, SIZE, SIZE), seed=3)
    x = net.add("Tanh", net.conv("image", 3, 4, 5, strides=[4, 4]))
    x = net.add("Relu", net.conv(x, 4, 5, 3, strides=[2, 2]))
    return net, x if kind == "map" else net.add("Flatten", net.add("GlobalAveragePool", x))


def opened(place: Path, kind: str) -> tuple[ox.Model, Encoder]:
    net, encoder = network(kind)
    pooled = encoder if kind == "vector" else net.add("Flatten", net.add("GlobalAveragePool", encoder))
    path = save(net.model([net.dense(pooled, 5, 2)]), place / f"{kind}.onnx")
    return open_model(path), Encoder((encoder,), "")


def twin(model: ox.Model, kind: str, images: NDArray[np.uint8], baseline: float) -> NDArray[np.float64]:
    """G_k = (x − b) ⊙ Σ_{j≤k} w_j ∇f(b + α_j (x − b)), one gradient at a time, with modules of Torch's own."""
    kernels = [torch.from_numpy(numpy_helper.to_array(t).copy()).double() for t in network(kind)[0].weights]

    def features(x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(torch.nn.functional.conv2d(x, kernels[0], stride=4))
        x = torch.relu(torch.nn.functional.conv2d(x, kernels[1], stride=2))
        return x if kind == "map" else x.mean(dim=(2, 3), keepdim=True)

    nodes, shares = np.polynomial.legendre.leggauss(STEPS)
    rows = []
    for image in model.preprocess(images).astype(np.float64):
        x = torch.from_numpy(image)[None]
        b = torch.full_like(x, baseline)
        top = features(x)[0].reshape(5, -1).argmax(dim=1)
        total, fields = torch.zeros_like(x), []
        for node, share in zip((nodes + 1) / 2, shares / 2, strict=True):
            point = (b + node * (x - b)).requires_grad_(True)
            z = features(point)[0].reshape(5, -1)
            f = sum(z[c, top[c]] for c in range(5))
            total = total + share * torch.autograd.grad(f, point)[0]  # type: ignore[arg-type]
            fields.append(((x - b) * total).mean(dim=1)[0].numpy())
        rows.append(fields)
    return np.array(rows)


@pytest.mark.parametrize("kind", ["map", "vector"])
@pytest.mark.parametrize(("baseline", "value"), [("zero", 0.0), ("black", -1.0)])
def test_fields_are_those_of_the_formula(tmp_path: Path, kind: str, baseline: str, value: float) -> None:
    model, encoder = opened(tmp_path, kind)
    options = Options(baseline=baseline, steps=STEPS)
    assert write_fields(model, encoder, fields_of(options), tmp_path / "f.npy", Execution()) == ()
    found = np.load(tmp_path / "f.npy").astype(np.float64).reshape(len(PROBES), STEPS, -1)
    expected = twin(model, kind, PROBES.images, value).reshape(len(PROBES), STEPS, -1)
    expected /= np.linalg.norm(expected, axis=2, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=6e-4, atol=1e-5)  # half precision
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1, atol=1e-3)


def test_room_changes_nothing(tmp_path: Path) -> None:
    model, encoder = opened(tmp_path, "map")
    for room in (1, 3):
        write_fields(model, encoder, fields_of(Options(steps=STEPS)), tmp_path / f"{room}.npy", Execution(batch_size=room))
    one, three = (np.load(tmp_path / f"{room}.npy").astype(np.float32) for room in (1, 3))
    np.testing.assert_allclose(one, three, atol=1e-4)


def test_memory_that_runs_out_halves_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoder = opened(tmp_path, "vector")
    write_fields(model, encoder, fields_of(Options(steps=STEPS)), tmp_path / "whole.npy", Execution())
    gradient, sizes = PathGradients._gradient, []

    def scarce(self: PathGradients, points: torch.Tensor, places: list[torch.Tensor]) -> torch.Tensor:
        sizes.append(len(points))
        if len(points) > 2:
            raise RuntimeError("not enough memory")
        return gradient(self, points, places)

    monkeypatch.setattr(PathGradients, "_gradient", scarce)
    write_fields(model, encoder, fields_of(Options(steps=STEPS)), tmp_path / "less.npy", Execution(batch_size=4))
    assert sizes[:4] == [4, 2, 2, 1]
    np.testing.assert_allclose(np.load(tmp_path / "less.npy"), np.load(tmp_path / "whole.npy"), atol=1e-3)


def test_tokens_have_their_channels_last() -> None:
    values = torch.tensor([[[1.0, 9.0], [5.0, 2.0], [3.0, 4.0]]])
    places = find_peaks(values)
    assert places[0, :, 0].tolist() == [1, 0]
    other = torch.arange(12.0).reshape(2, 3, 2)
    assert values_at(other, places).tolist() == [[2.0, 1.0], [8.0, 7.0]]
    assert values_at(torch.tensor([[7.0, 8.0]]), find_peaks(torch.tensor([[7.0, 8.0]]))).tolist() == [[7.0, 8.0]]


def test_what_was_written_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoder = opened(tmp_path, "map")
    options = Options(steps=STEPS)
    write_fields(model, encoder, fields_of(options), tmp_path / "whole.npy", Execution())
    seen: list[int] = []

    def stop(images: int) -> None:
        seen.append(images)
        if sum(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_fields(model, encoder, fields_of(options), tmp_path / "kept.npy", Execution(), kept=True, advance=stop)
    fields, calls = PathGradients.fields, []

    def counted(self: PathGradients, image: NDArray[np.uint8]) -> Any:
        calls.append(len(image))
        return fields(self, image)

    monkeypatch.setattr(PathGradients, "fields", counted)
    for _ in range(2):
        write_fields(model, encoder, fields_of(options), tmp_path / "kept.npy", Execution(), kept=True)
    assert calls == [1]
    assert (tmp_path / "kept.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_an_encoder_that_ignores_the_image_is_refused(tmp_path: Path) -> None:
    net = Net(("N", 3, SIZE, SIZE))
    x = net.add(
        "Relu", net.add("Sub", net.add("Relu", net.conv("image", 3, 2, 9, strides=[9, 9])), net.weight(np.float32([1e6])))
    )
    path = save(net.model([net.dense(net.add("Flatten", x), 2 * 196, 2)]), tmp_path / "a.onnx")
    with pytest.raises(AttributionError, match="every gradient field is zero"):
        write_fields(open_model(path), Encoder((x,), ""), fields_of(Options(steps=2)), tmp_path / "f.npy", Execution())
    assert not (tmp_path / "f.npy").exists()


def test_the_key_tells_options_apart(tmp_path: Path) -> None:
    from PIL import Image

    for color in (0, 255):
        Image.new("RGB", (SIZE, SIZE), (color, 0, 0)).save(tmp_path / f"{color}.png")
    told = [None, Options(steps=7), Options(baseline="black"), *(Options(baseline=tmp_path / f"{c}.png") for c in (0, 255))]
    assert len({fields_key("a", fields_of(options)) for options in told} | {fields_key("b", fields_of(None))}) == 6
    assert fields_key("a", fields_of(None)) == fields_key("a", fields_of(Options(steps=50, baseline="zero")))
