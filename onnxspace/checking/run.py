"""Check artifacts one after the other: observe each in a child process, compare it with its baseline, and judge it."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxspace.checking import explain, same_zero
from onnxspace.checking.baseline import (
    BaselineReference,
    agree_with_space,
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
from onnxspace.checking.verdict import Finding, Verdict, find_unmeasured, judge, judge_distinct
from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, OutputError, ProbeError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Device, Progress
from onnxspace.inputs.methods import DEFAULT_METHOD, Options, resolve_settings
from onnxspace.inputs.photo_folder import drop_skipping
from onnxspace.inputs.probes import DEFAULT_SIZE, Probes
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.inputs.weight_sketch import WeightSketch
from onnxspace.similarity.fingerprints.agreement import Agreement, ProtocolRequest, agree
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.one_network import Subject, find_donors, list_disagreements
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.requests import LocatedModel, locate_model, named_as_given
from onnxspace.workflows.shared_pixels import take_over

_UNPLAIN = re.compile(r"[^\w .+-]|^\.+")  # what file systems or shells treat in a way of their own


@dataclass(frozen=True)
class Setting:
    """How artifacts are observed: images and method, limits and device of the child processes, the models' configuration.

    `whole` says that ONNX Runtime must be able to load and run all of a model.
    """

    agreement: Agreement
    limits: Limits
    device: Device = "auto"
    config: Config = field(default_factory=Config)
    whole: bool = True


def check(
    plan: CheckPlan, limits: Limits | None = None, *, device: Device = "auto", config: str | Path | None = None,
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
            verdict = _ArtifactCheck(artifact, plan, limits or Limits(), device, known, picture).run()
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
    plan: CheckPlan, limits: Limits | None = None, *, device: Device = "auto", config: str | Path | None = None,
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


def resolve_check_config(plan: CheckPlan, config: str | Path | None, pixels: Pixels) -> Config:
    """The configuration of a plan's artifacts and of the models that they are compared with. Raises ConfigError."""
    bases = [base.path for one in plan.artifacts if (base := parse_reference(one.against)).kind == "model"]
    return resolve_config(config, [*(one.path for one in plan.artifacts), *bases], pixels)


def _update_baseline(artifact: Artifact, plan: CheckPlan, limits: Limits, device: Device, known: Config) -> tuple[str, ...]:
    """Write a baseline; returns warnings."""
    base = parse_reference(artifact.against)
    agreement = agree({}, request_protocol(plan, artifact, known))
    setting = Setting(agreement, limits, device, known, "outputs" in artifact.limits)
    with scratch_folder() as folder:
        found = observe_artifact(artifact.path, artifact.name, artifact.encoder, setting, folder / "new")
        _refuse_broken(found)
        write_baseline(base.path, found, agreement.setup.protocol())
    return (*found.facts.warnings, *(f"{artifact.name}: {name} {why}" for name, why in found.unmeasured.items()))


def _refuse_broken(found: Observation) -> None:
    if found.broken:
        raise ModelError(found.broken)


def request_protocol(plan: CheckPlan, artifact: Artifact, config: Config) -> ProtocolRequest:
    """The images, method and options that a plan names. Raises ProbeError, and ConfigError for options the method has not."""
    options = None if plan.pixels is None else Options(baseline=plan.pixels)
    resolve_settings([plan.method or DEFAULT_METHOD], options)
    return ProtocolRequest(plan_probes(plan, artifact), plan.method, options, config.rules)


def plan_probes(plan: CheckPlan, artifact: Artifact) -> Probes | None:
    """The probe images that an artifact or its plan names; None where neither does. Raises ProbeError."""
    if (folder := artifact.probe or plan.probe) is not None:
        try:
            return Probes.from_folder(folder, plan.images, DEFAULT_SIZE, seed=plan.seed)
        except ProbeError as error:  # what was not measured does not pass
            raise drop_skipping(error) from error
    return None if plan.images is None and not plan.seed else Probes.generate(plan.images or 64, seed=plan.seed)


def observe_artifact(path: Path, name: str, encoder: str | None, setting: Setting, folder: Path) -> Observation:
    """Observe the model `path` in a child process, which writes to `folder`; `encoder` is where to cut it.

    Raises ModelError.
    """
    return observe_located(locate(path, name, encoder, setting), setting, folder)


