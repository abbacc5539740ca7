"""Check artifacts one after the other: observe each in a child process, compare it with its baseline, and judge it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxspace.checking import diagnose
from onnxspace.checking.baseline import (
    BaselineReference,
    parse_reference,
    read_baseline,
    read_from_space,
    try_read_fingerprint,
    write_baseline,
)
from onnxspace.checking.measure import Measures, measure
from onnxspace.checking.observation import Observation, load_observation
from onnxspace.checking.plan import Artifact, CheckPlan
from onnxspace.checking.sandbox import Limits, run_in_child
from onnxspace.checking.verdict import Verdict, judge, judge_distinct
from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, OutputError, ProbeError
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.execution import Device, Progress
from onnxspace.inputs.probes import DEFAULT_SIZE, Probes
from onnxspace.inputs.protocol import Protocol, Setup
from onnxspace.similarity.fingerprints.agreement import Agreement, ProtocolRequest, agree
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.storage.atomic import scratch_folder

#: Number of images with the most different maps that a verdict names, and a picture shows.
SHOWN = 3


@dataclass(frozen=True)
class Setting:
    """How artifacts are observed: images and method, limits and device of the child processes, the configuration's file."""

    agreement: Agreement
    limits: Limits
    device: Device = "auto"
    config: Path | None = None


def check(
    plan: CheckPlan, limits: Limits | None = None, *, device: Device = "auto", config: str | Path | None = None,
    pictures: str | Path | None = None, progress: Progress | None = None,
) -> tuple[Verdict, ...]:  # fmt: skip
    """Compare every artifact of `plan` with its baseline; one that can't be read or compared does not stop the others.

    Each model runs in a process of its own under `limits`, on `device`; `config` is the file that configures models. With
    `pictures`, a folder, the images whose maps differ most are drawn there. `progress` is called with an artifact's name, how
    many are done, and how many there are. Returns a verdict per artifact. Raises OutputError where a picture can't be written.
    """
    found = []
    for done, artifact in enumerate(plan.artifacts):
        if progress is not None:
            progress(artifact.name, done, len(plan.artifacts))
        began = time.monotonic()
        try:
            verdict = _ArtifactCheck(artifact, plan, limits or Limits(), device, config, pictures).run()
        except OutputError:
            raise
        except OnnxspaceError as error:
            verdict = Verdict(artifact.name, str(artifact.path), artifact.against, "trouble", str(error))
        found.append(replace(verdict, seconds=time.monotonic() - began))
    return tuple(found)


def update(
    plan: CheckPlan, limits: Limits | None = None, *, device: Device = "auto", config: str | Path | None = None,
    progress: Progress | None = None,
) -> tuple[Verdict, ...]:  # fmt: skip
    """Write the baseline of every artifact of `plan`: `NAME.fp` and its notes file.

    Options are as in `check`. Returns a verdict per artifact, `trouble` for one that can't be observed. Raises OutputError.
    """
    found = []
    for done, artifact in enumerate(plan.artifacts):
        if progress is not None:
            progress(artifact.name, done, len(plan.artifacts))
        try:
            _update_baseline(artifact, plan, limits or Limits(), device, config)
            verdict = Verdict(artifact.name, str(artifact.path), artifact.against, "same")
        except OutputError:
            raise
        except OnnxspaceError as error:
            verdict = Verdict(artifact.name, str(artifact.path), artifact.against, "trouble", str(error))
        found.append(verdict)
    return tuple(found)


def _update_baseline(artifact: Artifact, plan: CheckPlan, limits: Limits, device: Device, config: str | Path | None) -> None:
    base = parse_reference(artifact.against)
    if base.kind != "print":
        raise ConfigError(
            f'{artifact.name} is compared with {base}, but --update writes fingerprints only; set against = "NAME.fp".'
        )
    known = find_config(config)
    agreement = agree({}, ProtocolRequest(plan_probes(plan, artifact), plan.method, None, known.rules))
    setting = Setting(agreement, limits, device, known.path)
    with scratch_folder() as folder:
        found = observe_artifact(artifact.path, artifact.name, artifact.encoder, setting, folder / "new")
        write_baseline(base.path, found, agreement.setup.protocol())


