"""Training and exporting in models/minitaskonomy: a tiny network from rooms to an ONNX file, and when one is trained anew."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, r2_score

import onnxspace as ox
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.training import checkpoints, metrics, networks, onnx_export, process, scheduler, torch_trainer
from models.minitaskonomy.training.jobs import JOBS, MAIN_JOBS, SECOND_JOBS, Job, Settings
from models.minitaskonomy.training.process import LabelledImages, Order
from onnxspace.errors import ModelError
from onnxspace.model.encoder import find_encoder
from onnxspace.model.runtime import run
from tests.models.minitaskonomy.helpers import EARLIER

TINY = Settings(epochs=2, batch=32)


def rooms(job: Job, count: int = 64) -> LabelledImages:
    """Pictures of noise with labels of the task's shape."""
    rng, task = np.random.default_rng(count), job.task
    images = rng.integers(0, 256, (count, 3, 64, 64), np.uint8)
    if task.kind == "image":
        return LabelledImages(images, rng.standard_normal((count, task.channels, 64, 64), np.float32))
    if task.kind == "vector":
        return LabelledImages(images, rng.standard_normal((count, task.channels), np.float32))
    return LabelledImages(images, rng.integers(0, task.channels, (count, 64, 64) if task.kind == "pixel classes" else (count,)))


def order(work: Path, name: str = "depth", settings: Settings = TINY) -> Order:
    job = JOBS[name]
    return Order(job, settings, work, "cpu", checkpoints.describe_recipe(job, settings, {"train": "some rooms"}))


def make(one: Order) -> list[str]:
    said: list[str] = []
    process.train_and_store(one, torch_trainer.train, rooms(one.job), rooms(one.job, 20), said.append)
    return said


def test_there_is_a_network_for_every_task_and_a_second_group() -> None:
    assert [job.name for job in MAIN_JOBS] == list(TASKS)
    assert len(SECOND_JOBS) == 12
    assert {job.framework for job in SECOND_JOBS} == {"torch", "keras", "jax"}
    assert len({job.seed for job in JOBS.values()}) == len(JOBS)


@pytest.mark.parametrize("architecture", networks.ENCODERS)
def test_networks_answer_in_the_shape_of_the_label(architecture: str) -> None:
    for task in TASKS.values():
        net = networks.build_network(task.kind, task.channels, architecture).eval()
        x = torch.zeros(2, 3, 64, 64)
        assert net.encoder(x).shape == (2, 48, 8, 8)
        pixels = (64, 64) if task.kind in ("image", "pixel classes") else ()
        assert net(x).shape == (2, task.channels, *pixels)
        assert sum(weight.numel() for weight in net.parameters()) < 120_000


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, found = rng.standard_normal((2, 30, 3))
    assert metrics.r2(found, truth) == pytest.approx(r2_score(truth, found))
    maps = truth.reshape(3, 10, 3).transpose(0, 2, 1)[..., None], found.reshape(3, 10, 3).transpose(0, 2, 1)[..., None]
    assert metrics.r2(maps[1], maps[0]) == pytest.approx(r2_score(truth, found))
    assert metrics.r2(found[:, :1], np.ones((30, 1))) == 0.0
    classes, scores = rng.integers(0, 4, (6, 5)), rng.standard_normal((6, 4, 5))
    assert metrics.score("pixel classes", scores, classes) == accuracy_score(classes.ravel(), scores.argmax(1).ravel())
    assert metrics.score_chance("classes", np.array([0, 2, 2, 1])) == 0.5


def test_batches_are_each_image_once_in_an_order_of_their_own(tmp_path: Path) -> None:
    first, second = (process.draw_batches(70, order(tmp_path), epoch) for epoch in (0, 1))
    assert first.shape == (2, 32)
    assert len(set(first.ravel())) == 64
    assert first.tolist() == process.draw_batches(70, order(tmp_path), 0).tolist() != second.tolist()
    assert first.tolist() != process.draw_batches(70, order(tmp_path, "normals"), 0).tolist()


def test_the_rate_rises_and_falls_to_nothing() -> None:
    rates = np.array([process.compute_rate(step, 100, TINY) for step in range(100)])
    assert rates.argmax() in (9, 10)
    assert rates.max() == pytest.approx(TINY.rate)
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 1e-3 * TINY.rate


