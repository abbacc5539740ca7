"""Rankings by fine-tuning: what they hold, work that is kept, models that fail, and the two ways to name what is learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.errors import ConfigError, ModelError
from onnxspace.evaluation.past_results import read_results
from onnxspace.finetuning.race import Rung
from onnxspace.inputs.photos import Photos
from onnxspace.workflows import finetuning_run
from onnxspace.workflows.finetune import make_task, rank_finetuned
from onnxspace.workflows.finetune_answers import rank_by_answers, to_targets
from tests.helpers.nets import Net, classifier, save
from tests.helpers.trainable import Normalised, draw_pictures, write_merged

pytestmark = pytest.mark.usefixtures("warm_children")
RUNGS = (Rung(1, 1.0), Rung(2, 0.5))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.workflows.finetune.RUNGS", RUNGS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 photos of two classes, which differ in brightness."""
    for number, image in enumerate(draw_pictures(24)):
        folder = tmp_path / "photos" / ("dark" if number % 2 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image // 3 if number % 2 else image).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    made = [save(classifier(seed=i), tmp_path / f"{'abc'[i]}.onnx") for i in range(3)]
    return [*made, write_merged(Normalised(), tmp_path / "merged.onnx")]


def test_a_ranking_holds_what_was_measured(photos: Path, models: list[Path], tmp_path: Path) -> None:
    found = rank_finetuned(models, photos, workers=1, folder=tmp_path / "kept")
    assert sorted(found.names) == ["a", "b", "c", "merged"]
    assert [m.place for m in found.models] == [1, 2, 3, 4]
    assert [m.epochs for m in found.models] == [2, 2, 1, 1]
    assert all(m.low <= m.result <= m.high and len(m.curve) == (2 if m.epochs == 2 else 1) for m in found.models)
    assert found.constant == 0.5
    values = [m.value for m in found.models]
    assert values == sorted(values, reverse=True)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["evidence"] == "finetuned"
    assert [row["source"] for row in document["ranking"]] == list(found.names)
    assert found.to_csv().splitlines()[0].startswith("model,place,bracket,value")
    again = rank_finetuned(models, photos, workers=2, folder=tmp_path / "other")
    strip = ("seconds",)
    for one, other in zip(found.models, again.models, strict=True):
        assert {k: v for k, v in one.to_dict().items() if k not in strip} == {
            k: v for k, v in other.to_dict().items() if k not in strip
        }


def test_finished_work_is_kept(photos: Path, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept"
    first = rank_finetuned(models[:2], photos, workers=1, folder=kept)
    runs = {file.name: file.stat().st_mtime_ns for file in kept.glob("run-*.json")}
    assert len(runs) == 5  # readouts of both, three stages
    asked: list[str] = []
    perform_all = finetuning_run.WorkerPool.perform_all

    def record(self: finetuning_run.WorkerPool, requests: list[dict[str, object]]) -> object:
        asked.extend(str(request["task"]) for request in requests)
        return perform_all(self, requests)

    monkeypatch.setattr(finetuning_run.WorkerPool, "perform_all", record)
    second = rank_finetuned(models[:2], photos, workers=1, folder=kept)
    assert asked == ["describe", "describe"]
    assert second.names == first.names
    assert {file.name: file.stat().st_mtime_ns for file in kept.glob("run-*.json")} == runs


def test_a_model_that_fails_changes_nothing_for_the_others(photos: Path, models: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    net = Net((1, 3, 16, 16))
    x = net.add("Concat", net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4)), net.weight(np.ones((1, 4, 16, 16))), axis=1)
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv(x, 8, 4))))
    single = save(net.model([net.dense(x, 4, 3)]), tmp_path / "single.onnx")
    found = rank_finetuned([*models[:2], bad, single], photos, workers=1)
    alone = rank_finetuned(models[:2], photos, workers=1)
    assert found.names == alone.names
    assert [m.result for m in found.models] == [m.result for m in alone.models]
    assert {Path(failure.path).name for failure in found.failed} == {"bad.onnx", "single.onnx"}


