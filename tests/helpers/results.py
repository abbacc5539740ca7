"""Results of every kind, made without models: values that tests can compare, and names that are hostile."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from onnxspace.checking.verdict import Finding, Verdict
from onnxspace.differences.precision import PrecisionLayer, PrecisionSweep
from onnxspace.differences.result import Change, DiffModel, LayerRow, ModelDiff, Node, NodeGroup, OutputRow
from onnxspace.evaluation import Evaluation, Table, evaluate
from onnxspace.inputs.probes import Probes
from onnxspace.report.explanation import Column, Explanation
from onnxspace.scores.finetuned import FineTunedModel, FineTuneRanking, Point
from onnxspace.scores.layer_table import Layer, LayerTable
from onnxspace.scores.ratings import Ratings
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import Certainty, SourceCertainty
from onnxspace.similarity.records import Failure, ModelRecord

HOSTILE = "<script>alert(1)</script>\x1b[31m\n& \u202e"
PROBE = {"name": "photos", "images": 64, "size": 224, "sha256": "0" * 64}
LOST = (Failure("broken.onnx", "broken.onnx is not an ONNX file. Export it again."),)


def name_models(count: int) -> list[str]:
    return [HOSTILE, "-1", "a", *(f"net-{i}" for i in range(3, count))][:count]


def records(count: int) -> tuple[ModelRecord, ...]:
    return tuple(
        ModelRecord(name, f"{i}.onnx", f"{i:064x}", "pool", "x", 17, "torch") for i, name in enumerate(name_models(count))
    )


def affinity(count: int = 7) -> Affinity:
    """Of two scores; one model has no value in the second one, which ranks."""
    rng = np.random.default_rng(0)
    matrix, other = rng.uniform(-1, 1, (2, count, count))
    other[:, -1] = other[-1] = np.nan
    return Affinity(
        records(count), matrix, "elrp", PROBE, failed=LOST, warnings=("Pixels of a are guessed.",),
        scores={"attribution": matrix, "cka": other}, ranked_by="cka", evidence="pictures",
    )  # fmt: skip


def certainty(count: int = 3) -> Certainty:
    rows = [
        SourceCertainty(name, 0.5 / (i + 1), 0.1, 0.9, 1 / 3 if i < count - 1 else None)
        for i, name in enumerate(name_models(count))
    ]
    return Certainty("target", tuple(rows), 40, 64)


def ratings(count: int = 4) -> Ratings:
    """The last model has no value."""
    data = {"name": "flowers", "images": 100, "kind": "classes"}
    values = np.random.default_rng(1).standard_normal((2, count))
    values[:, -1] = np.nan
    scores = {"logme": tuple(values[0].tolist()), "sfda": tuple(values[1].tolist())}
    known = (1.0, *[float("nan")] * (count - 1))
    return Ratings(records(count), scores, data, failed=LOST, warnings=("Few images.",), known=known, by=("logme", "sfda"))


def layer_table(count: int = 3) -> LayerTable:
    """The first layer has no score."""
    layers = [Layer(f"{name}/{i}", (8, 4, 4), i, i / 7, i / 3, None, None) for i, name in enumerate(name_models(count))]
    scored = [
        Layer(one.tensor, one.shape, one.trained_below, one.share_below, one.nodes, 0.1, 1 / (i + 2))
        for i, one in enumerate(layers)
    ]
    source, target = records(2)
    return LayerTable(source, target, (layers[0], *scored[1:]), 5, 1.0, "elrp", PROBE, warnings=("Few images.",))


def finetuned(count: int = 3) -> FineTuneRanking:
    models = [
        FineTunedModel(
            record,
            i + 1,
            1,
            1 - i / count,
            0.9 - i / 7,
            0.1,
            0.95,
            1 / 3,
            4,
            2,
            1.5,
            (Point(0, 1, 0.5, 0.7),),
            elsewhere=None if i else 1.5,
        )
        for i, record in enumerate(records(count))
    ]
    return FineTuneRanking(
        tuple(models), "classes", {"name": "flowers", "images": 100}, 0.25, {"epochs": 4}, LOST, ("Few images.",)
    )


def tables(count: int = 4) -> tuple[Table, Table]:
    names, rng = tuple(name_models(count)), np.random.default_rng(2)
    truth, guess = rng.standard_normal((2, count, count))
    guess[0, 1] = np.nan
    return Table("truth", "truth.csv", names, names, truth), Table("guess", "guess.csv", names, names, guess)


def evaluation(count: int = 4) -> Evaluation:
    truth, guess = tables(count)
    return evaluate(truth, [guess], relevant=1)


def verdict() -> Verdict:
    findings = (Finding("affinity", 1 / 3, 0.98, False, low=0.2, high=0.99), Finding("output_cosine", 1.0, 0.99, True))
    return Verdict(
        HOSTILE, "new.onnx", "old.fp", "different", measures={"affinity": 1 / 3, "output_cosine": 1.0, "rank_correlation": 0.5},
        findings=findings, reasons=("The last layer is another one.",), warnings=("Few images.",),
    )  # fmt: skip


def explanation() -> Explanation:
    maps = np.random.default_rng(3).standard_normal((2, 16, 16)).astype(np.float32)
    return Explanation(
        ("x.png", HOSTILE), np.zeros((2, 16, 16, 3), np.uint8), (Column(HOSTILE, "elrp", True, maps),), warnings=("Few.",)
    )


def model_diff(count: int = 3) -> ModelDiff:
    """Of a layer more than outputs; the last one has no counterpart of its size."""
    node = Node(HOSTILE, "Conv", computes=True)
    models = [
        DiffModel(name, f"{name}.onnx", "0" * 64, "torch", 17, count, count, 9, {"float32": count}) for name in ("old", HOSTILE)
    ]
    rows = [LayerRow(k, HOSTILE, f"t{k}", "Conv", "Conv", "equal", (3, 4), (3, 4), "float32", "float32") for k in range(count)]
    rows[0] = replace(
        rows[0], status="departs", max_error=0.5, relative_error=0.1, own_error=0.1, cosine=0.99, snr_db=20.0, old_range=(-1.0, 2.5),
        new_range=(-1.5, 2.0), half_overflow=0.0, half_underflow=0.25, int8_saturated=0.125,
    )  # fmt: skip
    group = NodeGroup(
        "departs", (node,), (node,), 0.1, 0.1, {"kind": "trained", "difference": 0.1}, settings=(("alpha", HOSTILE, "2"),)
    )
    changes = (Change("trained", f"Weights were trained further at {HOSTILE}.", (HOSTILE,)),)
    return ModelDiff(
        models[0], models[1], "differ", "The networks differ.", changes, group, (group,), tuple(rows), (OutputRow("y", "y", 0.5, 0.1),), PROBE,
    )  # fmt: skip


def precision_sweep(count: int = 3) -> PrecisionSweep:
    """Of a model whose last layer is not finite where it is rounded."""
    layers = [PrecisionLayer(name, "Conv", 0.01 * k, keep=False) for k, name in enumerate(name_models(count))]
    layers[-1] = replace(layers[-1], alone=None, keep=True, stored="int8")
    return PrecisionSweep(HOSTILE, "net.onnx", "int8", 0.05, tuple(layers), None, 0.04, 0.03, PROBE, "other")


def probes(bands: int = 3) -> Probes:
    return Probes(HOSTILE, np.zeros((12, 16, 16, bands), np.uint8), ("2 files are not images.",))


def every() -> SimpleNamespace:
    """All results, by name."""
    whole = affinity()
    return SimpleNamespace(
        affinity=whole, ranking=whole.rank("a"), certainty=certainty(), ratings=ratings(), layers=layer_table(),
        finetuned=finetuned(), evaluation=evaluation(), table=tables()[0], verdict=verdict(), explanation=explanation(), probes=probes(),
        diff=model_diff(), precision=precision_sweep(),
    )  # fmt: skip
