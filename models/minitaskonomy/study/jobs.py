"""What the study computes, in pieces that are kept: a piece per family of scores and probe set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.minitaskonomy.cache import Arrays, Cache, digest_recipe
from models.minitaskonomy.study import attribution_targets, features, label_scores, map_similarity, maps, prediction
from models.minitaskonomy.study.maps import MapJob
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import Zoo
from onnxspace.inputs.execution import Device
from onnxspace.inputs.methods import Method
from onnxspace.inputs.probes import Probes
from onnxspace.similarity.fingerprints.count_sketch import affinities, project

#: Raised when pieces of before can't be used any more.
FORMAT = 2
#: Raised for one kind of piece when its values change; pieces of other kinds stay valid. Of `labelled`, 1: PARC's ties are exact;
#: 2: the probe has balanced folds, and of patches there are 1,600. 1 of predictions: four folds in place of halves.
REVISIONS = {"labelled": 2, "predicting": 1, "by tool": 1, "default": 1}
BASELINES = ("zero", "mean", "black", "blur")
#: What `onnxspace score` does without options: the ranking, and the affinity of maps.
DEFAULT, AFFINITY = "default", "default maps"
#: Images on which cosines of changed maps are taken, where it is not all.
SOME = 128
#: Numbers per image of the fingerprints.
SKETCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def _override_rules(name: str, method: Method, **rules: Any) -> MapJob:
    """One method with entries over its rules, at the zero baseline."""
    return MapJob(f"{name}", (method,), ("zero",), options={"rules": rules})


MAPS = (
    MapJob("gradient", ("gradient-x-input",), BASELINES, changed=SOME),
    MapJob("saliency", ("saliency",), changed=SOME),
    MapJob("elrp", ("elrp",), BASELINES, changed=512),
    *(MapJob(name, (name,), BASELINES, changed=SOME) for name in ("lrp-epsilon", "lrp-gamma", "lrp-zplus", "lrp-alpha-beta", "attnlrp")),
    MapJob("lrp-composite", ("lrp-composite",), changed=SOME),
    MapJob("integrated-gradients", ("integrated-gradients",), ("zero", "blur"), 64, changed=SOME, options={"steps": 20}),
    MapJob("smoothgrad", ("smoothgrad",), images=64, changed=SOME, options={"samples": 25}),
    MapJob("unit-saliency", ("unit-saliency",), images=64, changed=SOME),
    *(MapJob(f"elrp-of-{what}", ("elrp",), ("zero",), explained=what, changed=SOME) for what in attribution_targets.EXPLAINED),
    _override_rules("lrp-epsilon-large", "lrp-epsilon", epsilon=0.1),
    _override_rules("lrp-gamma-large", "lrp-gamma", gamma=1.0),
    _override_rules("lrp-alpha-one", "lrp-alpha-beta", alpha=1.0, beta=0.0),
    _override_rules("elrp-offset", "elrp", Sigmoid="ratio-offset", Softplus="ratio-offset"),
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One piece: `kind` says what is made, `told` of it which, on the probe set `probe`."""

    kind: str
    probe: str
    told: Any = ""

    @property
    def name(self) -> str:
        return "-".join(part for part in (self.kind, getattr(self.told, "name", self.told), self.probe) if part)


@dataclass
class Bench:
    """What jobs work with. `rooms` opens a split of the rendered rooms, for labels."""

    zoo: Zoo
    probes: dict[str, Path]
    device: Device
    rooms: Callable[[str], Any]

    def images(self, probe: str) -> Probes:
        return Probes(probe, np.load(self.probes[probe], mmap_mode="r", allow_pickle=False))

    def recipe(self, job: Job) -> str:
        told = asdict(job.told) if isinstance(job.told, MapJob) else job.told
        pictures = self.images(job.probe).sha256 if job.probe in self.probes else job.probe
        facts = {"format": FORMAT, "zoo": self.zoo.sha256, "probes": pictures, "kind": job.kind, "told": told}
        return digest_recipe(facts | ({"revision": REVISIONS[job.kind]} if job.kind in REVISIONS else {}))


