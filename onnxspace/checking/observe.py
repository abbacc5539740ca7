"""How artifacts are observed: images and method of a plan, and the child processes that run models."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxspace.checking.baseline import parse_reference
from onnxspace.checking.observation import Observation, load_observation
from onnxspace.checking.plan import Artifact, CheckPlan
from onnxspace.checking.sandbox import Limits, run_in_child
from onnxspace.errors import ConfigError, ModelError, ProbeError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Compute, Device
from onnxspace.inputs.methods import DEFAULT_METHOD, Options, check_target, resolve_settings
from onnxspace.inputs.photo_folder import drop_skipping
from onnxspace.inputs.probes import DEFAULT_SIZE, Probes
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.inputs.targets import describe_target
from onnxspace.inputs.weight_sketch import WeightSketch
from onnxspace.similarity.fingerprints.agreement import Agreement, ProtocolRequest
from onnxspace.similarity.one_network import Subject
from onnxspace.workflows.requests import LocatedModel, locate_model, named_as_given


@dataclass(frozen=True)
class Setting:
    """How artifacts are observed: images and method, limits and device of the child processes, the models' configuration.

    `whole` says that ONNX Runtime must be able to load and run all of a model.
    """

    agreement: Agreement
    limits: Limits
    device: Compute | Device = "auto"
    config: Config = field(default_factory=Config)
    whole: bool = True

    @property
    def compute(self) -> Compute:
        """The device with all that is stated of it."""
        return self.device if isinstance(self.device, Compute) else Compute(self.device)


def resolve_check_config(plan: CheckPlan, config: str | Path | None, pixels: Pixels) -> Config:
    """The configuration of a plan's artifacts and of the models that they are compared with. Raises ConfigError."""
    bases = [base.path for one in plan.artifacts if (base := parse_reference(one.against)).kind == "model"]
    return resolve_config(config, [*(one.path for one in plan.artifacts), *bases], pixels)


def refuse_broken(found: Observation) -> None:
    """Raise ModelError for an observation without finite outputs that could be compared."""
    if found.broken:
        raise ModelError(found.broken)


def request_protocol(plan: CheckPlan, artifact: Artifact, config: Config) -> ProtocolRequest:
    """The images, method and options that a plan names. Raises ProbeError, and ConfigError for options the method has not."""
    options = None if plan.pixels is None else Options(baseline=plan.pixels)
    resolve_settings([plan.method or DEFAULT_METHOD], options)
    return ProtocolRequest(plan_probes(plan, artifact), plan.method, options, config.rules)


def add_target(agreement: Agreement, plan: CheckPlan, base: str) -> Agreement:
    """The agreement with the target of the plan.

    Raises ConfigError where the method explains none, or where `base`, a fingerprint or a model of a space, holds maps of another.
    """
    held = agreement.setup.target
    if plan.target in (None, held):
        return agreement
    check_target(agreement.setup.method, plan.target)
    if parse_reference(base).kind != "model":
        raise ConfigError(
            f"{base} holds maps of {describe_target(held)}, not of {plan.target.words}. Compare with a model file, or leave the target out."
        )
    return replace(agreement, setup=replace(agreement.setup, target=plan.target))


def plan_probes(plan: CheckPlan, artifact: Artifact) -> Probes | None:
    """The probe images that an artifact or its plan has or names; None where neither does. Raises ProbeError."""
    if plan.probes is not None:
        return plan.probes
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
    if facts.pixels is None:
        return None
    return Subject(name, facts.pixels, facts.sketch or WeightSketch(facts.pixels.architecture))


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
        "options": None if setup.options is None else asdict(setup.options), "device": setting.compute.device, "precision": setup.precision, "threads": setting.compute.threads, "whole": setting.whole,
        "explained": None if setup.target is None else setup.target.to_json(), **more,
    }  # fmt: skip
    with named_as_given(model):
        return run_in_child(task, request, folder, setting.limits, model.path)
