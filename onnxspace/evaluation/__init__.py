"""How good rankings are, held against what is known: precision, rank correlations, regret, and the static baseline."""

from onnxspace.evaluation.result import Evaluation as Evaluation
from onnxspace.evaluation.result import Scored as Scored
from onnxspace.evaluation.tables import Table as Table
from onnxspace.evaluation.together import evaluate as evaluate

__all__ = ["Evaluation", "Scored", "Table", "evaluate"]
