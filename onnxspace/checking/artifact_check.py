"""The check of one artifact: observed, compared with its baseline, judged, and explained where it differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from onnxspace.checking import explain, same_zero
from onnxspace.checking.baseline import (
    BaselineReference,
    agree_with_space,
    parse_reference,
    read_baseline,
    read_from_space,
    try_read_fingerprint,
)
from onnxspace.checking.measure import Measures, measure
from onnxspace.checking.observation import Observation
from onnxspace.checking.observe import (
    Setting,
    add_target,
    as_subject,
    ask_child,
    locate,
    observe_artifact,
    observe_located,
    refuse_broken,
    request_protocol,
)
from onnxspace.checking.plan import Artifact, CheckPlan
from onnxspace.checking.sandbox import Limits
from onnxspace.checking.verdict import Finding, Verdict, find_unmeasured, judge, judge_distinct
from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Compute, Device
from onnxspace.similarity.fingerprints.agreement import Agreement, agree
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.one_network import find_donors, list_disagreements
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.requests import LocatedModel
from onnxspace.workflows.shared_pixels import take_over


@dataclass
class ArtifactCheck:
    """The check of one artifact."""

    artifact: Artifact
    plan: CheckPlan
    limits: Limits
    device: Compute | Device
    config: Config
    picture: Path | None
    warnings: list[str] = field(default_factory=list)
    _new: LocatedModel | None = None
    _old: LocatedModel | None = None

    def run(self) -> Verdict:
        base = parse_reference(self.artifact.against)
        old, reason, agreement = self._read_baseline(base, self.config)
        agreement = add_target(agreement, self.plan, self.artifact.against)
        setting = Setting(agreement, self.limits, self.device, self.config, "outputs" in self.artifact.limits)
        with scratch_folder() as folder:
            if old is None:
                old = observe_artifact(base.path, base.path.stem, self.artifact.encoder, setting, folder / "old")
                refuse_broken(old)
            if base.kind == "model" and _is_same_file(base.path, self.artifact.path):
                new = replace(old, facts=replace(old.facts, name=self.artifact.name))
            else:
                new = observe_artifact(self.artifact.path, self.artifact.name, self.artifact.encoder, setting, folder / "new")
                new, old = self._share_pixels(new, old, base, setting, folder)
            self.warnings += new.facts.warnings
            if new.broken:
                return self._judge_broken(base, new)
            targeted = setting.agreement.setup.target is not None
            case = explain.Case(self.artifact.limits, new, old, measure(new, old), targeted)
            return self._compare(case, base, reason, setting, folder)

    def _share_pixels(
        self, new: Observation, old: Observation, base: BaselineReference, setting: Setting, folder: Path
    ) -> tuple[Observation, Observation]:
        """Both observations, made again where one is of a guess and the other tells the pixels of the same network."""
        self._new = locate(self.artifact.path, self.artifact.name, self.artifact.encoder, setting)
        found = [as_subject(self.artifact.name, new), as_subject(str(base), old)]
        subjects = [one for one in found if one is not None]
        donors = find_donors(subjects) if len(subjects) == 2 else {}
        if 1 in donors and base.kind != "model" and subjects[0].pixels.origin == "guessed":
            donors = {0: subjects[1]}  # of two guesses, that of a baseline which can't be observed again
        if 0 in donors:
            self._new = take_over(self._new, subjects[0].pixels, donors[0])
            new = observe_located(self._new, setting, folder / "new-again")
        if 1 in donors and base.kind == "model":
            located = locate(base.path, base.path.stem, self.artifact.encoder, setting)
            self._old = take_over(located, subjects[1].pixels, donors[1])
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