def list_first_jobs(probes: list[str]) -> list[Job]:
    """What others read: files of features and outputs."""
    return [Job("features", probe) for probe in probes]


def list_jobs(probes: list[str]) -> list[Job]:
    """Every other piece, those that take longest first."""
    jobs = [Job("maps", probe, one) for probe in probes for one in MAPS]
    jobs.sort(key=lambda job: -_estimate_cost(job.told))
    jobs += [Job("pairs", probe, name) for probe in probes for name in features.PAIRS]
    jobs += [Job(kind, probe) for probe in probes for kind in ("predicting", "by tool", "alone", "fields", "layers")]
    return [*jobs, Job("default", DEFAULT), Job("labelled", "transfer")]


def _estimate_cost(job: MapJob) -> int:
    per_image = {"integrated-gradients": 60, "smoothgrad": 30, "unit-saliency": 40}.get(job.methods[0], 3)
    return per_image * job.images


def compute(job: Job, bench: Bench) -> Arrays:
    """The arrays of one piece."""
    if job.kind == "labelled":
        return label_scores.compute_label_scores(bench.zoo, TASKS, bench.rooms("transfer"))
    probes = bench.images(job.probe)
    if job.kind == "maps":
        if job.told.explained != "sum":
            _write_copies(bench.zoo, probes, job.told.explained)
        return maps.compare_maps(job.told, bench.zoo, probes, bench.device)
    if job.kind == "features":
        ends = features.load_features(bench.zoo, probes), prediction.load_outputs(bench.zoo, probes)
        return {
            name: np.array([len(values) for values in found]) for name, found in zip(("encoder", "output"), ends, strict=True)
        }
    if job.kind == "layers":
        return maps.compare_layers(bench.zoo, _take_first(probes, 64), bench.device)
    if job.kind == "fields":
        return features.compare_fields(bench.zoo, probes, bench.device)
    if job.kind == "pairs":
        return features.compute_pair_scores(job.told, bench.zoo, probes)
    if job.kind == "default":
        return compute_default(bench.zoo, probes, bench.device)
    return {
        "predicting": prediction.compute_predictions,
        "by tool": prediction.score_outputs,
        "alone": features.measure_dimensions,
    }[job.kind](bench.zoo, probes)


def _take_first(probes: Probes, images: int) -> Probes:
    return Probes(probes.name, np.ascontiguousarray(probes.images[:images]))


def _write_copies(zoo: Zoo, probes: Probes, what: str) -> None:
    """Files that explain another number; scales and directions are those of the first 128 images."""
    for entry, values in zip(zoo.entries, features.load_features(zoo, probes), strict=True):
        _, encoder = zoo.open(entry)
        attribution_targets.write_copy(
            entry.path, encoder.tensors[0], what, np.asarray(values[:128]), zoo.copy_of(entry, probes, what)
        )


def compute_default(zoo: Zoo, probes: Probes, device: Device) -> Arrays:
    """What `onnxspace score` does without options, and fingerprints of several sizes: matrices [models, models]."""
    found = maps.compute_maps(MapJob("", ("elrp",)), zoo, probes, device, "elrp", None)
    features_there, outputs = features.load_features(zoo, probes), prediction.load_outputs(zoo, probes)
    arrays: Arrays = {AFFINITY: map_similarity.compute_cosines(found)}
    arrays[DEFAULT] = prediction.compute_predictivity(zoo, features_there, outputs, len(probes))
    for numbers in SKETCHES:
        prints = np.stack([project(map_similarity.normalise(found[:, i]), numbers) for i in range(len(zoo.entries))]).astype(
            np.float16
        )
        arrays[f"fingerprint {numbers}"] = affinities(prints, prints)[0]
    return arrays


def run_job(job: Job, bench: Bench, kept: Cache) -> bool:
    """Make a piece where it is not there; says whether it was made."""
    wanted = bench.recipe(job)
    if kept.read(job.name, wanted) is not None:
        return False
    kept.write(job.name, wanted, compute(job, bench))
    return True
