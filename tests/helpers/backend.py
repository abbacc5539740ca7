"""The `onnx` package's own backend tests, put through `to_torch`: passed, refused, or wrong.

python -m tests.helpers.backend [--only SUBSTRING] [--show refused|wrong|passed] [--kinds node,simple]
"""

from __future__ import annotations

import argparse
import collections
import glob
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from onnxspace.errors import OnnxspaceError
from onnxspace.torchgraph.encoder_graph import to_torch
from onnxspace.torchgraph.whole_model import as_input, to_arrays

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
KNOWN = Path(__file__).with_name("backend_known.tsv")
Outcome = Literal["passed", "refused", "wrong"]


@dataclass(frozen=True)
class Case:
    """One backend test: a model, and input and output values in pairs."""

    name: str
    model: onnx.ModelProto
    data: list[tuple[list[Any], list[Any]]]
    rtol: float
    atol: float


def cases(kinds: tuple[str, ...] = KINDS, only: str = "", every: int = 1) -> Iterator[Case]:
    """The tests of these kinds whose names contain `only`, of each kind one in `every`; the others are not read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in kinds:
            for test in load_model_tests(kind=kind)[::every]:
                if only in test.name:
                    model = test.model or onnx.load(Path(test.model_dir) / "model.onnx")
                    data = test.data_sets if test.data_sets is not None else _stored(test.model_dir, model)
                    yield Case(test.name, model, data, test.rtol, test.atol)


def _stored(folder: str, model: onnx.ModelProto) -> list[tuple[list[Any], list[Any]]]:
    sets = sorted(glob.glob(f"{folder}/test_data_set_*"))  # noqa: PTH207
    return [(_read(name, "input", model.graph.input), _read(name, "output", model.graph.output)) for name in sets]


def _read(folder: str, kind: str, values: Any) -> list[Any]:
    found = []
    for index in range(len(values)):
        path = Path(folder) / f"{kind}_{index}.pb"
        if path.exists():
            found.append(_value(path.read_bytes(), values[index]))
    return found


def _value(content: bytes, declared: onnx.ValueInfoProto) -> Any:
    if declared.type.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if declared.type.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def outcome(case: Case) -> tuple[Outcome, str]:
    """What becomes of one case, with the reason in words; an error outside the family counts as wrong."""
    try:
        return _judged(case)
    except Exception as error:
        return "wrong", f"unexpected {type(error).__name__}: {error}"


def _judged(case: Case) -> tuple[Outcome, str]:
    try:
        graph, how = _converted(case)
    except OnnxspaceError as error:
        return "refused", str(error)
    for inputs, outputs in case.data:
        try:
            with torch.no_grad():
                found = graph(*[as_input(as_array(value)) for value in inputs])
        except Exception as error:
            return "refused", f"{type(error).__name__}: {error}"
        listed = to_arrays(list(found) if isinstance(found, tuple) else [found])
        expected = to_arrays([as_array(value) for value in outputs])
        if len(listed) != len(expected):
            return "wrong", f"{len(listed)} values, not {len(expected)}"
        for ours, theirs in zip(listed, expected, strict=True):
            reason = _apart(ours, theirs, case)
            if reason:
                return "wrong", reason
    return "passed", how


def _converted(case: Case) -> tuple[torch.fx.GraphModule, str]:
    """The converted model, and how: some make sense with examples of their inputs only."""
    try:
        return to_torch(case.model), ""
    except OnnxspaceError:
        if not case.data:
            raise
        return to_torch(case.model, inputs=[as_array(value) for value in case.data[0][0]]), "with examples of its inputs"


def as_array(value: Any) -> Any:
    """A stored value that the package keeps as a message, as an array."""
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _apart(ours: NDArray[Any], theirs: NDArray[Any], case: Case) -> str:
    if tuple(ours.shape) != theirs.shape:
        return f"shape {tuple(ours.shape)}, not {theirs.shape}"
    half = theirs.dtype.itemsize <= 2 and theirs.dtype.kind not in "iub"
    first, second = ours.astype(np.float64), theirs.astype(np.float64)
    rtol, atol = max(case.rtol, 2e-2 if half else 1e-3), max(case.atol, 1e-2 if half else 1e-5)
    if np.allclose(first, second, rtol=rtol, atol=atol, equal_nan=True):
        return ""
    return f"values differ by up to {np.nanmax(np.abs(first - second)):.3g}"


def read_known() -> dict[str, tuple[str, str]]:
    """Every listed test with its outcome and reason."""
    rows = (line.split("\t") for line in KNOWN.read_text("utf-8").splitlines() if not line.startswith("#"))
    return {name: (result, reason) for name, result, reason in rows}


def write_known(found: dict[str, tuple[Outcome, str]]) -> None:
    lines = [f"{name}\t{result}\t{_reason(why)}" for name, (result, why) in sorted(found.items())]
    head = f"# Backend tests of onnx {onnx.__version__}: name, outcome, reason. Written by python -m tests.helpers.backend --write."
    KNOWN.write_text("\n".join([head, *lines]) + "\n", "utf-8")


def _reason(text: str) -> str:
    """A refusal without what names the test itself."""
    first = " ".join((text.splitlines() or [""])[0].split())
    first = re.sub(r"^test_\w+: ", "", first).removesuffix(" Name an --encoder below it.")
    return first[:160]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--show", choices=("refused", "wrong", "passed"))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--write", action="store_true", help="write backend_known.tsv from all tests")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    count: collections.Counter[str] = collections.Counter()
    found: dict[str, tuple[Outcome, str]] = {}
    for case in cases(tuple(chosen.kinds.split(",")), chosen.only):
        result, reason = found[case.name] = outcome(case)
        count[result] += 1
        if result == chosen.show or (result == "wrong" and chosen.show is None):
            print(f"{result}: {case.name}: {reason.splitlines()[0][:200] if reason else ''}")
    print(dict(count), file=sys.stderr)
    if chosen.write:
        write_known(found)


if __name__ == "__main__":
    main()
