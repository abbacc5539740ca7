"""Who converts which operator: the whole table for the docs, and the part of it that one model needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import onnx
import onnx.defs
from torch.fx import GraphModule

from onnxspace.errors import ModelError
from onnxspace.model.graph import all_nodes, domain_of
from onnxspace.model.image_input import dims
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph.build import build, domain_of_entry
from onnxspace.torchgraph.normalise import normalise
from onnxspace.torchgraph.passes.canonicalise import fuse
from onnxspace.torchgraph.passes.expand import write_out
from onnxspace.torchgraph.registry import CONVERTERS, schema_version
from onnxspace.torchgraph.view import operator_of

Way = Literal["onnxspace", "onnx2torch", "folded", "fused", "none"]
WAYS = {
    "onnxspace": "converted by onnxspace",
    "onnx2torch": "converted by onnx2torch",
    "folded": "computed beforehand or dropped",
    "fused": "part of a larger operator that is explained as one",
    "none": "not supported",
}
#: The newest opset that the table covers; a newer `onnx` then does not change the page.
LATEST = 28


@dataclass(frozen=True)
class Support:
    """One operator of a model: how often it occurs, and what becomes of it."""

    operator: str
    version: int
    count: int
    way: Way


def converted_by(operator: str, version: int, domain: str = "") -> Way:
    """Whose converter serves an operator of a schema version."""
    if (domain, operator, version) in CONVERTERS:
        return "onnxspace"
    return "onnx2torch" if bridge.has_converter(operator, version, domain) else "none"


def support(model: Model) -> list[Support]:
    """Every operator of a model with its fate, the unsupported first, then by number."""
    opsets = {domain_of_entry(entry): entry.version for entry in model.proto.opset_import}
    normal = _normal(model)
    kept = Counter((domain_of(n), n.op_type) for n in normal.graph.nodes)
    fused = _fused(normal)
    rows: list[Support] = []
    for (domain, operator), count in Counter((domain_of(n), n.op_type) for n in all_nodes(model.proto.graph)).items():
        version = schema_version(operator, domain, opsets.get(domain, 0))
        name = f"{domain}::{operator}" if domain else operator
        left = min(count, kept[domain, operator])
        parts: list[tuple[int, Way]] = [
            (count - left, "folded"),
            (min(left, fused[operator]), "fused"),
            (left - min(left, fused[operator]), converted_by(operator, version, domain)),
        ]
        rows += [Support(name, version, number, way) for number, way in parts if number]
    return sorted(rows, key=lambda row: (row.way != "none", row.operator, row.way))


def _normal(model: Model) -> Network:
    shapes = {v.name: tuple(sizes) for v in model.graph.inputs if (sizes := dims(v)) is not None}
    return normalise(model.network, shapes | {model.image.name: model.input_shape})


def _fused(normal: Network) -> Counter[str]:
    """Operators that end inside a larger one; none where the graph can't be built.

    One that is written out as its pieces is converted, not fused, and its pieces are none of the model's operators.
    """
    try:
        graph = build(normal, "the model")
    except ModelError:
        return Counter()
    given = _names(graph)
    write_out(graph)
    left = given & _names(graph)
    return Counter(operator_of(name) for name in left - _names(fuse(graph)))


def _names(graph: GraphModule) -> set[str]:
    """The submodules that a graph calls."""
    return {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}


def table() -> str:
    """The whole standard as a Markdown table: operator, and for each version who converts it."""
    versions: dict[tuple[str, str], set[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= LATEST:
            versions.setdefault((schema.domain, schema.name), set()).add(schema.since_version)
    for domain, operator, version in CONVERTERS:
        versions.setdefault((domain, operator), set()).add(version)
    lines = ["| operator | onnxspace | onnx2torch | not supported |", "|---|---|---|---|"]
    for (domain, operator), known in sorted(versions.items(), key=lambda item: (item[0][0], item[0][1])):
        ways: dict[Way, list[str]] = {}
        for version in sorted(known):
            ways.setdefault(converted_by(operator, version, domain), []).append(str(version))
        cells = [", ".join(ways.get(way, [])) for way in ("onnxspace", "onnx2torch", "none")]
        lines.append(f"| {f'{domain}::' if domain else ''}{operator} | {' | '.join(cells)} |")
    return "\n".join(lines)


def page() -> str:
    """`docs/operators.md`."""
    return f"""# Operators

Versions of each ONNX operator, by who turns them into Torch. `Constant`, shape arithmetic and whatever depends on stored
values alone is computed beforehand and needs no converter. What is not supported is refused by name when it lies below
the encoder. Every converted graph is compared with ONNX Runtime before it is used.

This page is written by `python -m onnxspace.torchgraph.support > docs/operators.md`.

{table()}
"""


if __name__ == "__main__":
    print(page(), end="")
