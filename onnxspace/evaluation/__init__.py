"""Evaluation of rankings against ground truth: precision, rank correlations, regret, and the static baseline.

Separate from `scores`, because it evaluates any ranking, including tables of results from elsewhere.
"""

from onnxspace.evaluation.evaluator import evaluate as evaluate
from onnxspace.evaluation.result import Evaluation as Evaluation
from onnxspace.evaluation.result import Scored as Scored
from onnxspace.evaluation.table import Table as Table

__all__ = ["Evaluation", "Scored", "Table", "evaluate"]
