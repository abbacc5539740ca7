"""A comparison in this process, which is faster than in a worker."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx

import onnxspace as ox
from onnxspace.differences import run
from onnxspace.differences.child.tasks import TASKS
from onnxspace.differences.result import ModelDiff
from onnxspace.inputs.stated_pixels import resolve_config
from onnxspace.workflows.requests import locate_model
from tests.helpers.diff_pairs import SIZE


def compare_directly(old: onnx.ModelProto, new: onnx.ModelProto, folder: Path) -> ModelDiff:
    """What changed between two models, on two generated images."""
    probes, paths = ox.Probes.generate(2, SIZE), [folder / "old.onnx", folder / "new.onnx"]
    for path, model in zip(paths, (old, new), strict=True):
        onnx.save(model, path)
    np.save(folder / "images.npy", probes.images)
    config = resolve_config(None, paths, "symmetric")
    first, second = (asdict(locate_model(path, path.stem, None, config)) for path in paths)
    request = {"model": first, "other": second, "images": str(folder / "images.npy")}
    return run._read_answer(TASKS["diff"](request, lambda _: None), paths, probes)
