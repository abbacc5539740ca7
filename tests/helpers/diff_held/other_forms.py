"""Held-back pairs of files with the same network in another form or precision."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import ModelProto

from tests.helpers import diff_edits as edits
from tests.helpers import diff_more_edits as more
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_held.changed_weights import write_joined, write_mobile
from tests.helpers.diff_kinds import write_kind
from tests.helpers.diff_matrix.pair import Pair, of, of_files


def _write_decoder() -> ModelProto:
    return write_kind("decoder")


def list_forms() -> Iterator[tuple[str, Pair]]:
    """Exporters, optimisers, operator sets, names and orders."""
    decoder = _write_decoder
    yield "decoder with all optimisations", of_files(
        lambda f: (decoder(), pairs.optimise(decoder(), f, "ORT_ENABLE_ALL")), "same", "fused")  # fmt: skip
    yield "joined with shapes folded", of_files(
        lambda _: (write_kind("joined", batch=True), write_kind("joined", folded=True)), "same", "moving-nodes-removed", also={"fused"})  # fmt: skip
    yield "mobile by the other exporter", of_files(
        lambda _: (write_mobile(), write_kind("mobile", dynamo=True)), "same", {"re-export", "opset"})  # fmt: skip
    yield "decoder of another operator set", of(decoder, lambda m: pairs.convert_opset(m, 21), "same", "opset")
    yield "renamed and reordered", of(decoder, lambda m: edits.reorder_nodes(pairs.rename(m)), "same", "re-export")


def list_precisions() -> Iterator[tuple[str, Pair]]:
    """Half precision and eight bits."""
    mobile, joined = write_mobile, write_joined
    yield "decoder in half precision", of(_write_decoder, pairs.halve, "rounding", "half")
    yield "mobile in eight bits per channel", of_files(
        lambda f: (mobile(), more.quantise_kind(mobile(), f, per_channel=True)), "rounding", "int8")  # fmt: skip
    yield "joined with unsigned weights", of_files(
        lambda f: (joined(), more.quantise_kind(joined(), f, weights="QUInt8")), "rounding", "uint8")  # fmt: skip
