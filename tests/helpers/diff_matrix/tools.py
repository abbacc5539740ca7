"""Pairs of files of further networks as tools write them: exporters, optimisers, converters of precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import ModelProto, numpy_helper

from tests.helpers import diff_edits as edits
from tests.helpers import diff_more_edits as more
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_kinds import write_kind
from tests.helpers.diff_matrix.pair import ALL_LAYERS, Pair, of, of_files


def list_tools() -> Iterator[tuple[str, Pair]]:
    """Exporters, optimisers and half precision."""
    kinds = {kind: (lambda k=kind: write_kind(k)) for kind in ("mobile", "decoder", "joined")}
    mobile, decoder, joined = kinds["mobile"], kinds["decoder"], kinds["joined"]
    yield (
        "mobile optimised",
        of_files(lambda f: (mobile(), pairs.optimise(mobile(), f, "ORT_ENABLE_BASIC")), "same", {"folded", "fused"}),
    )
    yield "joined optimised", of_files(lambda f: (joined(), pairs.optimise(joined(), f)), "same", "fused")
    yield "decoder for any number of images", of_files(
        lambda _: (write_kind("decoder", batch=True), write_kind("decoder", folded=True)), "same", "input-size", "any×3×32×32")  # fmt: skip
    yield "decoder by the other exporter", of_files(
        lambda _: (decoder(), write_kind("decoder", dynamo=True)), "same", {"re-export", "opset"})  # fmt: skip
    yield "joined of another operator set", of(joined, lambda m: pairs.convert_opset(m, 20), "same", "opset")
    yield "mobile in half precision", of(mobile, pairs.halve, "rounding", "half")
    yield "producer without a version", of_files(
        lambda _: (more.set_producer(pairs.base(), "tf2onnx", "1.16.1"), more.set_producer(pairs.base(), "tf2onnx", "1.17.0 None")),
        "same", "re-export", "written by tf2onnx 1.17.0 (before")  # fmt: skip
    yield "folded and trained", of(
        pairs.base, lambda m: pairs.fold(pairs.train(m, size=0.2)), "differ", "trained", "/5/conv2",
        touched={"/5/conv2/Conv", "/5/bn2/BatchNormalization"}, also={"folded"})  # fmt: skip


def _write_perceptron() -> ModelProto:
    return write_kind("perceptron")


def _quantise_thousand(folder: Path) -> ModelProto:
    """Eight bits of 1,001 probabilities, which are written in steps of 1/256."""
    model, rng = _write_perceptron(), np.random.default_rng(2)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1001
    values = {"three.weight": 0.3 * rng.standard_normal((1001, 32)), "three.bias": np.zeros(1001)}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name].astype(np.float32), tensor.name))
    made = more.quantise_kind(model, folder)
    _, step, zero = next(node.input for node in reversed(made.graph.node) if node.op_type == "QuantizeLinear")
    return pairs.change_weights(made, lambda n, w: np.full_like(w, 1 / 256) if n == step else w * 0 if n == zero else None)


def list_eight_bits() -> Iterator[tuple[str, Pair]]:
    """Eight bits, and the numbers that integers stand for."""
    make, layers = _write_perceptron, {"/one/Gemm", "/two/Gemm", "/three/Gemm"}

    def compare_twin(folder: Path) -> tuple[ModelProto, ModelProto]:
        made = _quantise_thousand(folder)
        return made, more.dequantise(made)

    yield "perceptron in eight bits", of_files(lambda f: (make(), more.quantise_kind(make(), f)), "rounding", "int8")
    yield "unsigned weights", of_files(
        lambda f: (pairs.base(), more.quantise_kind(pairs.base(), f, weights="QUInt8")), "rounding", "uint8", "in uint8 (before")  # fmt: skip
    yield "int8 and back", of_files(
        lambda f: (make(), more.dequantise(more.quantise_kind(make(), f))), "differ", "requantised", touched=layers)  # fmt: skip
    yield "single precision of eight bits", of_files(compare_twin, "rounding", "single-precision")
    yield "eight bits of single precision", of_files(lambda f: compare_twin(f)[::-1], "rounding", "int8")
    yield "int8 and back of all weights", of(
        pairs.base, lambda m: edits.round_all(m, lambda w: np.round(w / np.abs(w).max() * 127) * np.abs(w).max() / 127), "differ",
        "requantised", "which rounding explains", touched=ALL_LAYERS)  # fmt: skip
