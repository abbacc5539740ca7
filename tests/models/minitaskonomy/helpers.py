"""Zoos, oracles and scores that are made up, for the tests of the study."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from models.minitaskonomy.study import (
    jobs,
)
from models.minitaskonomy.study.evaluation import MEASURES, Oracle
from models.minitaskonomy.study.score_matrix import Score
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import Entry, Zoo
from onnxspace.inputs.probes import Probes
from tests.helpers import nets

TAU, P3 = MEASURES.index("tau"), MEASURES.index("P@3")
Values = NDArray[np.float64]
#: Digests of the splits by the rule that counted imports, under Python 3.11, 3.12, and 3.13 or later.
EARLIER = {
    split: digests[min(sys.version_info.minor, 13) - 11]
    for split, digests in {
        "train": (
            "f8f375dcd95e531587b076c194a805a1de9cea7fe5969bdb4c7e8ead6dc3ccf7",
            "a95bf5cf216a5a5c77b63ce445e3d60593b4df280d67eaecbf8b3a9a2a729a14",
            "d75c10b99302cde1adb26252bd7a6e83018b7242c9bbc48e041b31e493653813",
        ),
        "validation": (
            "fca60e8677dec94ae7f1a48c2498839697e9e51acf6d9758f42bf3ae68de39c9",
            "28d632c4be9dd57dc2c01e048bc821930f002d25fe5f2c0d25215fc62187bf14",
            "b71cce01fce562279d55e9ad4ad48461686e946726bb92dd60d7dab78cf238c6",
        ),
        "transfer": (
            "c67821400fada9185051a7a781f4062ff5d50a72c75f3de02b9a05ae66fe5f76",
            "33ba39703515019246b249e06bfcbd339a529e776b50e81ac1c2402cb8c78fbc",
            "311cba2848663d0612d6b839b5eabe615212078cdba11d48a72fb955fb616130",
        ),
        "test": (
            "2c49b9cec6302cf7b2854ffb459c57d911f68b02cfdee68fc8eb449a9212576b",
            "f62f590b12b91a6b0d4442ef176fe09f3b96196951b15c53d3a737eb1844e247",
            "8405bdd0c6e80b0d2d34fc8015e4a604352494f6fb19d16ca8a7575b30200f14",
        ),
        "probes": (
            "0d2242c5158011945bf3dd248e8e331997ff77cf80f0fea0bc7d9894fe24073b",
            "6f797ba067717fe6ff65bffeda10ea0d549f69e0ea42108381dfcd6c699d438c",
            "80fc1e523b8f8b2c1f68c0c685366d43752f05ca7618f9250c2d6defb6328b4b",
        ),
    }.items()
}


def make_zoo(folder: Path, tasks: Sequence[str] = tuple(TASKS), others: Sequence[str] = ()) -> Zoo:
    """Names without files behind them."""
    names = [*tasks, *others]
    parts = [(name, *name.partition("-")[::2]) for name in names]
    return Zoo([Entry(name, task, made or "residual", folder / f"{name}.onnx") for name, task, made in parts], folder / "study")


def make_oracle(zoo: Zoo, rng: np.random.Generator, seeds: int = 4, noise: float = 0.05) -> Oracle:
    values = rng.random((len(zoo.targets), len(zoo.names))) + noise * rng.standard_normal(
        (seeds, len(zoo.targets), len(zoo.names))
    )
    values[:, np.arange(len(zoo.targets)), np.flatnonzero(zoo.main)] = np.nan
    return Oracle(tuple(zoo.targets), tuple(zoo.names), values)


def write_oracle(oracle: Oracle, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["target", "source", "seed", "loss"])
        for seed, table in enumerate(oracle.values):
            for target, row in zip(oracle.targets, table, strict=True):
                for source, value in zip(oracle.sources, row, strict=True):
                    writer.writerow([target, source, seed, 0.0 if np.isnan(value) else 1 - value])


def make_score(
    values: Values, name: str = "s", kind: Any = "maps", options: str = "", probe: str = "rooms", images: int = 64
) -> Score:
    return Score(kind, name, options, probe, images, values)


def write_tiny_zoo(folder: Path, tasks: Sequence[str] = ("depth", "normals", "object")) -> None:
    """Networks of one convolution and a global mean."""
    for seed, name in enumerate(tasks):
        nodes = [
            helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1], strides=[8, 8]),
            helper.make_node("Relu", ["c"], ["features"]),
            helper.make_node("Conv", ["features", "v"], ["out"]),
        ]
        weights = [nets.weight("w", 4, 3, 3, 3, seed=seed), nets.weight("v", 2, 4, 1, 1, seed=seed)]
        nets.save(nets.model(nodes, weights, [nets.image(size=64)], [nets.value("out", None)]), folder / f"{name}.onnx")


class Pictures:
    """As much of a rendered split as the study asks for."""

    def images(self) -> NDArray[np.uint8]:
        return Probes.generate(4, 64, 1).images


def make_scores(zoo: Zoo, oracle: Oracle, rng: np.random.Generator) -> list[Score]:
    """Scores of every kind, better and worse."""

    def near(noise: float) -> Values:
        values = oracle.mean[:, zoo.main] + noise * rng.standard_normal((20, 20))
        values = np.clip((values + values.T) / 2, -1, 1)
        wide = np.pad(values, ((0, 0), (0, len(zoo.names) - 20)), constant_values=0.3)
        np.fill_diagonal(wide, np.nan)
        return wide

    some = [make_score(near(1.0), jobs.AFFINITY, probe="generated, 224 px")]
    for numbers in (4, 16):
        some.append(
            make_score(
                some[0].values + rng.standard_normal((20, len(zoo.names))) / numbers, "fingerprint", options=str(numbers)
            )
        )
    for probe in ("rooms", "generated"):
        for images in (16, 512):
            some += [
                make_score(near(1.0), name, probe=probe, images=images) for name in ("elrp", "gradient-x-input", "saliency")
            ]
            some += [make_score(near(0.4), name, "features", probe=probe, images=images) for name in ("rsa", "cka", "dds")]
            some += [make_score(near(0.5), "depara", "both", f"λ {weight:g}", probe, images) for weight in (0.03, 0.25, 1.0)]
            some += [make_score(near(0.05), "predictivity", "prediction", "", probe, images)]
    some += [make_score(near(0.3), jobs.DEFAULT, "prediction", probe="generated, 224 px")]
    some += [make_score(near(0.1), "linear_probe", "labels", probe="transfer", images=200)]
    half = near(0.1)
    half[:10] = np.nan
    return [*some, make_score(half, "sfda", "labels", probe="transfer", images=200)]
