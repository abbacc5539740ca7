"""Measures of faithfulness by captum and quantus beside those of the same maps here: `python -m benchmarks.faithfulness --peer NAME`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

import onnxspace as ox
from benchmarks.faithfulness import ROOT, draw_scenes
from onnxspace.inputs.faithfulness import FaithfulnessSettings


def compare_captum() -> Iterator[str]:
    """Infidelity and sensitivity by captum's functions, of the same maps and perturbations."""
    probes, _ = draw_scenes()
    yield from compare_infidelity(ox.Probes("some", probes.images[:4]))
    yield ""
    yield from compare_sensitivity(ox.Probes("some", probes.images[:4]))


def compare_infidelity(probes: ox.Probes) -> Iterator[str]:
    from onnxspace.attribution.faithfulness.removal import draw_squares
    from onnxspace.evaluation.faithfulness.formulas import infidelity

    yield "| network | map | infidelity here | captum | largest difference |"
    yield "|---|---|---|---|---|"
    for name in ("shapes-torch", "count-torch", "edges-torch"):
        path = ROOT / "models" / f"{name}.onnx"
        model = ox.open_model(path)
        forward = follow_sum(path, model)
        values = torch.from_numpy(model.preprocess(probes.images))
        squares = draw_squares(32, tuple(values.shape[2:]), np.random.default_rng(0))
        for method in ("gradient-x-input", "saliency", "elrp"):
            maps = ox.attribute(path, probes, method, device="cpu").astype(np.float64)
            own = [
                infidelity(maps[k].reshape(1, -1) @ squares.reshape(32, -1).T, changes_of(forward, values[k : k + 1], squares))[
                    0
                ]
                for k in range(4)
            ]
            peer = run_captum(forward, values, maps, squares)
            yield f"| {name} | {method} | {np.mean(own):.4f} | {np.mean(peer):.4f} | {np.abs(np.subtract(own, peer)).max():.1e} |"


def compare_sensitivity(probes: ox.Probes) -> Iterator[str]:
    """The sensitivity that is measured from the file, and captum's of Torch's own gradient at the same neighbours."""
    from onnxspace.attribution.faithfulness.measure import draw_neighbour

    yield "| network | sensitivity of `saliency` here | captum | largest difference |"
    yield "|---|---|---|---|"
    settings = FaithfulnessSettings(("sensitivity",), draws=3)
    for name in ("shapes-torch", "count-torch", "edges-torch"):
        path = ROOT / "models" / f"{name}.onnx"
        own = (
            ox.measure_faithfulness(path, probes, ["saliency"], settings=settings, device="cpu")
            .models[0]
            .values["sensitivity"][0]
        )
        model = ox.open_model(path)
        forward, draws = follow_sum(path, model), []
        for draw in range(settings.draws):
            moved = torch.from_numpy(
                model.preprocess(np.stack([draw_neighbour(image, settings, draw) for image in probes.images]))
            )
            values = torch.from_numpy(model.preprocess(probes.images))
            draws.append(run_captum_sensitivity(forward, values, moved))
        peer = np.max(draws, axis=0)
        yield f"| {name} | {own.mean():.4f} | {peer.mean():.4f} | {np.abs(own - peer).max():.1e} |"


def run_captum_sensitivity(
    forward: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor, moved: torch.Tensor
) -> np.ndarray:
    from captum.metrics import sensitivity_max

    def explain(given: tuple[torch.Tensor, ...] | torch.Tensor) -> tuple[torch.Tensor]:
        with torch.enable_grad():
            point = (given[0] if isinstance(given, tuple) else given).detach().requires_grad_(True)
            return (torch.autograd.grad(forward(point).sum(), point)[0].abs().mean(dim=1),)

    return np.asarray(sensitivity_max(explain, values, lambda _inputs: moved, n_perturb_samples=1))


def follow_sum(path: Path, model: ox.Model) -> Callable[[torch.Tensor], torch.Tensor]:
    """The sum of the encoder's units as a function of the network's input, by a conversion of its own."""
    from onnxspace.torchgraph.encoder_graph import convert

    graph = convert(model, draw_scenes()[0].images[:2]).graph
    return lambda values: graph(values).flatten(1).double().sum(dim=1)


def changes_of(forward: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor, squares: np.ndarray) -> np.ndarray:
    masks = torch.from_numpy(squares)[:, None]
    return (forward(image) - forward(torch.where(masks, torch.zeros(()), image))).numpy()


def run_captum(
    forward: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor, maps: np.ndarray, squares: np.ndarray
) -> list[float]:
    """Captum's infidelity with its optimal scale, relative to the mean square of the changes, on the same squares."""
    from captum.metrics import infidelity as captum_infidelity

    found = []
    for k, map_ in enumerate(maps):
        image, count = values[k : k + 1], len(squares)
        spread = torch.from_numpy(np.repeat(map_[None, None], image.shape[1], axis=1) / image.shape[1])

        def perturb(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            masks = torch.from_numpy(squares)[:, None].expand(-1, inputs.shape[1], -1, -1)
            return masks.double(), torch.where(masks, torch.zeros(()), inputs)

        value = captum_infidelity(
            forward, perturb, image, spread, n_perturb_samples=count, max_examples_per_batch=count, normalize=True
        )
        found.append(float(value[0] / np.square(changes_of(forward, image, squares)).mean()))
    return found


PEERS = {"captum": compare_captum}