def test_the_winner_is_saved(photos: Path, models: list[Path], tmp_path: Path) -> None:
    found = rank_finetuned(models[:2], photos, workers=1, save=tmp_path / "winner.onnx")
    model = ox.open_model(tmp_path / "winner.onnx")
    assert not model.assumed or all("pixels" not in one for one in model.assumed)
    assert found.settings["saved"] == str(tmp_path / "winner.onnx")
    with pytest.raises(ModelError, match="was not written"):
        rank_finetuned([tmp_path / "none.onnx"], photos, workers=1, save=tmp_path / "other.onnx")


def test_folds_do_not_depend_on_names_of_files(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = make_task(Photos.open(photos), tmp_path / "one")
    before = np.load(first.decode(16))
    for number, path in enumerate(sorted(photos.rglob("*.png"), reverse=True)):
        path.rename(path.with_name(f"x{number:03}.png"))
    second = make_task(Photos.open(photos), tmp_path / "two")
    pixels = [before, np.load(second.decode(16))]
    by_content = [
        {image.tobytes(): int(fold) for image, fold in zip(images, task.folds, strict=True)}
        for images, task in zip(pixels, (first, second), strict=True)
    ]
    assert by_content[0] == by_content[1]
    assert np.bincount(first.folds).tolist() == [6, 6, 6, 6]


def test_readouts_of_frozen_networks(photos: Path, models: list[Path]) -> None:
    found = rank_finetuned(models, photos, workers=1, frozen=True)
    assert {m.runs for m in found.models} == {4}
    assert found.settings["frozen"] is True


def test_results_become_known(photos: Path, models: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "zoo.known"
    first = rank_finetuned(models[:3], photos, workers=1, known=file)
    assert {m.elsewhere for m in first.models} == {None}
    assert [one.source for one in sorted(read_results(file), key=lambda one: -one.value)] == list(first.names)
    again = rank_finetuned(models[:3], photos, workers=1, known=file)
    assert {m.elsewhere for m in again.models} == {None}, "results on the same images are no results elsewhere"
    assert len(read_results(file)) == 3
    (photos / "dark" / "1.png").unlink()
    other = rank_finetuned([*models[:2], save(classifier(seed=9), tmp_path / "new.onnx")], photos, workers=1, known=file)
    ranks = {m.record.name: m.elsewhere for m in other.models}
    assert ranks["a"] is not None
    assert ranks["b"] is not None
    assert ranks["new"] == pytest.approx(2.0), "the mean of its architecture"
    assert len(read_results(file)) == 6


def test_few_images_are_refused(tmp_path: Path, models: list[Path]) -> None:
    for number in range(4):
        folder = tmp_path / "few" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_pictures(1, number)[0]).save(folder / f"{number}.png")
    with pytest.raises(ConfigError, match="at least 8 images"):
        rank_finetuned(models, tmp_path / "few", workers=1)


def test_answers_of_a_target_are_learned(photos: Path, models: list[Path]) -> None:
    found = rank_by_answers("merged", models, photos, workers=1)
    assert sorted(found.names) == ["a", "b", "c"]
    assert found.data["target"] == "merged"
    with pytest.raises(ConfigError, match="only model"):
        rank_by_answers("merged", models[3:], photos, workers=1)


def test_targets_of_outputs() -> None:
    rng = np.random.default_rng(0)
    logits = 9.0 * np.eye(4)[rng.integers(0, 4, 30)]
    found = to_targets(logits)
    assert found.kind == "answers"
    np.testing.assert_allclose(found.values.sum(1), 1, atol=1e-6)
    numbers = to_targets(rng.normal(size=(30, 40)) * 1e-3)
    assert numbers.kind == "regression"
    assert numbers.outputs == 30
    np.testing.assert_allclose(numbers.values.std(0), 1, atol=1e-3)


def test_finetune_gives_the_network_back(photos: Path, models: list[Path], tmp_path: Path) -> None:
    network = ox.finetune(models[3], photos, seed=1)
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(photos.rglob("*.png"))])
    answers = network.predict(images)
    assert answers.shape == (24, 2)
    assert network.names == ("dark", "light")
    assert network.losses[-1] < network.losses[0]
    network.save(tmp_path / "tuned.onnx")
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "tuned.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: network.model.preprocess(images)})
    np.testing.assert_allclose(found, answers, rtol=1e-3, atol=1e-3)
