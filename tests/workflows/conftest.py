"""What the tests of runs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.gradients import Batch, InputMaps
from tests.helpers.commands import exit_code as run
from tests.helpers.commands import sketch_result
from tests.helpers.nets import classifier, save
from tests.helpers.stopped_runs import SCORE, Content, content, interrupt


@pytest.fixture(autouse=True)
def results_are_sketched(sketched_results: None) -> None:
    """Tests of workflows do not look at the picture of the affinities, but for those that ask for `drawn_results`."""


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are computed from now on."""
    seen: list[int] = []
    passed = Explainer.compute_maps

    def counted(self: Explainer, batch: Batch) -> InputMaps:
        seen.append(len(batch.values))
        return passed(self, batch)

    monkeypatch.setattr(Explainer, "compute_maps", counted)
    return seen


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Content]:
    """A folder with a run that was stopped in its second model, and the content that its result must have."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("onnxspace.report.heatmap.draw_affinity", sketch_result)
        for seed, name in enumerate("ab"):
            save(classifier(seed=seed), folder / f"{name}.onnx")
        assert run(*SCORE[:-1], "reference") == 0
        interrupt(5, *SCORE)
        return folder, content("reference")
