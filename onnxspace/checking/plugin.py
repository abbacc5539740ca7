"""The pytest plugin with the fixture `onnxspace_check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from onnxspace.checking.verdict import Verdict
    from onnxspace.inputs.stated_pixels import Pixels

Check = Callable[..., "Verdict"]


@pytest.fixture
def onnxspace_check() -> Check:
    """A function `(model, against, **options) -> Verdict` that fails the test where a model differs from its baseline.

    `against` is another model, a `.fp` file, or `zoo.space:name`. Options: `limits` by metric, `images` (the number of
    generated images), `probe` (a folder of photos), `encoder`, `config` (a TOML file), `baseline` (what maps
    count from, as in `--baseline`), `pixels` (as in `--pixels`); `distinct=True` requires that the model is not a copy of the other.

    >>> def test_export(onnxspace_check):
    ...     onnxspace_check("exported.onnx", "baselines/model.fp")
    """
    return _check


@dataclass(frozen=True)
class _Options:
    limits: Mapping[str, float | None] = field(default_factory=dict)
    distinct: bool = False
    images: int | None = None
    probe: str | Path | None = None
    encoder: str | None = None
    config: str | Path | None = None
    baseline: str | Path | None = None
    pixels: Pixels = None


def _check(model: str | Path, against: str | Path, **options: Any) -> Verdict:
    from onnxspace.checking.formats import details, headline
    from onnxspace.checking.plan import CheckPlan, artifacts_against
    from onnxspace.checking.run import check

    given = _Options(**options)
    artifacts = artifacts_against([str(model)], str(against), given.limits or {}, given.distinct, given.encoder)
    probe, baseline = (None if value is None else str(value) for value in (given.probe, given.baseline))
    plan = CheckPlan(artifacts, probe=probe, images=given.images, pixels=baseline)
    verdict = check(plan, config=given.config, pixels=given.pixels)[0]
    if verdict.outcome != "same":
        pytest.fail(f"{headline(verdict)}\n{details(verdict)}", pytrace=False)
    return verdict
