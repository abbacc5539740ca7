"""Networks written otherwise, and with faults, for `benchmarks/check.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import onnxspace as ox
from onnxspace.errors import ModelError
from onnxspace.model.model import Model
from onnxspace.model.network import embed_weights
from onnxspace.model.runtime import input_dtype


def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """As another exporter would write it: other names of tensors and nodes, weights in another order, another producer."""
    made = _copy(proto)
    graph = made.graph
    if any(a.type in (a.GRAPH, a.GRAPHS) for node in graph.node for a in node.attribute):
        made.producer_name = "another exporter"
        return made
    kept = {value.name for value in (*graph.input, *graph.output)} | {""}
    new = {name: name if name in kept else f"t{i}" for i, name in enumerate(_names(graph))}
    for i, node in enumerate(graph.node):
        node.name = f"node{i}"
        node.input[:] = [new[name] for name in node.input]
        node.output[:] = [new[name] for name in node.output]
    for tensor in graph.initializer:
        tensor.name = new.get(tensor.name, tensor.name)
    weights = sorted(graph.initializer, key=lambda tensor: tensor.name)
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(weights)
    made.producer_name = "another exporter"
    return made


def _names(graph: onnx.GraphProto) -> Iterable[str]:
    return dict.fromkeys(name for node in graph.node for name in (*node.input, *node.output))


def _copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    return made


def tensors(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Stored matrices and kernels, in the order in which nodes read them, whether initialisers or constants."""
    known = {t.name: t for t in proto.graph.initializer}
    known |= {n.output[0]: a.t for n in proto.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"}
    read = dict.fromkeys(name for node in proto.graph.node for name in node.input if name in known)
    return {name: known[name] for name in read if len(known[name].dims) > 1 and known[name].data_type in _FLOATS}


_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def _put(tensor: onnx.TensorProto, values: np.ndarray[Any, Any]) -> None:
    kept = numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values.astype(kept)), tensor.name))


def shuffled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The weights of one layer in another order: of the middle one among those with 64 weights and more."""
    made = _copy(proto)
    large = [t for t in tensors(made).values() if np.prod(t.dims) >= 64]
    chosen = large[len(large) // 2]
    values = numpy_helper.to_array(chosen)
    _put(chosen, np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape))
    return made


def _before(model: Model, nodes: Callable[[str, str], list[onnx.NodeProto]], weights: Sequence[onnx.TensorProto]) -> Any:
    """The network with something done to its image first."""
    made, name = _copy(embed_weights(model.network)), model.image.name
    for node in made.graph.node:
        node.input[:] = ["fed" if one == name else one for one in node.input]
    for i, node in enumerate(nodes(name, "fed")):
        made.graph.node.insert(i, node)
    made.graph.initializer.extend(weights)
    return made


def swapped(model: Model) -> onnx.ModelProto:
    """Fed with its channels in the other order."""
    axis = 1 if model.preprocess.layout == "NCHW" else 3
    order = numpy_helper.from_array(np.array([2, 1, 0], np.int64), "order")
    return _before(model, lambda x, y: [helper.make_node("Gather", [x, "order"], [y], axis=axis)], [order])


def normalised(model: Model) -> tuple[onnx.ModelProto, str]:
    """The network with its normalisation inside, and the sidecar that says so; from 0 to 1 where it takes 0 to 255."""
    p = model.preprocess
    if input_dtype(model.network).kind != "f":
        raise ModelError("takes whole numbers as they are: there is no normalisation to forget")
    raw = p.scale == 1 and not any(p.mean)
    outside = 1 / 255 if raw else 1.0
    factor = np.array([p.scale / outside / s for s in p.std], np.float32)
    shift = np.array([-m / s for m, s in zip(p.mean, p.std, strict=True)], np.float32)
    shape = (1, -1, 1, 1) if p.layout == "NCHW" else (1, 1, 1, -1)
    weights = [numpy_helper.from_array(v.reshape(shape), n) for n, v in (("factor", factor), ("shift", shift))]
    made = _before(model, lambda x, y: [helper.make_node("Mul", [x, "factor"], ["scaled"]), helper.make_node("Add", ["scaled", "shift"], [y])], weights)  # fmt: skip
    return made, f'scale = "{"1/255" if raw else "1"}"\nmean = [0.0]\nstd = [1.0]\ncolor = "{p.color}"\n'


def tuned(model: Model, images: np.ndarray[Any, Any], steps: int = 10, size: float = 0.02) -> onnx.ModelProto:
    """Fine-tuned by SGD: every weight tensor that the converted network holds as the file does learns."""
    import torch

    made, graph = _copy(embed_weights(model.network)), ox.to_torch(model)
    buffers = dict(graph.named_buffers())
    held = {}
    for tensor in tensors(made).values():
        values = torch.from_numpy(np.array(numpy_helper.to_array(tensor), np.float32))
        same = (n for n, b in buffers.items() if n not in held and _like(b, values) is not None)
        if (found := next(same, None)) is not None:
            held[found] = (tensor, values, _like(buffers[found], values))
    learnt = {name: buffers[name].clone().requires_grad_() for name in held}
    fed = torch.from_numpy(model.preprocess(images))
    goals = _flat(graph(fed)).detach().roll(1, 0)
    for _ in range(steps):
        loss = torch.nn.functional.mse_loss(_flat(torch.func.functional_call(graph, learnt, (fed,))), goals)
        for value, slope in zip(
            learnt.values(), torch.autograd.grad(loss, list(learnt.values()), allow_unused=True), strict=True
        ):
            if slope is not None and float(slope.norm()) > 0:
                value.data -= size * value.data.norm() * slope / slope.norm()
    for name, (tensor, _, turned) in held.items():
        _put(tensor, learnt[name].detach().permute(turned).numpy())
    if not held:
        raise ModelError("no weights of the converted network are the file's")
    return made


def _like(buffer: Any, values: Any) -> tuple[int, ...] | None:
    """The order of the buffer's axes in which it is the file's tensor; None where there is none."""
    if buffer.ndim != values.ndim or buffer.numel() != values.numel():
        return None
    orders = (order for order in permutations(range(values.ndim)) if buffer.permute(order).shape == values.shape)
    return next((order for order in orders if bool((buffer.permute(order) == values).all())), None)


def _flat(outputs: Any) -> Any:
    """The first output that has a row per image, a matrix."""
    first = outputs[0] if isinstance(outputs, tuple | list) else outputs
    return first.reshape(len(first), -1).float()
