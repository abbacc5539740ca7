"""Which converter handles each operator: the table in the docs, and the operators of one model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import onnx
import onnx.defs
from torch.fx import GraphModule

from onnxspace.errors import ModelError
from onnxspace.model.graph import domain_of, iter_nodes
from onnxspace.model.image_input import dims
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.records import WAYS as WAYS
from onnxspace.model.records import OperatorSupport, Way
from onnxspace.model.shapes import refuse_large_tensors
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph.build import build, domain_of_entry
from onnxspace.torchgraph.normalise import normalise
from onnxspace.torchgraph.passes.canonicalise import canonicalise
from onnxspace.torchgraph.passes.expand import expand_operators
from onnxspace.torchgraph.registry import CONVERTERS, schema_version
from onnxspace.torchgraph.view import operator_from_name

#: The newest opset that the table covers, so that a newer `onnx` does not change the page.
LATEST = 28

#: Operators that a GPU must be waited for: how much they compute, or what, depends on values.
SYNCHRONISING: Mapping[str, str] = {
    "Compress": "the size of its output is a number of true values",
    "GroupQueryAttention": "lengths of sequences, where they are computed",
    "If": "its condition, where it is computed",
    "Loop": "its condition after every step",
    "MaxRoiPool": "the corners of regions",
    "NonMaxSuppression": "each box that is taken decides on the next",
    "NonZero": "the size of its output is a number of values that are not zero",
    "RoiAlign": "the image of each region",
    "SplitToSequence": "the sizes of parts",
    "Unique": "the size of its output is a number of distinct values",
}


def find_converter(operator: str, version: int, domain: str = "") -> Way:
    """Find out which library converts schema version `version` of an operator of `domain`; "none" where neither does."""
    if (domain, operator, version) in CONVERTERS:
        return "onnxspace"
    return "onnx2torch" if bridge.has_converter(operator, version, domain) else "none"


def list_support(model: Model) -> list[OperatorSupport]:
    """List every operator of a model and how it is handled: the unsupported ones first, then by name."""
    opsets = {domain_of_entry(entry): entry.version for entry in model.proto.opset_import}
    normal = _normalise_model(model)
    kept = Counter((domain_of(n), n.op_type) for n in normal.graph.nodes)
    fused = _count_fused(normal)
    rows: list[OperatorSupport] = []
    for (domain, operator), count in Counter((domain_of(n), n.op_type) for n in iter_nodes(model.proto.graph)).items():
        version = schema_version(operator, domain, opsets.get(domain, 0))
        name = f"{domain}::{operator}" if domain else operator
        left = min(count, kept[domain, operator])
        parts: list[tuple[int, Way]] = [
            (count - left, "folded"),
            (min(left, fused[operator]), "fused"),
            (left - min(left, fused[operator]), find_converter(operator, version, domain)),
        ]
        rows += [OperatorSupport(name, version, number, way) for number, way in parts if number]
    return sorted(rows, key=lambda row: (row.way != "none", row.operator, row.way))


def _normalise_model(model: Model) -> Network:
    shapes = {v.name: tuple(sizes) for v in model.graph.inputs if (sizes := dims(v)) is not None}
    shapes[model.image.name] = model.input_shape
    refuse_large_tensors(model.proto, shapes, model.path)
    return normalise(model.network, shapes)


def _count_fused(normal: Network) -> Counter[str]:
    """Count the operators that are fused into larger ones; none where the graph can't be built.

    An operator that is expanded into its parts counts as converted, and its parts are not operators of the model.
    """
    try:
        graph = build(normal, "the model")
    except ModelError:
        return Counter()
    given = _submodule_names(graph)
    expand_operators(graph)
    left = given & _submodule_names(graph)
    return Counter(operator_from_name(name) for name in left - _submodule_names(canonicalise(graph)))


def _submodule_names(graph: GraphModule) -> set[str]:
    """Names of the submodules that a graph calls."""
    return {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}


def render_table() -> str:
    """All operators of the ONNX standard and of our converters as a Markdown table: which library converts each version."""
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
            ways.setdefault(find_converter(operator, version, domain), []).append(str(version))
        cells = [", ".join(ways.get(way, [])) for way in ("onnxspace", "onnx2torch", "none")]
        lines.append(f"| {f'{domain}::' if domain else ''}{operator} | {' | '.join(cells)} |")
    return "\n".join(lines)


def render_synchronising() -> str:
    """The operators of `SYNCHRONISING` with what they read, as a Markdown table."""
    rows = [f"| {name} | {what} |" for name, what in sorted(SYNCHRONISING.items())]
    return "\n".join(["| operator | what is read |", "|---|---|", *rows])


def render_page() -> str:
    """The text of `docs/operators.md`."""
    return f"""# Operators

Schema versions of each ONNX operator, by the library that converts them to Torch. `Constant`, shape arithmetic and whatever
depends on stored values alone is folded in advance and needs no converter. An operator that is not supported is refused by
name when it lies below the encoder. Every converted graph is compared with ONNX Runtime before it is used.

Graphs of opsets 1 to 6, which ONNX Runtime does not run, are compared with their form in opset 7. Operators on blocks of channels
(`com.microsoft.nchwc`), which ONNX Runtime writes for one kind of processor at its highest level of optimisation, are replaced by
plain ones when a file is read; that needs a processor of the same kind.

A GPU computes beside the program, and must be waited for where the program reads a value. Shapes, axes, counts and bounds that an
operator takes as inputs are read when a graph is converted if they are stored or follow from sizes of tensors; what is computed from
the image's values is read in every pass. These operators read values whatever their inputs are:

{render_synchronising()}

`python -m benchmarks.gpu --reads FOLDER` counts, for the models of a folder, the reads of a forward pass up to the encoder and copies
from the host in the forward and backward pass of ε-LRP; with `--outputs`, up to a model's outputs. Of 52 published networks, none
reads or copies anything on either way, except for the weights of Resize, which the first pass copies.

Rounding to integers passes gradients straight through. So does a Sign whose values are multiplied with weights and used for nothing
else, as in binary networks, where its input lies between -1 and 1; any other Sign has a gradient of zero.

This page is generated by `python -m onnxspace.torchgraph.support > docs/operators.md`.

{render_table()}
"""


if __name__ == "__main__":
    print(render_page(), end="")
