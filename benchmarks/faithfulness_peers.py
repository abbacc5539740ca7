"""Measures of faithfulness by captum and quantus beside those of the same maps here: `python -m benchmarks.faithfulness --peer NAME`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

import onnxspace as ox
from benchmarks.faithfulness import ROOT, draw_masks, draw_scenes
from onnxspace.evaluation.faithfulness.result import ModelFaithfulness
from onnxspace.inputs.faithfulness import FaithfulnessSettings
from onnxspace.inputs.methods import Method


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
    from onnxspace.attribution.faithfulness.neighbours import draw_neighbour

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


def compare_quantus() -> Iterator[str]:
    """Measures of the same maps by quantus's classes, with its options set to what is measured here."""
    yield "| network | map | measure | here | quantus | largest difference |"
    yield "|---|---|---|---|---|---|"
    for name in ("shapes-torch", "count-torch", "texture-torch"):
        case = QuantusCase(ROOT / "models" / f"{name}.onnx")
        for method in ("gradient-x-input", "saliency", "elrp"):
            for measure, own, peer in case.compare(method):
                gap = np.abs(np.subtract(own, peer)).max()
                yield f"| `{name}` | `{method}` | {measure} | {np.mean(own):.4f} | {np.mean(peer):.4f} | {gap:.1e} |"


class QuantusCase:
    """One classifier, eight scenes with their masks, and its graph for quantus."""

    STEPS, IMAGES, DRAWS = 16, 8, 3

    def __init__(self, path: Path) -> None:
        self.path, self.model = path, ox.open_model(path)
        drawn, _ = draw_scenes()
        self.probes = ox.Probes("some", drawn.images[: self.IMAGES])
        self.masks = draw_masks()[: self.IMAGES]
        self.values = self.model.preprocess(self.probes.images)
        self.graph = ox.to_torch(path).eval()
        with torch.no_grad():
            self.classes = self.graph(torch.from_numpy(self.values)).argmax(dim=1).numpy()

    def compare(self, method: Method) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        maps = ox.attribute(self.path, self.probes, method, device="cpu")
        own = self.measure(method)
        yield "deletion, each step", own.curves["deletion"][0][:, 1:], self.flip_pixels(np.abs(maps))
        if method == "saliency":
            yield "sensitivity", own.values["sensitivity"][0], self.measure_sensitivity()
        yield from self.compare_objects(own, np.abs(maps))
        yield from self.compare_similarities(maps)

    def measure(self, method: Method) -> ModelFaithfulness:
        settings = FaithfulnessSettings(
            ("deletion", "sensitivity", "pointing", "mass", "ranks"),
            steps=self.STEPS,
            deletion_baseline="black",
            draws=self.DRAWS,
        )
        found = ox.measure_faithfulness(
            self.path, self.probes, [method], settings=settings, masks=list(self.masks), device="cpu"
        )
        return found.models[0]

    def flip_pixels(self, maps: np.ndarray) -> np.ndarray:
        """Probabilities after each step by `PixelFlipping`, which has no point before the first one.

        Its features are single channels, but their number in a step must divide that of the pixels, so every third value is taken.
        """
        import quantus

        features = maps[0].size // self.STEPS
        metric = quantus.PixelFlipping(
            features_in_step=features, normalise=False, perturb_func=self.blacken, disable_warnings=True
        )
        found = metric(self.graph, self.values, self.classes, maps[:, None], softmax=True, device="cpu", channel_first=True)
        return np.array(found)[:, 2::3]

    def blacken(self, arr: np.ndarray, indices: np.ndarray, **_given: object) -> np.ndarray:
        """Flat images whose features at `indices`, [images, features], are those of black ones: a value for each channel."""
        black = self.model.preprocess(np.zeros_like(self.probes.images[:1])).reshape(1, -1).repeat(len(arr), axis=0)
        changed, rows = arr.copy(), np.arange(len(arr))[:, None]
        changed[rows, indices] = black[rows, indices]
        return changed

    def measure_sensitivity(self) -> np.ndarray:
        """The largest change of Torch's own gradients at the neighbours that are drawn here, by `MaxSensitivity`."""
        import quantus

        from onnxspace.attribution.faithfulness.neighbours import draw_neighbour

        settings, forward = FaithfulnessSettings(draws=self.DRAWS), follow_sum(self.path, self.model)

        def explain(model: object, inputs: np.ndarray, targets: object, **_given: object) -> np.ndarray:
            point = torch.as_tensor(inputs, dtype=torch.float32).requires_grad_(True)
            return torch.autograd.grad(forward(point).sum(), point)[0].abs().mean(dim=1, keepdim=True).numpy()

        found = []
        for image, values in zip(self.probes.images, self.values, strict=True):
            moved = iter([self.model.preprocess(draw_neighbour(image, settings, draw)[None]) for draw in range(self.DRAWS)])
            metric = quantus.MaxSensitivity(
                nr_samples=self.DRAWS, normalise=False, abs=False, perturb_func=lambda arr, moved=moved, **_given: next(moved),
                disable_warnings=True,
            )  # fmt: skip
            arguments = {"explain_func": explain, "device": "cpu", "channel_first": True}
            found += list(metric(self.graph, values[None], self.classes[:1], explain(None, values[None], None), **arguments))
        return np.array(found)

    def compare_objects(self, own: ModelFaithfulness, maps: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        import quantus

        given = {"normalise": False, "abs": False, "disable_warnings": True}
        classes = {
            "pointing": quantus.PointingGame,
            "mass": quantus.RelevanceMassAccuracy,
            "ranks": quantus.RelevanceRankAccuracy,
        }
        masks = np.stack(self.masks)[:, None]
        for name, metric in classes.items():
            peer = metric(**given)(
                self.graph, self.values, self.classes, maps[:, None], masks, channel_first=True, device="cpu"
            )
            yield name, own.values[name][0], np.array(peer, np.float64)

    def compare_similarities(self, maps: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Similarities of each map with the next image's, and entropies, by quantus's functions."""
        from quantus.functions.complexity_func import discrete_entropy
        from quantus.functions.similarity_func import correlation_spearman

        from onnxspace.evaluation.faithfulness.similarity import compare_maps, measure_entropy

        pairs = [(a.astype(np.float64), b.astype(np.float64)) for a, b in pairwise(maps)]
        own = [compare_maps(a, b) for a, b in pairs]
        yield (
            "Spearman, signed",
            np.array([one["signed"] for one in own]),
            np.array([correlation_spearman(a.ravel(), b.ravel()) for a, b in pairs]),
        )
        yield "SSIM", np.array([one["structure"] for one in own]), np.array([run_ssim(np.abs(a), np.abs(b)) for a, b in pairs])
        yield (
            "entropy",
            np.array([measure_entropy(a) for a, _ in pairs]),
            np.array([discrete_entropy(a, a[None]) for a, _ in pairs]),
        )


def run_ssim(one: np.ndarray, other: np.ndarray) -> float:
    """scikit-image's, which quantus calls with a window of 7 × 7 equal weights, with Wang's Gaussian window."""
    from skimage.metrics import structural_similarity

    a, b = (values / values.max() for values in (one, other))
    return float(
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, win_size=11)
    )


PEERS = {"captum": compare_captum, "quantus": compare_quantus}