def test_a_network_is_trained_and_exported(tmp_path: Path) -> None:
    one = order(tmp_path)
    said = make(one)
    assert said[0].startswith("depth: epoch 1 of 2, loss ")
    found = checkpoints.find_checkpoint(tmp_path, one.job, one.recipe)
    assert found is not None
    assert len(found.record["losses"]) == 2
    target = tmp_path / "depth.onnx"
    onnx_export.export(one.job, found, target)
    model = ox.open_model(target)
    assert model.assumed == ()
    assert (model.preprocess.mean, model.preprocess.std, model.preprocess.layout) == ((0.5,) * 3, (0.5,) * 3, "NCHW")
    net = networks.build_network(one.job.task.kind, one.job.task.channels).eval()
    net.load_state_dict(load_file(found.weights))
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = net.encoder(x)
    encoder = find_encoder(model)
    values = run(model.network.with_outputs(encoder.tensors), {"image": x.numpy()})
    np.testing.assert_allclose(values[0], expected, atol=1e-4)
    text = target.read_bytes()
    assert str(tmp_path).encode() not in text
    assert len(text) < 450_000
    about = {entry.key: entry.value for entry in onnx.load(target).metadata_props}
    assert about["minitaskonomy.task"] == "depth"
    assert json.loads(about["minitaskonomy.settings"])["epochs"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth.onnx", "depth.onnxspace.toml", "trained"]


def test_the_same_network_is_trained_twice(tmp_path: Path) -> None:
    one = order(tmp_path, "object")
    records = []
    for _ in range(2):
        make(one)
        found = checkpoints.find_checkpoint(tmp_path, one.job, one.recipe)
        assert found is not None
        records.append({**found.record, "seconds": 0})
    assert records[0] == records[1]


def test_only_a_whole_network_of_this_recipe_counts_as_finished(tmp_path: Path) -> None:
    one = order(tmp_path, "object")
    make(one)
    path = checkpoints.locate_weights(tmp_path, one.job)
    assert checkpoints.find_checkpoint(tmp_path, one.job, one.recipe) is not None
    other = order(tmp_path, "object", replace(TINY, epochs=3))
    assert checkpoints.find_checkpoint(tmp_path, other.job, other.recipe) is None
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert checkpoints.find_checkpoint(tmp_path, one.job, one.recipe) is None
    path.write_bytes(whole)
    assert checkpoints.find_checkpoint(tmp_path, one.job, one.recipe) is not None
    (tmp_path / "trained" / "object.json").write_text("{")
    assert checkpoints.find_checkpoint(tmp_path, one.job, one.recipe) is None


def test_a_network_of_the_rooms_earlier_digest_counts_as_finished(tmp_path: Path) -> None:
    job = JOBS["object"]
    one = scheduler.make_order(job, TINY, tmp_path, "cpu")
    make(
        replace(
            one, recipe=checkpoints.describe_recipe(job, TINY, {split: EARLIER[split] for split in ("train", "validation")})
        )
    )
    assert checkpoints.find_checkpoint(tmp_path, job, one.recipe) is not None


def test_a_training_that_ends_early_leaves_nothing_finished(tmp_path: Path) -> None:
    one = order(tmp_path, "object")
    make(one)

    def interrupted(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.write_checkpoint(checkpoints.locate_weights(tmp_path, one.job), interrupted, {"recipe": one.recipe})
    assert checkpoints.find_checkpoint(tmp_path, one.job, one.recipe) is None


def test_only_what_is_lacking_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    jobs = [JOBS["object"], JOBS["scene"]]
    monkeypatch.setattr(scheduler, "_digest_rooms", lambda: {"train": "some rooms"})
    monkeypatch.setattr(scheduler, "_render_rooms", lambda _work, _device: None)
    monkeypatch.setattr(scheduler, "_train_one", lambda one, _python, _say: asked.append(one.job.name))
    make(order(tmp_path, "object"))
    assert scheduler.train_all(tmp_path, "cpu", jobs=jobs, settings=TINY) == ["object", "scene"]
    assert asked == ["scene"]
    scheduler.train_all(tmp_path, "cpu", jobs=jobs, settings=replace(TINY, rate=1e-3))
    assert sorted(asked) == ["object", "scene", "scene"]


def test_a_framework_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scheduler.PACKAGES, "keras", ("keras_of_nobody", "json"))
    monkeypatch.delitem(scheduler.PACKAGES, "jax")
    said: list[str] = []
    chosen = scheduler.select_available([JOBS["depth"], JOBS["depth-mobilenet"]], sys.executable, said.append)
    assert chosen == [JOBS["depth"]]
    assert said == [
        f"depth-mobilenet are left out: {sys.executable} has no keras_of_nobody. Name an interpreter that has as --python."
    ]
    with pytest.raises(ModelError, match="Name a Python interpreter"):
        scheduler.select_available([JOBS["depth-mobilenet"]], "/nowhere/python", said.append)


def test_a_training_that_fails_says_why(tmp_path: Path, warm_children: None) -> None:
    with pytest.raises(ModelError, match=r"The training of depth ended with code 1 \(FileNotFoundError"):
        scheduler._train_one(order(tmp_path), sys.executable, lambda _line: None)
