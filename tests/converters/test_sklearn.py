"""Pipelines of scikit-learn: the same outputs, the same maps as its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxspace.exporters import Request, run
from tests.helpers import sklearnnets
from tests.helpers.framework_files import agree
from tests.helpers.slopes import along

pytestmark = pytest.mark.frameworks

SKLEARN = ["network", "logistic", "ridge", "two_classes", "decisions", "regression", "discriminant"]


@pytest.mark.parametrize("name", SKLEARN)
def test_pipelines_of_scikit_learn_give_its_outputs(name: str, tmp_path: Path) -> None:
    from onnxspace_converters.from_sklearn import _run_pipeline, pipeline_steps

    made, target = getattr(sklearnnets, name)(), tmp_path / "out.onnx"
    run(f"tests.helpers.sklearnnets:{name}", target, Request(input=sklearnnets.SHAPE))
    agree(target, lambda x: _run_pipeline(made, list(pipeline_steps(made)), x), sklearnnets.SHAPE)
    assert {node.domain for node in onnx.load(target).graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize("name", ["network", "ridge", "two_classes", "regression", "discriminant"])
def test_maps_of_scikit_learn_follow_its_slopes(name: str, tmp_path: Path) -> None:
    made, target = getattr(sklearnnets, name)(), tmp_path / "out.onnx"
    facts = run(f"tests.helpers.sklearnnets:{name}", target, Request(input=sklearnnets.SHAPE))
    assert facts.remarks == ()
    along(target, facts.encoder, lambda x: sklearnnets.slopes(made, x))


@pytest.mark.parametrize("name", ["logistic", "decisions"])
def test_scores_whose_sum_no_image_changes_are_remarked_on(name: str, tmp_path: Path) -> None:
    """As the least squares and the penalised likelihood have it: the weights of all classes add up to nothing."""
    coefficients = getattr(sklearnnets, name)()[-1].coef_
    assert np.linalg.norm(coefficients.sum(0)) < 1e-12 * np.linalg.norm(coefficients)
    facts = run(f"tests.helpers.sklearnnets:{name}", tmp_path / "out.onnx", Request(input=sklearnnets.SHAPE))
    assert any("have the same sum for every image" in remark for remark in facts.remarks)


def test_a_trusted_pickle_of_scikit_learn_is_read(tmp_path: Path) -> None:
    import joblib

    path = tmp_path / "net.joblib"
    joblib.dump(sklearnnets.ridge(), path)
    facts = run(str(path), tmp_path / "out.onnx", Request(input=sklearnnets.SHAPE, allow_pickle=str(path)))
    assert facts.framework == "scikit-learn"
    assert len(facts.source_sha256 or "") == 64
