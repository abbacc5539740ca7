"""Made-up models for `benchmarks/space.py`: features and answers from factors that all images share, in families of 100 models.

An image has 40 factors. A family of models computes some of them, each model as far as it resembles its family, and what a target
answers depends on those of its family. Features have positions, 64 channels on 8 × 8, and are such that what is kept of a model in
very little can be computed for thousands of models at once, from a matrix of 64 × 24 numbers each; `make_reduced` makes the file
of 325 KB of one of them, from which `make_row` computes the same.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.probes import Probes
from onnxspace.scores.folds import FOLDS, assign_folds, hash_images, order_by_content
from onnxspace.scores.neighbours import NEIGHBOURS
from onnxspace.scores.pairs.readout import RIDGES
from onnxspace.scores.source_rows import row_type
from onnxspace.similarity.fingerprints.reduced import Reduced, pack
from onnxspace.spaces.schema import CatalogueEntry, Checksum, Part, identity_of, to_json

IMAGES, FACTORS, COLUMNS, CHANNELS, FAMILY = 64, 40, 24, 64, 100
Single = NDArray[np.float32]


class World:
    """The images' factors and order, and features and answers of any number of models, by their number."""

    def __init__(self, probes: Probes, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.seed, self.order = seed, order_by_content(hash_images(probes.images))
        self.factors = rng.standard_normal((IMAGES, FACTORS), dtype=np.float32)
        axes = np.linalg.qr(rng.standard_normal((CHANNELS, COLUMNS)))[0]
        self.axes = axes.T.astype(np.float32)  # of columns in channels, orthonormal
        self.rank = np.argsort(self.order, kind="stable")
        self.folds = assign_folds(self.order[self.rank], FOLDS)

    def make_family(self, family: int) -> Single:
        """Features of the models of a family: float32 [100, images, columns]."""
        rng = np.random.default_rng((self.seed, 1, family))
        mixing = self._mix(rng)
        near = rng.uniform(0.4, 0.98, (FAMILY, 1, 1)).astype(np.float32)
        own = rng.standard_normal((FAMILY, FACTORS, COLUMNS), dtype=np.float32) / np.sqrt(FACTORS)
        weights = np.sqrt(near) * mixing + np.sqrt(1 - near) * own
        noise = 0.3 * rng.standard_normal((FAMILY, IMAGES, COLUMNS), dtype=np.float32)
        found: Single = np.tanh(self.factors @ weights) + noise
        return found

    @staticmethod
    def _mix(rng: np.random.Generator) -> Single:
        """What a family computes: weights of the factors, of which some are strong."""
        strength = rng.gamma(0.3, size=(FACTORS, 1)).astype(np.float32)
        mixing = strength * rng.standard_normal((FACTORS, COLUMNS), dtype=np.float32)
        found: Single = mixing / np.linalg.norm(mixing, axis=0)
        return found

    def make_answers(self, model: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
        """Probabilities of 10 classes, and classes, of a model: those that its family computes."""
        family = model // FAMILY
        mixing = self._mix(np.random.default_rng((self.seed, 1, family)))
        rng = np.random.default_rng((self.seed, 2, model))
        logits = 3 * np.tanh(self.factors @ mixing) @ rng.standard_normal((COLUMNS, 10)) / np.sqrt(COLUMNS)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return (shares - shares.mean(axis=0)).astype(np.float16), shares.argmax(axis=1).astype(np.int32)

    def make_rows(self, features: Single) -> NDArray[np.void]:
        """The rows of many models at once, as `make_row` computes them: of `features` [models, images, columns]."""
        values = features[:, self.rank] - features.mean(axis=1, keepdims=True)
        gram = (values @ values.transpose(0, 2, 1)).astype(np.float64)
        found = np.zeros(len(values), row_type(IMAGES))
        found["near"] = self._find_near(gram)
        products = self._find_products(gram)
        first, second = np.triu_indices(IMAGES)
        pairs = np.where(first == second, 1.0, 2.0) * products[:, first, second]
        found["scale"] = np.abs(pairs).max(axis=1) / 127
        found["readout"] = np.rint(pairs / found["scale"][:, None])
        return found

    def _find_near(self, gram: NDArray[np.float64]) -> NDArray[np.intp]:
        lengths = np.diagonal(gram, axis1=1, axis2=2)
        distances = lengths[:, None, :] - 2 * gram
        distances[:, self.folds[:, None] == self.folds[None, :]] = np.inf
        near = np.sort(np.argpartition(distances, NEIGHBOURS - 1, axis=2)[..., :NEIGHBOURS], axis=2)
        order = np.argsort(np.take_along_axis(distances, near, 2), axis=2, kind="stable")
        return np.take_along_axis(near, order, 2)

    def _find_products(self, gram: NDArray[np.float64]) -> NDArray[np.float64]:
        residual = np.zeros_like(gram)
        for fold in range(FOLDS):
            own, others = np.flatnonzero(self.folds == fold), np.flatnonzero(self.folds != fold)
            means = gram[:, :, others].mean(axis=2)
            centred = gram - means[:, :, None] - means[:, None, :] + means[:, others].mean(axis=1)[:, None, None]
            known = centred[:, others][:, :, others]
            ridges = max(RIDGES) * np.trace(known, axis1=1, axis2=2) / (4 * CHANNELS)
            known += ridges[:, None, None] * np.eye(len(others))
            weights = np.linalg.solve(known, centred[:, others][:, :, own]).transpose(0, 2, 1)
            weights -= weights.mean(axis=2, keepdims=True)
            residual[:, own, own] = 1
            residual[:, own[:, None], others] = -1 / len(others) - weights
        found: NDArray[np.float64] = residual.transpose(0, 2, 1) @ residual
        return found

    def make_reduced(self, model: int, features: Single) -> Reduced:
        """What a space of pictures keeps of a model, its features [images, columns] on 64 channels and 8 × 8 positions."""
        rng = np.random.default_rng((self.seed, 3, model))
        grid = np.repeat((features @ self.axes)[:, :, None], 64, axis=2).reshape(IMAGES, CHANNELS, 2, 4, 2, 4)
        detail = 0.3 * rng.standard_normal(grid.shape, dtype=np.float32)
        detail -= detail.mean(axis=(3, 5), keepdims=True)
        values = (grid + detail).reshape(IMAGES, CHANNELS, 8, 8)
        scales = (np.abs(values).max(axis=(0, 2, 3)) / 127).astype(np.float32)
        levels = np.rint(values / scales[:, None, None]).astype(np.int8)
        answers, classes = self.make_answers(model)
        similarities = np.ones(IMAGES * (IMAGES + 1) // 2, np.float16)
        return Reduced("pictures", self.order, None, levels, scales, CHANNELS, similarities, answers, classes)


def list_entries(models: int, numbers: int) -> Iterator[CatalogueEntry]:
    """The catalogue's entries of models, whose fingerprints are rows of one sheet."""
    stem = "0" * 11 + "a"
    for number in range(models):
        sha = f"{number:064x}"
        yield CatalogueEntry(
            f"model-{number}", f"{stem}.{number}", identity_of(sha, "t", ""), sha, "", "t", "x", "", 17, "",
            Checksum(2 * IMAGES * numbers, "0" * 64), added=f"2026-01-01T00:00:{number:09}",
        )  # fmt: skip


def fill_catalogue(path: Path, models: int, numbers: int) -> None:
    """Enter models straight into the catalogue, without the files that they name."""
    from onnxspace.spaces.catalogue import _checksum

    def rows() -> Iterator[tuple[Any, ...]]:
        for one in list_entries(models, numbers):
            row = (one.name, one.stem, one.identity, one.content, to_json(one))
            yield (*row, _checksum(*row))

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO model (name, stem, identity, content, facts, sum) VALUES (?, ?, ?, ?, ?, ?)", rows())
    connection.execute("COMMIT")
    connection.close()


def write_pack(folder: Path, world: World, models: int, distinct: int) -> None:
    """Write the pack by use: `distinct` models, repeated under other names."""
    from onnxspace.spaces.layout import USE_KEYS, USE_ROWS
    from onnxspace.spaces.packs import make_key

    rows = np.concatenate([world.make_rows(world.make_family(family)) for family in range(-(-distinct // FAMILY))])[:distinct]
    contents = [row.tobytes() for row in rows]
    with (folder / USE_ROWS).open("wb") as out, (folder / USE_KEYS).open("wb") as keys:
        for number, entry in enumerate(list_entries(models, 64)):
            out.write(contents[number % distinct])
            keys.write(make_key(entry, contents[number % distinct], checked=True))


def write_reduced(folder: Path, world: World, entries: list[CatalogueEntry], distinct: int) -> None:
    """Write what is kept of some models, and enter it in the catalogue."""
    from onnxspace.spaces.catalogue import open_catalogue

    with open_catalogue(folder) as book, book.transaction(), (folder / "reduced/00000000000a.bin").open("ab") as out:
        for entry in entries:
            number = int(entry.name.partition("-")[2]) % distinct
            content = pack(world.make_reduced(number, world.make_family(number // FAMILY)[number % FAMILY]))
            part = Part(out.tell(), len(content), hashlib.sha256(content).hexdigest())
            out.write(content)
            book.move(entry, replace(entry, reduced=part))
