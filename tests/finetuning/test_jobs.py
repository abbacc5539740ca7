"""Jobs: runs that go on from checkpoints, readouts, and fine-tuned networks as ONNX files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from onnxspace.errors import ConfigError, ModelError
from onnxspace.finetuning.jobs import ModelFile, Run, advance_run, build_trainee, fit, perform, resolve_device, save_run
from onnxspace.finetuning.readout import RIDGE, fit_readout, judge_readouts
from onnxspace.finetuning.schedule import Schedule
from onnxspace.finetuning.targets import Targets
from onnxspace.inputs.config import ModelOptions
from onnxspace.model.model import open_model
from tests.helpers.nets import Net, classifier, save
from tests.helpers.trainable import Normalised, draw_pictures, write_merged

Images = NDArray[np.uint8]


def _make_task() -> tuple[Images, NDArray[np.intp]]:
    """Pictures of two classes, which differ in brightness."""
    images = draw_pictures(48)
    labels = np.arange(48) % 2
    images[labels == 1] //= 3
    return images, labels


def _make_run(folder: Path, path: Path, **options: object) -> Run:
    images, labels = _make_task()
    np.save(folder / "images.npy", images)
    np.savez(folder / "task.npz", values=np.eye(2, dtype=np.float32)[labels], folds=np.arange(48) // 2 % 4)
    model = ModelFile.describe(path, None, ModelOptions())
    files = str(folder / "images.npy"), str(folder / "task.npz")
    run = Run(
        model,
        *files,
        "classes",
        0,
        0,
        Schedule(epochs=6, batch=8, rate=2e-2, head_rate=2e-2),
        str(folder / "state"),
        device="cpu",
    )
    return replace(run, **options)  # type: ignore[arg-type]


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    run = _make_run(tmp_path, write_merged(Normalised(), tmp_path / "net.onnx"))
    whole = advance_run(run, 0, 6)
    first, second = advance_run(run, 0, 2), advance_run(run, 2, 6)
    assert first["losses"] + second["losses"] == pytest.approx(whole["losses"], abs=1e-6)
    assert second["judged"] == pytest.approx(whole["judged"], abs=1e-5)
    assert list(tmp_path.glob("state*")) == []
    assert np.mean(whole["results"]) > 0.8
    assert len(whole["results"]) == 12


def test_a_lost_checkpoint_costs_time_only(tmp_path: Path) -> None:
    run = _make_run(tmp_path, save(classifier(), tmp_path / "net.onnx"))
    advance_run(run, 0, 2)
    for file in tmp_path.glob("state*"):
        file.unlink()
    again = advance_run(run, 2, 6)
    assert len(again["losses"]) == 6
    assert again["judged"] == advance_run(run, 0, 6)["judged"]


def test_the_seed_decides(tmp_path: Path) -> None:
    run = _make_run(tmp_path, save(classifier(), tmp_path / "net.onnx"))
    assert advance_run(run, 0, 6)["losses"] == advance_run(run, 0, 6)["losses"]
    assert advance_run(replace(run, seed=1), 0, 6)["losses"] != advance_run(run, 0, 6)["losses"]


def test_labels_of_held_out_images_are_not_learned_from(tmp_path: Path) -> None:
    run = _make_run(tmp_path, save(classifier(), tmp_path / "net.onnx"))
    before = advance_run(run, 0, 6)["losses"]
    _, labels = _make_task()
    folds = np.arange(48) // 2 % 4
    turned = np.where(folds == 0, 1 - labels, labels)
    np.savez(tmp_path / "task.npz", values=np.eye(2, dtype=np.float32)[turned], folds=folds)
    assert advance_run(run, 0, 6)["losses"] == before


def test_a_readout_is_logistic_regression(tmp_path: Path) -> None:
    run = _make_run(tmp_path, save(classifier(units=6), tmp_path / "net.onnx"), frozen=True)
    _, labels = _make_task()
    trainee = build_trainee(run, 2)
    targets, rows = Targets("classes", np.eye(2, dtype=np.float32)[labels]), np.arange(48)
    before = [p.detach().clone() for p in trainee.graph.parameters()]
    fit_readout(trainee, targets, rows)
    features = trainee.features(rows).numpy().astype(np.float64)
    standard = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    # two rows of weights ±w/2 with ridge: one row w with half of it
    peer = LogisticRegression(C=1 / (RIDGE * len(rows)), max_iter=1000).fit(standard, labels)
    expected = peer.predict_proba(standard)
    logits = trainee.answer(rows)
    found = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert all(bool((a == b).all()) for a, b in zip(before, trainee.graph.parameters(), strict=True))


def test_readouts_are_judged_on_images_that_they_have_not_seen(tmp_path: Path) -> None:
    run = _make_run(tmp_path, save(classifier(units=6), tmp_path / "net.onnx"), frozen=True)
    _, labels = _make_task()
    targets, folds = Targets("classes", np.eye(2, dtype=np.float32)[labels]), np.arange(48) // 2 % 4
    found = judge_readouts(build_trainee(run, 2), targets, folds)
    for fold in range(4):
        trainee = build_trainee(run, 2)
        fit_readout(trainee, targets, np.flatnonzero(folds != fold))
        held = np.flatnonzero(folds == fold)
        assert found[held].tolist() == (trainee.answer(held).argmax(1) == labels[held]).tolist()


@pytest.mark.parametrize("kind", ["merged", "plain", "sequence"])
def test_a_saved_network_answers_as_the_trained_one(tmp_path: Path, kind: str) -> None:
    if kind == "sequence":
        net = Net()
        x = net.add("Reshape", net.conv("image", 3, 8, 4, strides=[4, 4]), net.weight(np.array([0, 8, 16])))
        x = net.add("Relu", net.add("MatMul", net.add("Transpose", x, perm=[0, 2, 1]), net.random(8, 8)))
        path = save(net.model([net.add("MatMul", x, net.random(8, 3))]), tmp_path / "net.onnx")
    else:
        path = tmp_path / "net.onnx"
        write_merged(Normalised(), path) if kind == "merged" else save(classifier(), path)
    run = replace(_make_run(tmp_path, path), fold=-1)
    saved = tmp_path / "saved.onnx"
    save_run(run, ("dark", "light"), str(saved))
    images, labels = _make_task()
    trainee = build_trainee(run, 2)
    fit(trainee, Targets("classes", np.eye(2, dtype=np.float32)[labels]), run.schedule, run.seed)
    model = open_model(saved)
    onnx.checker.check_model(str(saved))
    session = onnxruntime.InferenceSession(str(saved), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: model.preprocess(images)})
    np.testing.assert_allclose(found, trainee.answer(np.arange(48)), rtol=1e-3, atol=1e-3)
    assert (found.argmax(1) == labels).mean() > 0.8
    assert json.loads({p.key: p.value for p in onnx.load(saved).metadata_props}["names"]) == ["dark", "light"]


@pytest.mark.parametrize("kind", ["regression", "multilabel", "answers"])
def test_other_targets_are_learned(tmp_path: Path, kind: str) -> None:
    run = _make_run(tmp_path, write_merged(Normalised(), tmp_path / "net.onnx"))
    _, labels = _make_task()
    values = {
        "regression": (2.0 * labels - 1)[:, None],
        "multilabel": np.stack([labels, 1 - labels], 1),
        "answers": np.stack([0.9 * labels + 0.05, 0.95 - 0.9 * labels], 1),
    }[kind]
    np.savez(tmp_path / "task.npz", values=values.astype(np.float32), folds=np.arange(48) // 2 % 4)
    found = advance_run(replace(run, kind=kind, schedule=Schedule(epochs=12, batch=8, rate=2e-2, head_rate=2e-2)), 0, 12)  # type: ignore[arg-type]
    assert np.mean(found["results"]) > 0.6
    assert found["losses"][-1] < found["losses"][0]


def test_a_fixed_batch_is_refused_in_a_sentence(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = net.add("Concat", x, net.weight(np.ones((1, 4, 16, 16))), axis=1)
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv(x, 8, 4))))
    run = _make_run(tmp_path, save(net.model([net.dense(x, 4, 3)]), tmp_path / "net.onnx"))
    with pytest.raises(ModelError, match="takes one image at a time, so it can't be trained"):
        advance_run(run, 0, 1)


def test_devices() -> None:
    import torch

    if torch.cuda.is_available():
        assert resolve_device("cuda").type == resolve_device("auto").type == "cuda"
    else:
        assert resolve_device("auto").type == "cpu"
        with pytest.raises(ConfigError, match="no CUDA device"):
            resolve_device("cuda")


def test_requests_are_plain_json(tmp_path: Path) -> None:
    run = _make_run(tmp_path, save(classifier(), tmp_path / "net.onnx"))
    request = json.loads(json.dumps({"task": "advance", "run": asdict(run), "first": 0, "last": 1}))
    assert json.loads(json.dumps(perform(request)))["losses"] == advance_run(run, 0, 1)["losses"]
    assert perform({"task": "describe", "model": asdict(run.model)})["width"] == 16
    assert perform({"task": "time", "run": asdict(run)})["seconds"] > 0
    answer = {"task": "answer", "model": asdict(run.model), "images": run.images, "file": str(tmp_path / "a.npy")}
    assert perform(answer) == {"images": 48}
    assert np.load(tmp_path / "a.npy").shape == (48, 3)
