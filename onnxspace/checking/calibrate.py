"""Propose limits for a check: measure how much an artifact's metrics change where only its form changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxspace.checking.measure import measure
from onnxspace.checking.observe import (
    Setting,
    add_target,
    ask_child,
    locate,
    observe_artifact,
    request_protocol,
    resolve_check_config,
)
from onnxspace.checking.plan import Artifact, CheckPlan
from onnxspace.checking.sandbox import Limits
from onnxspace.errors import ModelError, OnnxspaceError, OutputError
from onnxspace.inputs.config import Config, StatedOptions
from onnxspace.inputs.execution import Compute, Device, Progress
from onnxspace.inputs.stated_pixels import Pixels
from onnxspace.similarity.fingerprints.agreement import agree
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.requests import decode_options, wrong_answer

#: Default forms; int8 is left out, since a team has to allow quantisation on purpose.
USUAL = ("opset", "optimised", "half")
#: Factor between the worst value measured and the limit: `_USUAL_ROOM`, squared for measures of squared differences, and
#: the same for a percentile, which rests on a few images.
ROOM = {"affinity_p5": 4.0, "output_r2": 4.0}
_USUAL_ROOM = 2.0
#: Affinity below which another form of a model counts as broken rather than less exact.
FAITHFUL = 0.75
#: Metrics that get a limit, and the least distance of that limit from 1: equal networks differ by as much on other images.
#: The worst image and the largest difference get none, since their values on one set of images say little about another.
_LEAST = {"affinity": 2e-3, "affinity_p5": 1e-2, "encoder_cosine": 1e-3, "output_cosine": 1e-3, "output_r2": 0.02, "top1": 0.05}


@dataclass(frozen=True)
class Calibration:
    """Metrics of each form against the artifact itself, limits that all forms pass, and errors of those that `failed`."""

    name: str
    forms: Mapping[str, Mapping[str, float]]
    limits: Mapping[str, float]
    failed: Mapping[str, str]


def calibrate(
    plan: CheckPlan, forms: Sequence[str] = USUAL, limits: Limits | None = None, *, device: Compute | Device = "auto",
    config: str | Path | None = None, progress: Progress | None = None, pixels: Pixels = None,
) -> tuple[Calibration, ...]:  # fmt: skip
    """Write each artifact of `plan` in other `forms` (keys of `child.forms.FORMS`), and measure these against it.

    `limits` bound the child processes, `device`, `config` and `pixels` are as for `check`; `progress` is called with an artifact's name,
    how many are done, and how many there are. An artifact or form that fails is in `Calibration.failed` and does not stop the
    others. Raises OutputError.
    """
    found, known = [], resolve_check_config(plan, config, pixels)
    for done, artifact in enumerate(plan.artifacts):
        if progress is not None:
            progress(artifact.name, done, len(plan.artifacts))
        found.append(_calibrate_artifact(artifact, plan, forms, limits or Limits(), device, known))
    return tuple(found)


def _calibrate_artifact(
    artifact: Artifact, plan: CheckPlan, forms: Sequence[str], limits: Limits, device: Compute | Device, known: Config
) -> Calibration:
    agreement = add_target(agree({}, request_protocol(plan, artifact, known)), plan, str(artifact.path))
    setting, measured, failed = Setting(agreement, limits, device, known, "outputs" in artifact.limits), {}, {}
    with scratch_folder() as folder:
        try:
            old = observe_artifact(artifact.path, artifact.name, artifact.encoder, setting, folder / "old")
        except OutputError:
            raise
        except OnnxspaceError as error:
            return Calibration(artifact.name, {}, {}, {"itself": str(error)})
        if old.broken:
            return Calibration(artifact.name, {}, {}, {"itself": old.broken})
        for form in forms:
            try:
                path, same = _make_form(form, artifact, setting, folder / form)
                new = observe_artifact(path, artifact.name, artifact.encoder, same, folder / f"{form}-seen")
                if new.broken:
                    raise ModelError(new.broken)
                measured[form] = _require_faithful(dict(measure(new, old).values), form, artifact.path)
            except OutputError:
                raise
            except OnnxspaceError as error:
                failed[form] = str(error)
    return Calibration(artifact.name, measured, propose_limits(list(measured.values()), len(agreement.setup.probes)), failed)


def _require_faithful(values: dict[str, float], form: str, path: Path) -> dict[str, float]:
    """The metrics. Raises ModelError where they are as bad as another model's: limits from them would let anything pass."""
    if values["affinity"] < FAITHFUL:
        reason = f"its maps are too different (affinity {values['affinity']:.2f})"
        raise ModelError(f"{path} as {form} gives no limits: {reason}. Make this form in another way, or leave it out.")
    return values


