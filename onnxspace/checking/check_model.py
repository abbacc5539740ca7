"""Check one model against a baseline, as `onnxspace check NEW --against OLD` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnxspace.checking.plan import CheckPlan, artifacts_against
from onnxspace.checking.run import check as check_plan
from onnxspace.checking.sandbox import Limits
from onnxspace.checking.verdict import Verdict
from onnxspace.inputs.execution import Compute, Device, Progress
from onnxspace.inputs.methods import Method
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.stated_pixels import Pixels
from onnxspace.inputs.targets import Target, to_target
from onnxspace.sandbox.limits import parse_limits, refuse_other_limits


def check(
    new: str | Path,
    against: str | Path,
    probes: Probes | None = None,
    *,
    limit: Mapping[str, float | None] | None = None,
    distinct: bool | float = False,
    method: Method | None = None,
    baseline: str | Path | None = None,
    explained: Target | str | int | None = None,
    encoder: str | None = None,
    pixels: Pixels = None,
    config: str | Path | None = None,
    device: Compute | Device = "auto",
    limits: Limits | str | None = None,
    pictures: str | Path | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Check whether the model `new` is still the same network as its baseline `against`.

    `new` is an ONNX file, or what `onnxspace convert` takes; `against` is another model, a `.fp` file or `zoo.space:NAME`. Both are
    compared on the images `probes` (None: those of the baseline, else 64 generated ones) by `method` (None: the baseline's, else
    elrp), with maps relative to `baseline` (a word or an image, as in `Options`) and of `explained` instead of the encoder.
    `limit` is the smallest or largest value that passes by metric, None for no limit; metrics without an entry keep their defaults.
    With `distinct`, True or the affinity to stay below, the model must not be a copy. `encoder` is where to cut it, `config` a configuration's file, `pixels` a preset's name or `StatedPixels`.
    Each model runs in a process of its own on `device` under `limits`, such as "memory=4G,wall=300". The images whose maps
    differ most are drawn into the folder `pictures`; `progress` is the callback.

    Returns a `Verdict`, whose `outcome` is "same", "different", or "trouble" where a model can't be read or compared; its `error`
    then says why. Raises ConfigError for invalid options, OutputError where a picture can't be written.

    >>> ox.check("exported.onnx", against="baselines/model.fp", limit={"affinity": 0.99}).outcome  # doctest: +SKIP
    'same'
    """
    artifacts = artifacts_against([str(new)], str(against), limit or {}, distinct, encoder)
    pixel = None if baseline is None else str(baseline)
    plan = CheckPlan(artifacts, method, pixels=pixel, target=to_target(explained), probes=probes)
    refuse_other_limits(limits)
    allowed = parse_limits(limits, Limits()) if isinstance(limits, str) else limits
    (found,) = check_plan(plan, allowed, device=device, config=config, pictures=pictures, progress=progress, pixels=pixels)
    return found