def plan_probes(plan: CheckPlan, artifact: Artifact) -> Probes | None:
    """The probe images that an artifact or its plan names; None where neither does. Raises ProbeError."""
    if (folder := artifact.probe or plan.probe) is not None:
        return Probes.from_folder(folder, plan.images, DEFAULT_SIZE, seed=plan.seed)
    return None if plan.images is None and not plan.seed else Probes.generate(plan.images or 64, seed=plan.seed)


def observe_artifact(path: Path, name: str, encoder: str | None, setting: Setting, folder: Path) -> Observation:
    """Observe the model `path` in a child process, which writes to `folder`; `encoder` is where to cut it.

    Raises ModelError.
    """
    folder.mkdir(exist_ok=True)
    run_in_child("observe", child_request(path, encoder, setting, folder) | {"name": name}, folder, setting.limits, str(path))
    return load_observation(folder)


def child_request(path: Path, encoder: str | None, setting: Setting, folder: Path) -> dict[str, Any]:
    """The request of a child process; its images are written to the parent of `folder`."""
    images = folder.parent / "images.npy"
    if not images.exists():
        np.save(images, setting.agreement.setup.probes.images, allow_pickle=False)
    return {
        "path": str(path), "encoder": encoder, "images": str(images), "probe": setting.agreement.setup.probes.name,
        "method": setting.agreement.setup.method, "device": setting.device,
        "config": None if setting.config is None else str(setting.config),
    }  # fmt: skip