def observe_located(model: LocatedModel, setting: Setting, folder: Path) -> Observation:
    """Observe a model in a child process, which writes to `folder`. Raises ModelError."""
    folder.mkdir(exist_ok=True)
    ask_child("observe", model, setting, folder)
    return load_observation(folder)


def as_subject(name: str, found: Observation) -> Subject | None:
    """What is compared of an observed model's pixels; None where an earlier version observed it."""
    facts = found.facts
    return (
        None if facts.pixels is None else Subject(name, facts.pixels, facts.sketch or WeightSketch(facts.pixels.architecture))
    )


def locate(path: Path, name: str, encoder: str | None, setting: Setting) -> LocatedModel:
    """Locate the ONNX file of a model, which is converted first where it is of another format. Raises ModelError, ConfigError."""
    return locate_model(path, name, encoder, setting.config, setting.limits)


def ask_child(task: str, model: LocatedModel, setting: Setting, folder: Path, **more: Any) -> Any:
    """Have a child process carry out a task on a model, and return its answer; its images are written to the parent of `folder`.

    Raises ModelError.
    """
    images, setup = folder.parent / "images.npy", setting.agreement.setup
    if not images.exists():
        np.save(images, setup.probes.images, allow_pickle=False)
    request = {
        "model": asdict(model), "images": str(images), "probe": setup.probes.name, "method": setup.method,
        "options": None if setup.options is None else asdict(setup.options), "device": setting.device, "whole": setting.whole, **more,
    }  # fmt: skip
    with named_as_given(model):
        return run_in_child(task, request, folder, setting.limits, model.path)


