"""What graphs read from tensors and copy from the host, for each model of a folder: `python -m benchmarks.gpu --reads FOLDER`.

Each is a moment at which a GPU is waited for, and none can be in a CUDA graph. A model's graph is cut at its encoder, or with
`--outputs` at its outputs, as for features that are compared. Reads of a forward
pass are counted on the CPU, by Torch's dispatcher; copies of a forward and a backward pass of ε-LRP on a device without data, where a
read stops the pass and its operator is named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils._python_dispatch import TorchDispatchMode

import onnxspace as ox
from onnxspace.attribution.explainer import Explainer, make_explainer
from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model
from onnxspace.model.outputs import find_float_outputs
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert
from onnxspace.torchgraph.operators.interpolation import keep_taps
from onnxspace.torchgraph.support import SYNCHRONISING
from onnxspace.torchgraph.view import operator_from_name
from tests.helpers.device_watch import DeviceWatch, reads_values

_META = torch.device("meta")
_READ = {"aten._local_scalar_dense.default": "reads", "aten.nonzero.default": "nonzero"}


@dataclass(frozen=True)
class Reads:
    """What a graph of so many `nodes` does: `reads` of one value and of `nonzero` in a forward pass, and copies from the host.

    `by` are the operators that read; `first` are copies of the first pass, `each` those of every later one. `error` says why a model has
    none of this.
    """

    name: str
    nodes: int = 0
    reads: int = 0
    nonzero: int = 0
    by: tuple[str, ...] = ()
    first: int = 0
    each: int = 0
    error: str = ""

    @property
    def odd(self) -> bool:
        """Whether a later pass copies, or an operator reads that is not in the table of docs/operators.md."""
        return self.each > 0 or not set(self.by) <= set(SYNCHRONISING)


class _Counting(TorchDispatchMode):
    """Counts operations that read values, by the operator that is running."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__()
        self.counts, self.by, self._running = Counter[str](), Counter[str](), list[str]()
        for name, module in graph.named_children():
            module.register_forward_pre_hook(lambda _m, _a, name=name: self._running.append(operator_from_name(name)))
            module.register_forward_hook(lambda _m, _a, _o: self._leave())

    def _leave(self) -> None:
        self._running.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (what := _READ.get(str(func))) is not None:
            self.counts[what] += 1
            self.by[self._running[-1] if self._running else "?"] += 1
        return func(*args, **(kwargs or {}))


def count_reads(path: Path, *, outputs: bool = False) -> Reads:
    """Count what the graph of the model at `path`, up to its encoder or its `outputs`, reads and copies for two images, or as many as it takes."""
    model = ox.open_model(path)
    probes = ox.Probes.generate(max(2, model.images_at_once))
    converted = convert(model, probes.images, find_float_outputs(model) if outputs else None)
    count = model.images_at_once if not converted.batchable or model.group is not None else 2
    counting = _Counting(graph := copy_graph(converted.graph))
    with torch.no_grad(), counting:
        graph(torch.from_numpy(model.preprocess(probes.images[:count])))
    first, each, stopped = _count_copies(model, converted, Setup(probes, "elrp"), count)
    by = tuple(sorted({*counting.by, *stopped}))
    return Reads(path.stem, len(graph.graph.nodes), counting.counts["reads"], counting.counts["nonzero"], by, first, each)


def _count_copies(model: Model, converted: EncoderGraph, setup: Setup, images: int) -> tuple[int, int, list[str]]:
    """Copies of the first gradient and of the second, and the operator that stops it where it reads a value."""
    explainer = make_explainer(model, converted, setup, _META)
    keep_taps.cache_clear()  # conversion has run the graph on this device too
    found = [_differentiate(explainer, torch.empty((images, *model.input_shape[1:]), device=_META)) for _ in range(2)]
    return (*(copies for copies, _ in found), [operator for _, operator in found if operator])  # type: ignore[return-value]


def _differentiate(explainer: Explainer, values: torch.Tensor) -> tuple[int, str]:
    graph, watch = explainer.network.graph, DeviceWatch()
    inner = graph if isinstance(graph, GraphModule) else graph.graph  # type: ignore[attr-defined]
    try:
        with watch.of(inner):
            explainer.network.gradient(values)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        if not reads_values(error):
            raise
        return watch.copies.total(), watch.running or "?"
    return watch.copies.total(), ""


def count_folder(folder: Path, *, outputs: bool = False) -> Iterator[Reads]:
    """Yield what the graph of each ONNX file of `folder` reads, in the order of names; `outputs` as in `count_reads`."""
    for path in sorted(folder.glob("*.onnx")):
        try:
            yield count_reads(path, outputs=outputs)
        except OnnxspaceError as error:
            yield Reads(path.stem, error=str(error).splitlines()[0])


def render_reads(rows: list[Reads]) -> str:
    """The table of what is read, and a line with the sum."""
    head = ["model", "nodes", "reads", "nonzero", "operators that read", "copies of the first pass", "of each later one"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        numbers = [row.nodes, row.reads, row.nonzero, ", ".join(row.by), row.first, row.each]
        cells = [row.error, *[""] * 5] if row.error else [str(one) for one in numbers]
        lines.append(f"| {' | '.join([row.name, *cells])} |")
    clean = sum(1 for row in rows if not (row.error or row.by or row.each))
    return "\n".join([*lines, "", f"{clean} of {len(rows)} graphs read nothing, and copy nothing after the first pass."])