@dataclass
class _ArtifactCheck:
    """The check of one artifact."""

    artifact: Artifact
    plan: CheckPlan
    limits: Limits
    device: Device
    config: str | Path | None
    pictures: str | Path | None
    warnings: list[str] = field(default_factory=list)

    def run(self) -> Verdict:
        base, known = parse_reference(self.artifact.against), find_config(self.config)
        old, agreement = self._read_baseline(base, known)
        setting = Setting(agreement, self.limits, self.device, known.path)
        with scratch_folder() as folder:
            if old is None:
                old = observe_artifact(base.path, base.path.stem, self.artifact.encoder, setting, folder / "old")
            if base.kind == "model" and _is_same_file(base.path, self.artifact.path):
                new = replace(old, facts=replace(old.facts, name=self.artifact.name))
            else:
                new = observe_artifact(self.artifact.path, self.artifact.name, self.artifact.encoder, setting, folder / "new")
            self.warnings += new.facts.warnings
            found = measure(new, old)
            verdict = self._judge(base, found)
            if verdict.outcome == "different" and self.artifact.distinct is None:
                verdict = self._explain(verdict, base, found, new, old, setting, folder)
            if self.pictures is not None and verdict.outcome == "different":
                verdict = self._draw(verdict, new, old, agreement)
            return verdict

    def _read_baseline(self, base: BaselineReference, config: Config) -> tuple[Observation | None, Agreement]:
        """The baseline's observation, None for a model file, which is yet to be run; and images and method to compare with."""
        request = ProtocolRequest(plan_probes(self.plan, self.artifact), self.plan.method, None, config.rules)
        if base.kind == "space":
            found, probes, protocol = read_from_space(base)
            return found, _agree_with_space(protocol, probes, request)
        if base.kind == "model":
            return None, agree({}, request)
        agreement = agree({base.path: try_read_fingerprint(base.path)}, request)
        one = agreement.prints[base.path]
        if not isinstance(one, Fingerprint):
            raise one
        observation, remarks = read_baseline(base.path, one)
        self.warnings += remarks
        return observation, agreement

    def _judge(self, base: BaselineReference, found: Measures) -> Verdict:
        distinct = self.artifact.distinct
        findings = judge(found, self.artifact.limits) if distinct is None else judge_distinct(found, distinct)
        outcome = "same" if all(finding.kept for finding in findings) else "different"
        return Verdict(
            self.artifact.name, str(self.artifact.path), str(base), outcome, distinct=distinct is not None,  # type: ignore[arg-type]
            measures=found.values, findings=findings, missing=found.missing, changes=found.changes, warnings=tuple(self.warnings),
        )  # fmt: skip

    def _explain(
        self,
        verdict: Verdict,
        base: BaselineReference,
        found: Measures,
        new: Observation,
        old: Observation,
        setting: Setting,
        folder: Path,
    ) -> Verdict:
        """Add reasons to a verdict, from input changes, layers, weights and facts of the files."""
        reasons: list[str] = []
        changes = self._ask("variants", {}, setting, folder)
        plain = found.values.get("encoder_cosine", found.values["affinity"])
        if changes is not None and (reason := diagnose.find_input_change(changes["variants"], old, plain)) is not None:
            reasons.append(reason)
        sides: Mapping[str, Any] | None = None
        if base.kind == "model":
            sides = self._ask("layers", {"other": str(base.path), "other_encoder": self.artifact.encoder}, setting, folder)
        weights = (
            diagnose.describe_weights(sides["weights"])
            if sides is not None
            else diagnose.describe_digests(new.facts, old.facts)
        )
        reasons += [weights] if weights else []
        reasons += diagnose.describe_relation(found, new.facts, old.facts, explained=bool(reasons))
        reasons += [moved] if (moved := diagnose.describe_maps(found)) is not None else []
        layer = None if sides is None else diagnose.first_different_layer(sides["layers"])
        names = [(i, f"image {i}", float(found.cosines[i])) for i in found.worst[:SHOWN]]
        return replace(
            verdict, reasons=tuple(reasons), layer=None if layer is None else _describe_layer(layer), images=tuple(names)
        )

    def _ask(self, task: str, more: Mapping[str, Any], setting: Setting, folder: Path) -> Mapping[str, Any] | None:
        """The answer of a task that helps to explain a difference; None where it fails."""
        place = folder / task
        place.mkdir(exist_ok=True)
        request = {**child_request(self.artifact.path, self.artifact.encoder, setting, place), **more}
        try:
            answer: Mapping[str, Any] = run_in_child(task, request, place, setting.limits, str(self.artifact.path))
        except ModelError:
            return None
        return answer

    def _draw(self, verdict: Verdict, new: Observation, old: Observation, agreement: Agreement) -> Verdict:
        from onnxspace.checking.picture import draw_differences

        file = Path(str(self.pictures)) / f"{self.artifact.name}.png"
        rows = [i for i, _, _ in verdict.images] or [0]
        draw_differences(file, agreement.setup.probes, rows, new, old, agreement.setup.method)
        return replace(verdict, picture=str(file))


def _is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, which need not be run twice."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _describe_layer(layer: Mapping[str, Any]) -> str:
    names = layer["new"] if layer["new"] == layer["old"] else f"{layer['new']} ({layer['old']} before)"
    return f"{names}: {layer['difference']:.1%} off"


def _agree_with_space(made: Protocol, probes: Probes, request: ProtocolRequest) -> Agreement:
    """The images and method of a space. Raises ProbeError, ConfigError where the plan names others."""
    if request.probes is not None and request.probes.sha256 != probes.sha256:
        raise ProbeError("The plan names other probe images than the space has. Leave them out, or name another baseline.")
    if request.method not in (None, made.method) or made.options:
        method = f"{made.method} {dict(made.options) or ''}".strip()
        raise ConfigError(f"The space's maps are made by {method}, which a check can't use. Name another baseline.")
    return Agreement(Setup(probes, made.method))
