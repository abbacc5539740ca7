"""Fixtures of the tests of the study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.minitaskonomy.study import (
    tables,
)
from tests.models.minitaskonomy.helpers import (
    make_oracle,
    make_scores,
    make_zoo,
    write_oracle,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(5)
    zoo = make_zoo(tmp_path, others=("depth-vit", "semantic-vit"))
    oracle = make_oracle(zoo, rng, noise=0.1)
    write_oracle(oracle, tmp_path / "oracle.csv")
    tables.write_tables(zoo, make_scores(zoo, oracle, rng), tmp_path / "oracle.csv", tmp_path)
    return tmp_path
