"""A fine-tuned network as an ONNX file: the graph of the original with trained weights, and the new head behind its encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxspace.errors import ConversionError
from onnxspace.finetuning.trainee import Trainee
from onnxspace.finetuning.training_graph import write_weights
from onnxspace.model import runtime
from onnxspace.model.network import Network, embed_weights
from onnxspace.storage.atomic import whole_file

OUTPUT = "answers"
_GAP = 1e-3  # relative to the largest answer


def export_trainee(trainee: Trainee, names: tuple[str, ...]) -> onnx.ModelProto:
    """Return a trained network as an ONNX model whose output `answers` is float32 [images, outputs]: logits, or numbers.

    `names` are those of the outputs, stored as metadata. The model is compared with the Torch network by ONNX Runtime; raises
    ConversionError where they differ.
    """
    graph = trainee.graph
    trained = {name: tensor.detach().cpu().numpy() for name, tensor in graph.weights.items()}
    network = write_weights(graph.network, {name: trained[name] for name in graph.trained})
    proto = network.proto
    pooled = [_pool(proto, value.name, rank) for value, rank in zip(proto.graph.output, graph.ranks, strict=True)]
    _add_head(proto, pooled, trainee)
    del proto.metadata_props[:]
    helper.set_model_props(proto, {"names": json.dumps(list(names))})
    _verify(network, trainee)
    return embed_weights(network)


def _pool(proto: onnx.ModelProto, tensor: str, rank: int) -> str:
    """Add the nodes that average positions, and return the name of the pooled tensor."""
    pooled = f"{tensor}__pooled"
    if rank >= 4:
        proto.graph.node.append(helper.make_node("GlobalAveragePool", [tensor], [f"{tensor}__mean"]))
        tensor = f"{tensor}__mean"
    elif rank == 3:
        proto.graph.node.append(helper.make_node("Transpose", [tensor], [f"{tensor}__channels"], perm=[0, 2, 1]))
        proto.graph.node.append(helper.make_node("GlobalAveragePool", [f"{tensor}__channels"], [f"{tensor}__mean"]))
        tensor = f"{tensor}__mean"
    proto.graph.node.append(helper.make_node("Flatten", [tensor], [pooled], axis=1))
    return pooled


def _add_head(proto: onnx.ModelProto, pooled: list[str], trainee: Trainee) -> None:
    features = pooled[0]
    if len(pooled) > 1:
        features = "features__joined"
        proto.graph.node.append(helper.make_node("Concat", pooled, [features], axis=1))
    weight = (trainee.head.weight / trainee.size).detach().cpu().numpy()
    values = {"head__weight": weight, "head__bias": trainee.head.bias.detach().cpu().numpy()}
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    proto.graph.node.append(helper.make_node("Gemm", [features, *values], [OUTPUT], "head", transB=1))
    del proto.graph.output[:], proto.graph.value_info[:]
    proto.graph.output.append(helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ("images", len(weight))))


def _verify(network: Network, trainee: Trainee) -> None:
    rows = np.arange(min(2, len(trainee.pictures)))
    expected = trainee.answer(rows)
    batch = trainee.pictures.batch(rows).cpu().numpy()
    (found,) = runtime.run(network, {network.proto.graph.input[0].name: batch})
    gap = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-6))
    if not gap <= _GAP:
        raise ConversionError(
            f"{trainee.graph.path}: the fine-tuned network differs from its ONNX form (relative difference {gap:.2g})."
        )


def save_model(proto: onnx.ModelProto, file: Path, sidecar: str) -> None:
    """Write a model, and the sidecar that states its preprocessing, each atomically. Raises OutputError."""
    with whole_file(file) as partial:
        partial.write_bytes(proto.SerializeToString())
    with whole_file(file.with_suffix(".onnxspace.toml")) as partial:
        partial.write_text(sidecar, "utf-8")


def describe_preprocessing(trainee: Trainee) -> str:
    """The text of the sidecar: layout, colours and scaling of the network's input."""
    given = trainee.pictures.preprocess
    lines = [
        f"size = [{given.height}, {given.width}]", f'layout = "{given.layout}"', f'color = "{given.color}"',
        f'resize = "{given.resize}"', f"scale = {given.scale!r}", f"mean = {list(given.mean)}", f"std = {list(given.std)}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
