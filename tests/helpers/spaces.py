"""Spaces of made-up maps, entered below the part that needs Torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.content import hash_images, order_by_content
from onnxspace.inputs.probes import Probes
from onnxspace.similarity.fingerprints.count_sketch import project
from onnxspace.similarity.fingerprints.reduced import Reduced, pack
from onnxspace.spaces.insert import NO_STEM, NO_SUM, insert_model, insert_sheet
from onnxspace.spaces.schema import CatalogueEntry, identity_of
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import write_array, write_file
from onnxspace.storage.map_file import to_unit_maps
from onnxspace.workflows.space import Space

IMAGES, SIZE = 3, 6


def probes(images: int = IMAGES, size: int = SIZE, seed: int = 0) -> Probes:
    pixels = np.random.default_rng(seed).integers(0, 256, (images, size, size, 3), np.uint8)
    return Probes(f"noise-{seed}", pixels)


def space(place: Path, *, keep_maps: bool = True) -> Space:
    return Space.create(place, probes(), keep_maps=keep_maps)


def maps(number: int) -> NDArray[np.float16]:
    """Unit maps of model `number`, which all have something in common."""
    shared, own = np.random.default_rng(99), np.random.default_rng(number)
    return to_unit_maps(shared.standard_normal((IMAGES, SIZE**2)) + own.standard_normal((IMAGES, SIZE**2)))[0]


def reduced(number: int) -> Reduced:
    """Features of model `number` in little."""
    rng = np.random.default_rng(number)
    levels = rng.integers(-127, 128, (IMAGES, 2, 8, 8)).astype(np.int8)
    similarities = rng.standard_normal(IMAGES * (IMAGES + 1) // 2).astype(np.float16)
    return Reduced(
        "pictures", order_by_content(hash_images(probes().images)), None, levels, np.ones(2, np.float32), 2, similarities
    )


def with_answers(number: int) -> Reduced:
    """Features and outputs of model `number` in little."""
    answers = np.random.default_rng(number).standard_normal((IMAGES, 2)).astype(np.float16)
    return replace(reduced(number), answers=answers, classes=np.arange(IMAGES, dtype=np.int32))


def draft(number: int, *, feed: str = "as it is") -> CatalogueEntry:
    sha = f"{number:064x}"
    facts = json.dumps(feed) if feed else ""
    return CatalogueEntry(
        f"model-{number}", NO_STEM, identity_of(sha, "t", facts), sha, f"zoo/{number}.onnx", "t", "x", facts, 17, "test", NO_SUM
    )


def insert(home: Path, number: int, *, whole: bool = True) -> tuple[CatalogueEntry, bool]:
    """Enter model `number`, with its maps or as a fingerprint only."""
    found = maps(number)
    with open_workbench(home) as bench:
        write_array(bench / "maps.npy", found)
        write_array(bench / "prints.npy", project(found).astype("<f2"))
        one = draft(number) if whole else draft(number, feed="")
        write_file(bench / "reduced.bin", pack(reduced(number)))
        return insert_model(home, one, bench / "prints.npy", bench / "maps.npy" if whole else None, bench / "reduced.bin")


def insert_many(home: Path, numbers: list[int]) -> list[tuple[CatalogueEntry, bool]]:
    """Enter models as fingerprints, in one sheet."""
    prints = [project(maps(number)).astype("<f2") for number in numbers]
    parts = [pack(reduced(number)) for number in numbers]
    return insert_sheet(home, [draft(number, feed="") for number in numbers], prints, parts)


def double_loop(numbers: list[int]) -> NDArray[np.float64]:
    """Affinities image by image, in float64."""
    rows = [maps(number).astype(np.float64) for number in numbers]
    rows = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in rows]
    return np.array([[float((a * b).sum(axis=1).mean()) for b in rows] for a in rows]).reshape(len(rows), len(rows))
