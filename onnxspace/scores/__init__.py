"""Transferability scores: how well a model's features fit labels, and how similar two models are.

Plain functions of NumPy arrays, larger is better: `sfda(features, labels)`, `cka(features_a, features_b)`. The registry,
`onnxspace.scores.registry`, lists them with their inputs. Functions are imported at their first use.

They take arrays rather than models, so that features of any origin can be scored.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxspace.scores.labelled.ensemble import Ensemble as Ensemble
    from onnxspace.scores.labelled.ensemble import sfda_ensemble as sfda_ensemble
    from onnxspace.scores.labelled.gbc import gbc as gbc
    from onnxspace.scores.labelled.h_score import h_score as h_score
    from onnxspace.scores.labelled.knn import knn as knn
    from onnxspace.scores.labelled.leep import leep as leep
    from onnxspace.scores.labelled.lfc import lfc as lfc
    from onnxspace.scores.labelled.linear_probe import linear_probe as linear_probe
    from onnxspace.scores.labelled.logme import logme as logme
    from onnxspace.scores.labelled.nce import nce as nce
    from onnxspace.scores.labelled.nleep import nleep as nleep
    from onnxspace.scores.labelled.parc import parc as parc
    from onnxspace.scores.labelled.sfda import sfda as sfda
    from onnxspace.scores.labelled.transrate import transrate as transrate
    from onnxspace.scores.pairs.attribution import attribution as attribution
    from onnxspace.scores.pairs.cka import cka as cka
    from onnxspace.scores.pairs.dds import dds as dds
    from onnxspace.scores.pairs.depara import depara as depara
    from onnxspace.scores.pairs.knn_agreement import knn_agreement as knn_agreement
    from onnxspace.scores.pairs.mean_rank import mean_rank as mean_rank
    from onnxspace.scores.pairs.modelgif import field_distance as field_distance
    from onnxspace.scores.pairs.modelgif import modelgif as modelgif
    from onnxspace.scores.pairs.predictivity import predictivity as predictivity
    from onnxspace.scores.pairs.probability_predictivity import probability_predictivity as probability_predictivity
    from onnxspace.scores.pairs.rsa import rsa as rsa
    from onnxspace.scores.pairs.svcca import svcca as svcca
    from onnxspace.scores.prepared import Prepared as Prepared
    from onnxspace.scores.prepared import prepare as prepare

_HOME = {
    **{name: f"labelled.{name}" for name in (
        "gbc", "h_score", "knn", "leep", "lfc", "linear_probe", "logme", "nce", "nleep", "parc", "sfda", "transrate",
    )},
    **{name: f"pairs.{name}" for name in (
        "attribution", "cka", "dds", "depara", "knn_agreement", "mean_rank", "modelgif", "predictivity", "probability_predictivity",
        "rsa", "svcca",
    )},
    "Ensemble": "labelled.ensemble",
    "sfda_ensemble": "labelled.ensemble",
    "field_distance": "pairs.modelgif",
    "Prepared": "prepared",
    "prepare": "prepared",
}  # fmt: skip
__all__ = [
    "Ensemble", "Prepared", "attribution", "cka", "dds", "depara", "field_distance", "gbc", "h_score", "knn", "knn_agreement",
    "leep", "lfc", "linear_probe", "logme", "mean_rank", "modelgif", "nce", "nleep", "parc", "predictivity", "prepare",
    "probability_predictivity", "rsa", "sfda", "sfda_ensemble", "svcca",
    "transrate",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onnxspace.scores' has no attribute {name!r}")
    return getattr(import_module(f"onnxspace.scores.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
