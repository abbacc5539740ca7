"""How much an artifact's measures move where nothing but its form changes, and the limits that follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxspace.checking.measure import measure
from onnxspace.checking.plan import Artifact, CheckPlan
from onnxspace.checking.run import Setting, observed, plan_probes, request, temporary
from onnxspace.checking.sandbox import Limits, in_child
from onnxspace.errors import ModelError, OnnxspaceError, OutputError
from onnxspace.inputs.config import find_config
from onnxspace.inputs.methods import Device
from onnxspace.similarity.fingerprints.agreement import ProtocolRequest, agree

#: Forms that are taken where nobody says which; int8 is one that a team must mean to allow.
USUAL = ("opset", "optimised", "half")
#: How much more than the worst that was seen a limit lets pass: of squared differences that squared, and as much of a
#: percentile, which is that of a few images.
ROOM = {"affinity_p5": 4.0, "output_r2": 4.0}
_USUAL_ROOM = 2.0
#: Affinity below which another form of a model is broken rather than less exact.
FAITHFUL = 0.75
#: What is limited, and the least room: other images of equal networks are off by so much. The worst image and the largest
#: difference are not limited, since what they are on one set of images says little of another.
_LEAST = {"affinity": 2e-3, "affinity_p5": 1e-2, "encoder_cosine": 1e-3, "output_cosine": 1e-3, "output_r2": 0.02, "top1": 0.05}


@dataclass(frozen=True)
class Calibration:
    """Measures of each form against the artifact itself, and limits that all of them pass; `failed` says why some lack."""

    name: str
    forms: Mapping[str, Mapping[str, float]]
    limits: Mapping[str, float]
    failed: Mapping[str, str]


def calibrate(
    plan: CheckPlan, forms: Sequence[str] = USUAL, limits: Limits | None = None, *, device: Device = "auto",
    config: str | Path | None = None, progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Calibration, ...]:  # fmt: skip
    """Write each artifact in other forms, and measure them against it. What fails is told, and does not stop the others."""
    found = []
    for done, artifact in enumerate(plan.artifacts):
        if progress is not None:
            progress(artifact.name, done, len(plan.artifacts))
        found.append(_calibrated(artifact, plan, forms, limits or Limits(), device, config))
    return tuple(found)


def _calibrated(
    artifact: Artifact, plan: CheckPlan, forms: Sequence[str], limits: Limits, device: Device, config: str | Path | None
) -> Calibration:
    known = find_config(config)
    agreed = agree({}, ProtocolRequest(plan_probes(plan, artifact), plan.method, None, known.rules))
    setting, measured, failed = Setting(agreed, limits, device, known.path), {}, {}
    with temporary() as folder:
        try:
            old = observed(artifact.path, artifact.name, artifact.encoder, setting, folder / "old")
        except OutputError:
            raise
        except OnnxspaceError as error:
            return Calibration(artifact.name, {}, {}, {"itself": str(error)})
        for form in forms:
            try:
                path = _make_form(form, artifact, setting, folder / form)
                new = observed(path, artifact.name, artifact.encoder, setting, folder / f"{form}-seen")
                measured[form] = _faithful(dict(measure(new, old).values), form, artifact.path)
            except OutputError:
                raise
            except OnnxspaceError as error:
                failed[form] = str(error)
    return Calibration(artifact.name, measured, proposed(list(measured.values()), len(agreed.probes)), failed)


def _faithful(values: dict[str, float], form: str, path: Path) -> dict[str, float]:
    """The measures. Raises ModelError where they are no better than those of another model: a limit would let anything pass."""
    if values["affinity"] < FAITHFUL:
        words = f"looks at other things than it (affinity {values['affinity']:.2f}), so no limit is taken from that"
        raise ModelError(f"{path} as {form} {words}. Make this form in another way, or leave it out.")
    return values


def _make_form(form: str, artifact: Artifact, setting: Setting, folder: Path) -> Path:
    folder.mkdir()
    target = folder / f"{artifact.path.stem}.onnx"
    asked = {**request(artifact.path, artifact.encoder, setting, folder), "form": form, "target": str(target)}
    in_child("make", asked, folder, setting.limits, str(artifact.path))
    _say_the_same(artifact.path, target)
    return target


def _say_the_same(source: Path, target: Path) -> None:
    """What a sidecar says of the artifact holds for its other forms."""
    from onnxspace.inputs.config import SIDECAR_SUFFIX

    beside = source.with_name(source.stem + SIDECAR_SUFFIX)
    if beside.is_file():
        target.with_name(target.stem + SIDECAR_SUFFIX).write_bytes(beside.read_bytes())


def proposed(measured: Sequence[Mapping[str, float]], images: int) -> dict[str, float]:
    """Limits of measures that have a usual one: they leave ROOM times the distance of the worst that was seen, rounded down.

    `top1` is a count of `images`, and leaves what other ones may have by chance.
    """
    made: dict[str, float] = {}
    for name, least in _LEAST.items():
        values = [one[name] for one in measured if name in one]
        if values:
            room = ROOM.get(name, _USUAL_ROOM) * (1 - min(values))
            made[name] = _down(1 - max(room, least, _counted(1 - min(values), images) if name == "top1" else 0.0))
    return made


def _counted(share: float, images: int) -> float:
    """The share that as many other images may have, where `share` of these have it: k + 1 + 2 √(2 k + 1) of a count k.

    Two counts of one rate differ by two standard deviations at most, mostly: √(2 k), if they are Poisson's.
    """
    seen = round(share * images)
    return min(1.0, (seen + 1 + 2 * math.sqrt(2 * seen + 1)) / images)


def _down(value: float) -> float:
    """To a multiple of .001 below."""
    return math.floor(value * 1000 + 1e-6) / 1000


def as_toml(found: Sequence[Calibration]) -> str:
    """Tables for `[check.artifacts.NAME]`."""
    lines = []
    for one in found:
        lines += [
            f"[check.artifacts.{_key(one.name)}.limits]",
            *(f"{name} = {limit!r}" for name, limit in one.limits.items()),
            "",
        ]
    return "\n".join(lines)


def _key(name: str) -> str:
    """A TOML key."""
    if name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
        return name
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in name if ord(c) < 0x10000)
    return f'"{escaped}"'
