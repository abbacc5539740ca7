"""The second group of models/minitaskonomy: trained in Keras and in JAX, and exported with the encoder of every other network."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxspace as ox
from models.minitaskonomy.oracle import transfers
from models.minitaskonomy.training import checkpoints, onnx_export, process
from models.minitaskonomy.training.jobs import JOBS, Settings
from models.minitaskonomy.training.process import LabelledImages, Order
from models.minitaskonomy.zoo import Entry

pytestmark = pytest.mark.frameworks


@pytest.mark.parametrize("name", ["depth-mobilenet", "semantic-vit"])
def test_a_network_of_another_framework_is_trained_and_exported(name: str, tmp_path: Path) -> None:
    job, settings, rng = JOBS[name], Settings(epochs=1, batch=16), np.random.default_rng(0)
    images = rng.integers(0, 256, (32, 3, 64, 64), np.uint8)
    numbers = job.task.kind == "image"
    labels = rng.standard_normal((32, 1, 64, 64), np.float32) if numbers else rng.integers(0, job.task.channels, (32, 64, 64))
    one = Order(job, settings, tmp_path, "cpu", checkpoints.describe_recipe(job, settings, {}))
    train = importlib.import_module(f"models.minitaskonomy.training.{job.framework}_trainer").train
    process.train_and_store(
        one, train, LabelledImages(images, labels), LabelledImages(images[:8], labels[:8]), lambda _line: None
    )
    found = checkpoints.find_checkpoint(tmp_path, job, one.recipe)
    assert found is not None
    target = tmp_path / f"{name}.onnx"
    onnx_export.export(job, found, target, sys.executable)
    assert target.stat().st_size < 290_000
    assert ox.open_model(target).assumed == ()
    entry = Entry(name, job.task.name, job.architecture, target)
    assert transfers.compute_features(entry, images.transpose(0, 2, 3, 1)[:5]).shape == (5, 48, 8, 8)
