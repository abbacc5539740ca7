"""When an operator's values count as equal to ONNX Runtime's, and who decides where they are not.

ONNX Runtime has approximate kernels: its InstanceNormalization loses digits where a channel is nearly constant, its Sigmoid is
inexact near zero, its products of 8-bit integers saturate on some processors. So the ONNX reference implementation is asked, and
then how far the operator's own result moves when its inputs move by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.model import runtime
from onnxspace.model.graph import names_read_by
from onnxspace.model.network import Network
from onnxspace.model.noise import move_inputs
from onnxspace.model.shapes import infer_shapes

#: Largest difference of one operator's result, relative to its largest value: a tenth of a fault of one per cent.
TOLERANCE = 1e-3
#: The same where rounding of the inputs moves the result by as much.
COARSE = 0.05
#: Share of rounded integers that may be one step off, because they lie between two.
_TIES = 0.05
_WHOLE = 1e-3  # a smaller difference of integers is rounding of single precision
_SPREAD, _DRAWS = 3.0, 3
_ROUNDING = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm")


def compare_values(operator: str, ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The difference of two results of `operator` in units of what is allowed: up to 1 they are equal.

    Integers are equal or not, except those of operators that round, of which a few may be one step off.
    """
    if ours.shape != theirs.shape:
        return float("inf")
    if theirs.dtype.kind in "iu" and operator.startswith(_ROUNDING):
        return _compare_steps(ours, theirs)
    if theirs.dtype.kind not in "f":
        return 0.0 if np.array_equal(ours, theirs) else float("inf")
    return _relative_difference(ours, theirs) / TOLERANCE


def _compare_steps(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    steps = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    apart = int((steps > _WHOLE).sum())
    return 0.0 if steps.max(initial=0) <= 1.5 and apart <= max(2, _TIES * steps.size) else float("inf")


def _relative_difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The largest difference over the largest value, of finite values; infinite where others are not in the same places."""
    finite = np.isfinite(theirs)
    if not finite.all():
        if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
            return float("inf")
        ours, theirs = ours[finite], theirs[finite]
    gap = np.abs(ours - theirs).max(initial=0.0)
    return float(gap / max(np.abs(theirs).max(initial=0.0), 1e-6)) if np.isfinite(gap) else float("inf")


def is_confirmed(normal: Network, node: onnx.NodeProto, name: str, ours: NDArray[Any], values: Mapping[str, Any]) -> bool:
    """Whether the result `ours` of a node, its tensor `name`, is right although ONNX Runtime's differs.

    `normal` is the network of the node, `values` holds all that the node reads and computes. True where the reference
    implementation has the same result, or where ONNX Runtime's own moves as far when the inputs move by rounding.
    """
    try:
        alone = extract_node(normal, node, values)
        feed = {value.name: values[value.name] for value in alone.proto.graph.input}
        position = [value.name for value in alone.proto.graph.output].index(name)
    except Exception:  # a node that can't be run alone has no second opinion
        return False
    return _agrees_with_reference(alone, feed, position, node.op_type, ours) or _is_within_noise(alone, feed, position, ours)


def extract_node(normal: Network, node: onnx.NodeProto, values: Mapping[str, Any]) -> Network:
    """A network of one node, with computed tensors as its inputs; `values` holds them, by name."""
    return extract_nodes(normal, [node], values, {name: kind for name, (_, kind) in infer_shapes(normal.proto, {}).items()})


def extract_nodes(
    normal: Network, nodes: Sequence[onnx.NodeProto], values: Mapping[str, Any], kinds: Mapping[str, int]
) -> Network:
    """A network of some nodes in order, with the tensors that are computed before them as its inputs, and all of theirs as outputs.

    `values` holds these inputs by name, `kinds` element types of tensors as far as they are known.
    """
    made = {name for node in nodes for name in node.output if name}
    used = dict.fromkeys(name for node in nodes for name in names_read_by(node) if name not in made)
    proto = onnx.ModelProto(ir_version=normal.proto.ir_version, opset_import=normal.proto.opset_import)
    proto.graph.name = "alone"
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(t for t in normal.proto.graph.initializer if t.name in used)
    for name in (name for name in used if name in values):
        kind = kinds.get(name) or onnx.helper.np_dtype_to_tensor_dtype(values[name].dtype)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, values[name].shape))
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for node in nodes for name in node.output if name)
    return Network(proto, {name: array for name, array in normal.weights.items() if name in used})


def _agrees_with_reference(alone: Network, feed: Mapping[str, Any], position: int, operator: str, ours: NDArray[Any]) -> bool:
    try:
        return compare_values(operator, ours, np.asarray(runtime.run_small_reference(alone, feed)[position])) <= 1
    except Exception:  # it lacks the operator, or would take too long
        return False


def _is_within_noise(alone: Network, feed: Mapping[str, Any], position: int, ours: NDArray[Any]) -> bool:
    """Whether the result differs from ONNX Runtime's by no more, in the mean, than that moves with its inputs."""
    try:
        runner = runtime.Runner(alone)
        theirs = runner(feed)[position]
        moved = [runner(move_inputs(feed, np.random.default_rng(seed)))[position] for seed in range(_DRAWS)]
    except Exception:  # ONNX Runtime's errors share no base class
        return False
    if theirs.dtype.kind != "f" or _relative_difference(ours, theirs) > COARSE:
        return False
    return _root_mean_square(ours - theirs) <= _SPREAD * max(_root_mean_square(other - theirs) for other in moved)


def _root_mean_square(values: NDArray[Any]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.sqrt((finite * finite).mean())) if finite.size else 0.0
