"""The pytest plugin: the fixture `onnxspace_check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from onnxspace.checking.verdict import Verdict

Check = Callable[..., "Verdict"]


@pytest.fixture
def onnxspace_check() -> Check:
    """A function `(model, against, …) -> Verdict` that fails the test where a model is not what it was.

    `against` is another model, a `.fp` file, or `zoo.space:name`. `limits` are by metric, `images` how many generated images,
    `probe` a folder of photos; `distinct` asks that the model is not a copy of the other.
    """
    return _check


def _check(
    model: str | Path, against: str | Path, *, limits: Mapping[str, float | None] | None = None, distinct: bool = False,
    images: int | None = None, probe: str | Path | None = None, encoder: str | None = None, config: str | Path | None = None,
) -> Verdict:  # fmt: skip
    from onnxspace.checking.formats import full, headline
    from onnxspace.checking.plan import CheckPlan, single
    from onnxspace.checking.run import check

    artifacts = single([str(model)], str(against), limits or {}, distinct, encoder)
    verdict = check(CheckPlan(artifacts, probe=None if probe is None else str(probe), images=images), config=config)[0]
    if verdict.outcome != "same":
        pytest.fail(f"{headline(verdict)}\n{full(verdict)}", pytrace=False)
    return verdict
