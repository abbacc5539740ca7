"""The tables of the study, written and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.minitaskonomy.page.results import Results
from models.minitaskonomy.study import (
    jobs,
)
from models.minitaskonomy.study.evaluation import GROUPS


def test_tables_say_what_was_found(study_folder: Path) -> None:
    found = Results(study_folder)
    assert found.last("oracle").mean["P@5"] == 1  # type: ignore[union-attr]
    assert found.last("random").mean["P@3"] == pytest.approx(5 / 19, abs=1e-4)  # type: ignore[union-attr]
    assert found.last("sfda").targets == 10  # type: ignore[union-attr]
    assert {one.group for one in found.measures} == set(GROUPS)
    taus = [row for row in found.choices if row["measure"] == "tau"]
    by_pool = {(row["against"], row["pool"], row["scheme"]): row for row in taus}
    alone = by_pool[jobs.AFFINITY, "the default alone", "leave one task out"]
    assert float(alone["chosen"]) == pytest.approx(found.last(jobs.DEFAULT).mean["tau"], abs=1e-3)  # type: ignore[union-attr]
    assert (jobs.DEFAULT, "the default alone", "other seeds") not in by_pool
    best = by_pool[jobs.AFFINITY, "any score", "leave one task out"]
    assert best["most chosen"].startswith("predictivity")
    assert float(best["difference"]) > float(by_pool[jobs.DEFAULT, "any score", "leave one task out"]["difference"])
    assert float(best["low"]) > 0
    assert float(best["p"]) < 0.01
    assert not any(row["most chosen"].startswith(("linear_probe", "sfda", "random")) for row in found.choices)
    errors = {row["numbers"]: float(row["error"]) for row in found.fingerprints}
    assert errors["4"] > errors["16"] > errors["exact"] == 0
    assert (study_folder / "scores.csv").stat().st_size < 1_500_000
    assert (study_folder / "measures.csv").read_text().count("fingerprint") == 0


def test_values_are_read_as_written(study_folder: Path) -> None:
    found = Results(study_folder)
    probe = found.last("linear_probe")
    assert probe is not None
    values = found.values[found.key(probe)]
    assert values.shape == (20, 22)
    names = [found.targets.index(name) for name in ("depth", "distance")]
    assert np.isnan(values[names, names]).all()
    assert np.isfinite(values[names[0], names[1]])
