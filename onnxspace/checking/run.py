"""Check artifacts one after the other, and write the baselines that they are checked against."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxspace.checking.artifact_check import ArtifactCheck
from onnxspace.checking.baseline import parse_reference, write_baseline
from onnxspace.checking.observe import (
    Setting,
    add_target,
    observe_artifact,
    refuse_broken,
    request_protocol,
    resolve_check_config,
)
from onnxspace.checking.plan import Artifact, CheckPlan
from onnxspace.checking.sandbox import Limits
from onnxspace.checking.verdict import Verdict
from onnxspace.errors import ConfigError, OnnxspaceError, OutputError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Compute, Device, Progress
from onnxspace.inputs.stated_pixels import Pixels
from onnxspace.similarity.fingerprints.agreement import agree
from onnxspace.storage.atomic import scratch_folder

_UNPLAIN = re.compile(r"[^\w .+-]|^\.+")  # what file systems or shells treat in a way of their own


def check(
    plan: CheckPlan, limits: Limits | None = None, *, device: Compute | Device = "auto", config: str | Path | None = None,
    pictures: str | Path | None = None, progress: Progress | None = None, pixels: Pixels = None,
) -> tuple[Verdict, ...]:  # fmt: skip
    """Compare every artifact of `plan` with its baseline; one that can't be read or compared does not stop the others.

    Each model runs in a process of its own under `limits`, on `device`; `config` is the file that configures models. With
    `pictures`, a folder, the images whose maps differ most are drawn there. `progress` is called with an artifact's name, how
    many are done, and how many there are. `pixels` is a preset's name, names by model, or `StatedPixels`. Returns a verdict per
    artifact. Raises OutputError where a picture can't be written, ConfigError for `pixels` of a model that is not there.
    """
    found, known = [], resolve_check_config(plan, config, pixels)
    files = name_pictures([artifact.name for artifact in plan.artifacts])
    for done, artifact in enumerate(plan.artifacts):
        if progress is not None:
            progress(artifact.name, done, len(plan.artifacts))
        began, picture = time.monotonic(), None if pictures is None else Path(pictures) / files[done]
        try:
            verdict = ArtifactCheck(artifact, plan, limits or Limits(), device, known, picture).run()
        except OutputError:
            raise
        except OnnxspaceError as error:
            verdict = Verdict(artifact.name, str(artifact.path), artifact.against, "trouble", str(error))
        found.append(replace(verdict, seconds=time.monotonic() - began))
    return tuple(found)


def name_pictures(artifacts: Sequence[str]) -> list[str]:
    """File names of the pictures of `artifacts`, a different one for each, also where a file system ignores case.

    >>> name_pictures(["net", "a/net", "Net"])
    ['net.png', 'a-net.png', 'Net-2.png']
    """
    names: list[str] = []
    for artifact in artifacts:
        stem, taken = _UNPLAIN.sub("-", artifact)[:100] or "model", {name.lower() for name in names}
        numbered = (stem if number == 1 else f"{stem}-{number}" for number in itertools.count(1))
        names.append(next(name for each in numbered if (name := f"{each}.png").lower() not in taken))
    return names


def update(
    plan: CheckPlan, limits: Limits | None = None, *, device: Compute | Device = "auto", config: str | Path | None = None,
    progress: Progress | None = None, pixels: Pixels = None,
) -> tuple[Verdict, ...]:  # fmt: skip
    """Write the baseline of every artifact of `plan` whose baseline is a fingerprint: `NAME.fp` and its notes file.

    Artifacts that are compared with a model or a space, or that must differ from their baseline, have none to write. Options are
    as in `check`. Returns a verdict per baseline, `trouble` for an artifact that can't be observed. Raises ConfigError where
    there is nothing to write, or two artifacts have one baseline, and OutputError.
    """
    found, artifacts, known = [], _artifacts_to_update(plan), resolve_check_config(plan, config, pixels)
    for done, artifact in enumerate(artifacts):
        if progress is not None:
            progress(artifact.name, done, len(artifacts))
        try:
            warnings = _update_baseline(artifact, plan, limits or Limits(), device, known)
            verdict = Verdict(artifact.name, str(artifact.path), artifact.against, "same", warnings=warnings)
        except OutputError:
            raise
        except OnnxspaceError as error:
            verdict = Verdict(artifact.name, str(artifact.path), artifact.against, "trouble", str(error))
        found.append(verdict)
    return tuple(found)


def _artifacts_to_update(plan: CheckPlan) -> list[Artifact]:
    """The artifacts whose baselines are fingerprints of themselves."""
    own = [one for one in plan.artifacts if one.distinct is None and parse_reference(one.against).kind == "print"]
    if not own:
        first = plan.artifacts[0]
        raise ConfigError(
            f"{first.name} is compared with {first.against}, but --update writes fingerprints of artifacts only; set "
            'against = "NAME.fp".'
        )
    places: dict[Path, str] = {}
    for one in own:
        other = places.setdefault(Path(one.against).resolve(), one.name)
        if other != one.name:
            raise ConfigError(f"{other} and {one.name} have one baseline, {one.against}. Give each its own.")
    return own


def _update_baseline(
    artifact: Artifact, plan: CheckPlan, limits: Limits, device: Compute | Device, known: Config
) -> tuple[str, ...]:
    """Write a baseline; returns warnings."""
    base = parse_reference(artifact.against)
    agreement = add_target(agree({}, request_protocol(plan, artifact, known)), plan, str(artifact.path))
    setting = Setting(agreement, limits, device, known, "outputs" in artifact.limits)
    with scratch_folder() as folder:
        found = observe_artifact(artifact.path, artifact.name, artifact.encoder, setting, folder / "new")
        refuse_broken(found)
        write_baseline(base.path, found, agreement.setup.protocol())
    return (*found.facts.warnings, *(f"{artifact.name}: {name} {why}" for name, why in found.unmeasured.items()))
