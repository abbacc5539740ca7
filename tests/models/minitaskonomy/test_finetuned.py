"""The oracle by fine-tuning: networks out of their files, one training, the table of all pairs."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.minitaskonomy.oracle import examples, finetuned, finetuning, originals, sampling
from models.minitaskonomy.oracle.finetuned import TARGETS, Settings
from models.minitaskonomy.oracle.finetuning import FineTuning
from models.minitaskonomy.oracle.readout import Budget
from models.minitaskonomy.oracle.sampling import Split
from models.minitaskonomy.rooms import dataset
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import MODELS
from onnxspace.errors import ModelError

DEPTH, OBJECT = TASKS["depth"], TASKS["object"]
FEW = FineTuning(Budget(steps=12, batch=8, looks=3))


def make_rooms(count: int, seed: int = 0) -> tuple[np.ndarray, dict[str, Tensor]]:
    """Pictures of coarse noise, with their brightness as depth, and whether they are bright as their class."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    depth = torch.from_numpy((images[..., 0] / 127.5 - 1).astype(np.float32)[:, None])
    labels = {"depth": depth, "object": (depth.mean((1, 2, 3)) > 0).long(), "normals": depth.repeat(1, 3, 1, 1)}
    return images, {name: examples.arrange_answers(TASKS[name], values) for name, values in labels.items()}


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    images, _ = make_rooms(40)
    return originals.load_original(MODELS / "depth.onnx", finetuning.to_network(images))


class TestOriginals:
    def test_network_is_that_of_its_file(self, encoder: nn.Module) -> None:
        images, _ = make_rooms(8, seed=1)
        assert originals.compare_with_file(encoder, MODELS / "depth.onnx", images) < 1e-5

    def test_normalisation_has_the_moments_of_the_pictures(self, encoder: nn.Module) -> None:
        pictures = finetuning.to_network(make_rooms(40)[0])
        with torch.no_grad():
            first = next(conv for _, conv, _ in originals.list_normalised(encoder))(pictures)
        norm = next(norm for _, _, norm in originals.list_normalised(encoder))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        torch.testing.assert_close(norm.running_mean, first.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, first.var((0, 2, 3)), rtol=1e-4, atol=1e-5)

    def test_weights_have_the_lengths_of_trained_ones(self, encoder: nn.Module) -> None:
        assert originals.measure_lengths(encoder) == pytest.approx(originals.LENGTHS, rel=1e-4)

    def test_in_training_mode_the_function_stays_on_these_pictures(self, encoder: nn.Module) -> None:
        pictures = finetuning.to_network(make_rooms(40)[0])
        with torch.no_grad():
            wanted = encoder.eval()(pictures)
            found = encoder.train()(pictures)
        encoder.eval()
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)

    def test_another_architecture_is_refused(self) -> None:
        with pytest.raises(ModelError, match=r"depth-convnext\.onnx: has no weights"):
            originals.load_original(MODELS / "depth-convnext.onnx", torch.zeros(1, 3, 64, 64))


