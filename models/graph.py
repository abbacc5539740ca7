"""The exported file: cleaned, its encoder found, checked against the framework."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


def clean(path: Path) -> None:
    """Drop notes on where the file was made, infer the shapes again, check in full."""
    model = onnx.load(path)
    model.ClearField("doc_string")
    del model.metadata_props[:], model.graph.value_info[:]
    for part in (
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
        *model.functions,
    ):
        part.ClearField("doc_string")
        del part.metadata_props[:]
    for node in model.graph.node:
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(model: Path | onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """All outputs of ONNX Runtime on two threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 3
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def difference(path: Path, x: np.ndarray, native: np.ndarray) -> float:
    """Largest difference from the framework's output, relative to its largest value."""
    output = run(path, x)[0]
    assert output.shape == native.shape, (output.shape, native.shape)
    return float(np.abs(output - native).max() / np.abs(native).max())


def _paths(nodes: list[onnx.NodeProto], start: set[str]) -> Counter[str]:
    """How many ways lead from `start` to each tensor."""
    ways = Counter(dict.fromkeys(start, 1))
    for node in nodes:
        count = sum(ways[name] for name in node.input)
        for name in node.output if count and node.op_type != "Shape" else ():
            ways[name] += count
    return ways


def _reversed(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The graph with every arrow turned round."""
    return [onnx.helper.make_node(node.op_type, node.output, node.input) for node in reversed(nodes) if node.op_type != "Shape"]


def _after_weights(nodes: list[onnx.NodeProto], start: set[str]) -> set[str]:
    """Tensors with a convolution or matrix product between them and `start`."""
    reached: dict[str, bool] = defaultdict(bool, dict.fromkeys(start, False))
    for node in nodes:
        known = [reached[name] for name in node.input if name in reached]
        for name in node.output if known else ():
            reached[name] = reached[name] or any(known) or node.op_type in WEIGHTED
    return {name for name, passed in reached.items() if passed}


def encoder(path: Path, x: np.ndarray) -> tuple[str, np.ndarray]:
    """The bottleneck: its name and its value at `x`.

    Of the tensors that every path from input to outputs passes, with weights on both sides,
    the one with the fewest elements, the latest if several have as few.
    """
    model = onnx.load(path)
    nodes = list(model.graph.node)
    inputs = {model.graph.input[0].name}
    outputs = {value.name for value in model.graph.output}
    ahead, back = _paths(nodes, inputs), _paths(_reversed(nodes), outputs)
    total = sum(ahead[name] for name in outputs)
    both = _after_weights(nodes, inputs) & _after_weights(_reversed(nodes), outputs)
    names = [name for node in nodes for name in node.output if name in both and ahead[name] * back[name] == total]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    values = dict(zip(names, run(model, x), strict=True))
    best = min(reversed(names), key=lambda name: values[name].size)
    return best, values[best]
