"""Which operators a GPU must be waited for: the table of `docs/operators.md`, on a device without data."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import torch

from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.errors import OnnxspaceError
from onnxspace.torchgraph.encoder_graph import to_torch
from onnxspace.torchgraph.registry import CONVERTERS, host_inputs
from onnxspace.torchgraph.support import SYNCHRONISING
from onnxspace.torchgraph.whole_model import as_input
from tests.helpers.backend import Case, as_array, cases
from tests.helpers.device_watch import list_waits

META = torch.device("meta")
#: Inputs of onnx's tests of these are shapes or counts that are not stored, and nothing else: they always read them.
_FROM_INPUTS = {"BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "MelWeightMatrix", "STFT"}


def to_meta(value: Any) -> Any:
    if isinstance(value, list):
        return [to_meta(one) for one in value]
    return value.to(META) if isinstance(value, torch.Tensor) else value


def reads(case: Case) -> tuple[set[str], bool]:
    """The operators that read values in a test of `onnx`, and whether the test could be run."""
    try:
        graph = copy_graph(to_torch(case.model)).to(META)
        inputs = [to_meta(as_input(as_array(value))) for value in case.data[0][0]]
    except (OnnxspaceError, TypeError, ValueError):
        return set(), False
    found = {name for name, what in list_waits(graph, *inputs) if what == "reads values"}
    on_host = {name.rsplit("_", 1)[0] for name, module in graph.named_children() if host_inputs(module)}
    return found - on_host - _FROM_INPUTS, True


def test_the_table_names_every_operator_that_reads_values() -> None:
    """Tests of single operators, two of each in the table and every eighth of the others."""
    found, run, seen = set(), 0, Counter[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, case in enumerate(cases(("node",))):
            operator = case.model.graph.node[0].op_type
            seen[operator] += 1
            if case.data and (number % 8 == 0 or (operator in SYNCHRONISING and seen[operator] <= 2)):
                names, possible = reads(case)
                found, run = found | names, run + possible
    assert run > 100
    assert found <= set(SYNCHRONISING)
    assert {"Compress", "NonZero", "Unique", "RoiAlign"} <= found


def test_operators_of_the_table_are_converted() -> None:
    assert set(SYNCHRONISING) <= {operator for _, operator, _ in CONVERTERS}
