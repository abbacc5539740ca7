"""Which matrices the page shows as similarity trees."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.minitaskonomy.page.results import Measurement, Results
from models.minitaskonomy.study.jobs import AFFINITY


def has_values(found: Results, one: Measurement | None) -> bool:
    return one is not None and found.key(one) in found.values


def choose_trees(found: Results) -> dict[str, Any]:
    """Square matrices of the main group: the oracle, the default, the best maps and the best of all, where kept."""
    main = found.main
    made = {"oracle": found.oracle.mean[:, main]}
    chosen = [
        ("default maps", found.last(AFFINITY)),
        ("best maps", found.best(["maps"])),
        ("best of two models", found.best(["maps", "features", "both"])),
    ]
    for title, one in chosen:
        if one is not None and has_values(found, one):
            values = found.values[found.key(one)][:, main]
            if not any(np.array_equal(values, other, equal_nan=True) for other in made.values()):
                made[title] = values
    return {title: np.where(np.eye(len(values), dtype=bool), 1.0, values) for title, values in made.items()}