def _make_form(form: str, artifact: Artifact, setting: Setting, folder: Path) -> tuple[Path, Setting]:
    """Write a form; returns its file, and the setting in which it gets the artifact's pixels, whatever told them."""
    folder.mkdir()
    model = locate(artifact.path, artifact.name, artifact.encoder, setting)
    target = folder / f"{Path(model.file).stem}.onnx"
    answer = ask_child("make", model, setting, folder, form=form, target=str(target))
    _copy_sidecar(Path(model.file), target)
    try:
        stated = (*setting.config.stated, StatedOptions(str(target), decode_options(answer["options"])))
    except (KeyError, TypeError, AttributeError) as error:
        raise wrong_answer(str(artifact.path)) from error
    return target, replace(setting, config=replace(setting.config, stated=stated))


def _copy_sidecar(source: Path, target: Path) -> None:
    """Copy the artifact's sidecar, since its preprocessing holds for the other forms too."""
    from onnxspace.inputs.config import SIDECAR_SUFFIX

    beside = source.with_name(source.stem + SIDECAR_SUFFIX)
    if beside.is_file():
        target.with_name(target.stem + SIDECAR_SUFFIX).write_bytes(beside.read_bytes())


def propose_limits(measured: Sequence[Mapping[str, float]], images: int) -> dict[str, float]:
    """Limits by metric of `_LEAST`: 1 minus ROOM times the distance of the worst measured value from 1, rounded down.

    `measured` holds the metrics of each form. `top1` is a share of `images` images, and its limit also allows for the
    sampling error of such a share.
    """
    limits: dict[str, float] = {}
    for name, least in _LEAST.items():
        values = [one[name] for one in measured if name in one]
        if values:
            room = ROOM.get(name, _USUAL_ROOM) * (1 - min(values))
            limits[name] = _round_down(1 - max(room, least, _upper_share(1 - min(values), images) if name == "top1" else 0.0))
    return limits


def _upper_share(share: float, images: int) -> float:
    """An upper bound of the share that other images may show where `share` of these show it: k + 1 + 2 √(2 k + 1) of a count k.

    Two Poisson counts of one rate have a difference of standard deviation √(2 k), and mostly differ by two of these at most.
    """
    seen = round(share * images)
    return min(1.0, (seen + 1 + 2 * math.sqrt(2 * seen + 1)) / images)


def _round_down(value: float) -> float:
    """Round down to a multiple of 0.001."""
    return math.floor(value * 1000 + 1e-6) / 1000


def as_toml(found: Sequence[Calibration]) -> str:
    """The limits as TOML tables `[check.artifacts.NAME.limits]`."""
    lines = []
    for one in found:
        lines += [
            f"[check.artifacts.{_toml_key(one.name)}.limits]",
            *(f"{name} = {limit!r}" for name, limit in one.limits.items()),
            "",
        ]
    return "\n".join(lines)


def _toml_key(name: str) -> str:
    """A TOML key."""
    if name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
        return name
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in name if ord(c) < 0x10000)
    return f'"{escaped}"'