class TestFineTuning:
    def test_it_learns_and_leaves_the_network_as_it_was(self, encoder: nn.Module) -> None:
        before = [value.clone() for value in encoder.state_dict().values()]
        few, test = ((images, labels["depth"]) for images, labels in (make_rooms(60), make_rooms(20, seed=1)))
        lost = [finetuning.measure_loss(encoder, DEPTH, few, test, 0, FEW) for _ in range(2)]
        assert lost[0] == lost[1] < 0.9
        assert lost[0] != finetuning.measure_loss(encoder, DEPTH, few, test, 1, FEW)
        assert all(torch.equal(old, new) for old, new in zip(before, encoder.state_dict().values(), strict=True))

    def test_every_layer_is_trained(self, encoder: nn.Module) -> None:
        images, labels = make_rooms(60)
        best = finetuning.train(encoder, DEPTH, (images, labels["depth"]), 0, FEW)
        for (_, old, was), (_, new, now) in zip(*map(originals.list_normalised, (encoder, best.encoder)), strict=True):
            assert not torch.equal(old.weight, new.weight)
            assert not torch.equal(was.weight, now.weight)

    def test_labels_of_the_last_fifth_are_not_learnt_from(self, encoder: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
        better = itertools.count(0, -1)
        monkeypatch.setattr(finetuning, "_judge", lambda *_: next(better))
        images, labels = make_rooms(60)
        other = labels["depth"].clone()
        other[48:] = other[48:].flip(0)
        how = FineTuning(Budget(steps=3, batch=8, looks=1))
        found = [finetuning.train(encoder, DEPTH, (images, truth), 0, how).readout for truth in (labels["depth"], other)]
        assert torch.equal(found[0].first, found[1].first)

    def test_what_learns_nothing_says_what_is_said_without_looking(self, encoder: nn.Module) -> None:
        images, labels = make_rooms(30)
        noise = labels["object"][torch.randperm(30, generator=torch.Generator().manual_seed(0))]
        still = FineTuning(Budget(steps=2, batch=8, looks=1, rate=0.0), rate=0.0)
        lost = finetuning.measure_loss(encoder, OBJECT, (images, noise), (images, noise), 0, still)
        assert lost == pytest.approx(1.0, abs=0.05)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two networks; rooms are pictures of coarse noise."""

    def load(_work: Path, split: str, targets: tuple[str, ...], rows: tuple[int, ...] | None) -> Split:
        images, labels = make_rooms(12 if rows is None else len(rows), seed=len(split))
        return Split({"picture": images}, {name: labels[name] for name in targets})

    monkeypatch.setitem(dataset.SPLITS, "transfer", (3, 60))
    monkeypatch.setattr(finetuned, "load_split", load)
    monkeypatch.setattr(finetuned, "_render_rooms", lambda _work: {})
    monkeypatch.setattr(finetuned, "STATISTICS", 20)
    for name in ("depth", "normals"):
        for end in ("onnx", "onnxspace.toml"):
            shutil.copy(MODELS / f"{name}.{end}", tmp_path)
    return tmp_path


SETTINGS = Settings(seeds=2, labelled=20, images=30, how=FineTuning(Budget(steps=2, batch=8, looks=1)))


def measure(folder: Path, settings: Settings = SETTINGS) -> bytes:
    file = finetuned.measure(
        folder / "work", folder, settings=settings, targets=("depth", "object"), workers=1, say=lambda _line: None
    )
    return file.read_bytes()


class TestTable:
    def test_every_pair_but_a_targets_own(self, small: Path) -> None:
        rows = list(csv.DictReader(measure(small).decode().splitlines()))
        assert [(row["target"], row["source"], row["seed"]) for row in rows] == [
            (*pair, seed) for pair in (("depth", "normals"), ("object", "depth"), ("object", "normals")) for seed in "01"
        ]
        assert all(0 < float(row["loss"]) < 1.5 for row in rows)

    def test_what_is_kept_is_not_measured_again(self, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[int] = []
        real = finetuning.measure_loss
        monkeypatch.setattr(finetuning, "measure_loss", lambda *rest: made.append(1) or real(*rest))
        first = measure(small)
        assert measure(small) == first
        assert len(made) == 6
        torn = small / "work" / "finetuned" / "object-depth-1.npz"
        torn.write_bytes(torn.read_bytes()[:100])
        assert measure(small) == first
        assert len(made) == 7
        measure(small, Settings(seeds=2, labelled=21, images=30, how=SETTINGS.how))
        assert len(made) == 13

    def test_a_network_that_differs_from_its_file_is_refused(self, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(originals, "compare_with_file", lambda *_: 0.5)
        with pytest.raises(ModelError, match=r"depth\.onnx.*differ by 5\.0e-01"):
            measure(small / ".." / small.name)  # another path, so that no source is remembered

    def test_committed_table_is_that_of_its_manifest_and_of_the_files(self) -> None:
        said = json.loads((MODELS / "finetuned.json").read_text())
        assert said["settings"] == json.loads(json.dumps(asdict(Settings())))
        assert (said["targets"], said["lengths"]) == (list(TARGETS), originals.LENGTHS)
        assert said["rooms"] == {split: dataset.digest_split(split) for split in ("train", "transfer", "test")}
        for name, digest in said["sources"].items():
            assert hashlib.sha256((MODELS / f"{name}.onnx").read_bytes()).hexdigest() == digest
        assert set(said["sources"]) == set(TASKS)
        with (MODELS / "finetuned.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        wanted = [(t, s, str(n)) for t in TARGETS for s in TASKS if s != t for n in range(said["settings"]["seeds"])]
        assert [(row["target"], row["source"], row["seed"]) for row in rows] == wanted
        assert all(0 < float(row["loss"]) < 1.2 for row in rows)
        assert not any(TASKS[target].kind == "vector" for target in TARGETS)
        assert sampling.is_dense(TASKS["semantic"])