@dataclass
class _ArtifactCheck:
    """The check of one artifact."""

    artifact: Artifact
    plan: CheckPlan
    limits: Limits
    device: Device
    config: Config
    picture: Path | None
    warnings: list[str] = field(default_factory=list)
    _new: LocatedModel | None = None
    _old: LocatedModel | None = None

    def run(self) -> Verdict:
        base = parse_reference(self.artifact.against)
        old, reason, agreement = self._read_baseline(base, self.config)
        setting = Setting(agreement, self.limits, self.device, self.config, "outputs" in self.artifact.limits)
        with scratch_folder() as folder:
            if old is None:
                old = observe_artifact(base.path, base.path.stem, self.artifact.encoder, setting, folder / "old")
                _refuse_broken(old)
            if base.kind == "model" and _is_same_file(base.path, self.artifact.path):
                new = replace(old, facts=replace(old.facts, name=self.artifact.name))
            else:
                new = observe_artifact(self.artifact.path, self.artifact.name, self.artifact.encoder, setting, folder / "new")
                new, old = self._share_pixels(new, old, base, setting, folder)
            self.warnings += new.facts.warnings
            if new.broken:
                return self._judge_broken(base, new)
            return self._compare(explain.Case(self.artifact.limits, new, old, measure(new, old)), base, reason, setting, folder)

    def _share_pixels(
        self, new: Observation, old: Observation, base: BaselineReference, setting: Setting, folder: Path
    ) -> tuple[Observation, Observation]:
        """Both observations, made again where one is of a guess and the other tells the pixels of the same network."""
        self._new = locate(self.artifact.path, self.artifact.name, self.artifact.encoder, setting)
        found = [as_subject(self.artifact.name, new), as_subject(str(base), old)]
        subjects = [one for one in found if one is not None]
        donors = find_donors(subjects) if len(subjects) == 2 else {}
        if 0 in donors:
            self._new = take_over(self._new, subjects[0].pixels, donors[0])
            new = observe_located(self._new, setting, folder / "new-again")
        if 1 in donors and base.kind == "model":
            self._old = take_over(
                locate(base.path, base.path.stem, self.artifact.encoder, setting), subjects[1].pixels, donors[1]
            )
            old = observe_located(self._old, setting, folder / "old-again")
        again = (as_subject(self.artifact.name, new), as_subject(str(base), old))
        self.warnings += list_disagreements([one for one in again if one is not None])
        return new, old

    def _compare(
        self, case: explain.Case, base: BaselineReference, reason: str, setting: Setting, folder: Path
    ) -> Verdict:  # fmt: skip
        def ask(task: str, more: Mapping[str, Any]) -> Mapping[str, Any] | None:
            return self._ask(task, more, setting, folder)

        case = same_zero.compare_from_same_zero(case, self.artifact.distinct, setting.agreement.setup, folder, ask)
        self._refuse_unmeasured(case.found, base, reason)
        verdict = self._judge(base, case.found)
        if verdict.outcome == "different" and self.artifact.distinct is None:
            other = None
            if base.kind == "model":
                old = self._old or locate(base.path, base.path.stem, self.artifact.encoder, setting)
                other = {"other": asdict(old)}
            verdict = explain.explain(verdict, case, other, ask)
        if self.picture is not None and verdict.images:
            verdict = self._draw(verdict, case.new, case.old, setting.agreement)
        return verdict

    def _read_baseline(self, base: BaselineReference, config: Config) -> tuple[Observation | None, str, Agreement]:
        """The baseline's observation, None for a model file, which is yet to be run; why it has no notes; what to compare with."""
        request = request_protocol(self.plan, self.artifact, config)
        if base.kind == "space":
            found, probes, protocol = read_from_space(base)
            if self.artifact.distinct is None:
                self.warnings.append(f"{base} holds maps only, so encoder and outputs are not compared.")
            return found, "", agree_with_space(protocol, probes, request)
        if base.kind == "model":
            return None, "", agree({}, request)
        agreement = agree({base.path: try_read_fingerprint(base.path)}, request)
        one = agreement.prints[base.path]
        if not isinstance(one, Fingerprint):
            raise one
        observation, reason = read_baseline(base.path, one)
        return observation, reason, agreement

    def _refuse_unmeasured(self, found: Measures, base: BaselineReference, reason: str) -> None:
        """Raise ConfigError for limits that have no value; a limit that is not measured must not pass."""
        if self.artifact.distinct is not None:
            return
        lost = find_unmeasured(found, self.artifact.limits, self.artifact.given, complete=base.kind != "space")
        if not lost:
            return
        words = reason or f"{self.artifact.path} against {base}: {next(iter(lost.values()))}"
        again = "Write the baseline again with --update, or take" if base.kind == "print" else "Take"
        flags = " ".join(f"--limit {name}=none" for name in lost if name != "outputs" or "output_cosine" not in lost)
        raise ConfigError(
            f"{words}, so {_join(list(lost))} can't be measured. {again} the limits away by {flags} (false in a configuration)."
        )

    def _judge(self, base: BaselineReference, found: Measures) -> Verdict:
        distinct = self.artifact.distinct
        findings = judge(found, self.artifact.limits) if distinct is None else judge_distinct(found, distinct)
        outcome = "same" if all(finding.kept for finding in findings) else "different"
        return Verdict(
            self.artifact.name, str(self.artifact.path), str(base), outcome, distinct=distinct is not None,  # type: ignore[arg-type]
            measures=found.values, findings=findings, missing=found.missing, changes=found.changes, warnings=tuple(self.warnings),
        )  # fmt: skip

    def _judge_broken(self, base: BaselineReference, new: Observation) -> Verdict:
        """The verdict on an artifact whose outputs are not finite and that can't be explained."""
        if self.artifact.distinct is not None:
            raise ModelError(new.broken)
        share = min(float(signal.finite.mean()) for signal in new.outputs.values())
        finding = Finding("output_finite", share, 1.0, False)
        return Verdict(
            self.artifact.name, str(self.artifact.path), str(base), "different", measures={"output_finite": share},
            findings=(finding,), reasons=(*explain.describe_not_finite(new), new.broken), warnings=tuple(self.warnings),
        )  # fmt: skip

    def _ask(self, task: str, more: Mapping[str, Any], setting: Setting, folder: Path) -> Mapping[str, Any] | None:
        """The answer of a task that helps to explain a difference; None where it fails. Its files are in `folder`/TASK."""
        place = folder / task
        place.mkdir(exist_ok=True)
        model = self._new or locate(self.artifact.path, self.artifact.name, self.artifact.encoder, setting)
        try:
            answer: Mapping[str, Any] = ask_child(task, model, setting, place, **more)
        except ModelError:
            return None
        return answer

    def _draw(self, verdict: Verdict, new: Observation, old: Observation, agreement: Agreement) -> Verdict:
        from onnxspace.checking.picture import draw_differences

        assert self.picture is not None
        rows = [i for i, _, _ in verdict.images]
        draw_differences(self.picture, agreement.setup.probes, rows, new, old, agreement.setup.method)
        return replace(verdict, picture=str(self.picture))


def _join(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, which need not be run twice."""
    try:
        return one.samefile(other)
    except OSError:
        return False
