"""onnxspace: find out which trained models are related, from their ONNX files.

Public names are loaded on first use, so that importing the package is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxspace.attribution.maps import attribute as attribute
    from onnxspace.checking.check_model import check as check
    from onnxspace.checking.verdict import Verdict as Verdict
    from onnxspace.differences.precision import PrecisionSweep as PrecisionSweep
    from onnxspace.differences.result import ModelDiff as ModelDiff
    from onnxspace.differences.run import diff as diff
    from onnxspace.differences.sweep import sweep_precision as sweep_precision
    from onnxspace.errors import OnnxspaceError as OnnxspaceError
    from onnxspace.inputs.methods import Options as Options
    from onnxspace.inputs.photos import Photos as Photos
    from onnxspace.inputs.probes import Probes as Probes
    from onnxspace.model.model import Model as Model
    from onnxspace.model.model import open_model as open_model
    from onnxspace.model.records import Description as Description
    from onnxspace.scores.layer_matrix import LayerMatrix as LayerMatrix
    from onnxspace.scores.layer_table import LayerTable as LayerTable
    from onnxspace.scores.ratings import Ratings as Ratings
    from onnxspace.similarity.affinity import Affinity as Affinity
    from onnxspace.workflows.explain import explain as explain
    from onnxspace.workflows.faithfulness import measure_faithfulness as measure_faithfulness
    from onnxspace.workflows.finetune import rank_finetuned as rank_finetuned
    from onnxspace.workflows.finetune_answers import rank_by_answers as rank_by_answers
    from onnxspace.workflows.finetune_one import finetune as finetune
    from onnxspace.workflows.inspect import inspect as inspect
    from onnxspace.workflows.layer_matrix import compare_layers as compare_layers
    from onnxspace.workflows.layers import layers as layers
    from onnxspace.workflows.rate import rate as rate
    from onnxspace.workflows.score import score as score
    from onnxspace.workflows.space import Space as Space
    from onnxspace.workflows.torch_graph import to_torch as to_torch

_HOME = {
    "Affinity": "similarity.affinity",
    "Description": "model.records",
    "LayerMatrix": "scores.layer_matrix",
    "LayerTable": "scores.layer_table",
    "Model": "model.model",
    "ModelDiff": "differences.result",
    "OnnxspaceError": "errors",
    "Options": "inputs.methods",
    "Photos": "inputs.photos",
    "PrecisionSweep": "differences.precision",
    "Probes": "inputs.probes",
    "Ratings": "scores.ratings",
    "Space": "workflows.space",
    "Verdict": "checking.verdict",
    "attribute": "attribution.maps",
    "check": "checking.check_model",
    "compare_layers": "workflows.layer_matrix",
    "diff": "differences.run",
    "explain": "workflows.explain",
    "finetune": "workflows.finetune_one",
    "inspect": "workflows.inspect",
    "layers": "workflows.layers",
    "measure_faithfulness": "workflows.faithfulness",
    "open_model": "model.model",
    "rank_by_answers": "workflows.finetune_answers",
    "rank_finetuned": "workflows.finetune",
    "rate": "workflows.rate",
    "score": "workflows.score",
    "sweep_precision": "differences.sweep",
    "to_torch": "workflows.torch_graph",
}
__all__ = [
    "Affinity", "Description", "LayerMatrix", "LayerTable", "Model", "ModelDiff", "OnnxspaceError", "Options", "Photos", "PrecisionSweep",
    "Probes", "Ratings", "Space", "Verdict", "attribute", "check", "compare_layers", "diff", "explain", "finetune", "inspect", "layers",
    "measure_faithfulness", "open_model", "rank_by_answers", "rank_finetuned", "rate", "score", "sweep_precision", "to_torch",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("onnxspace")
    if name not in _HOME:
        raise AttributeError(f"module 'onnxspace' has no attribute {name!r}")
    try:
        return getattr(import_module(f"onnxspace.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        from onnxspace.errors import MissingLibraryError, describe_missing

        raise MissingLibraryError(describe_missing(error), name=error.name) from error


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
