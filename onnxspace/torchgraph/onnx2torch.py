"""The only use of onnx2torch: importing it without torchvision, extending its registry, calling its converters."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

import onnx
import onnx.defs
import torch

from onnxspace.errors import ModelError, UnsupportedOperatorError
from onnxspace.model.graph import describe_node, domain_of, iter_nodes
from onnxspace.torchgraph.attributes import find_missing_attribute

#: Operator → {schema version that onnx2torch lacks: equivalent version whose converter is used}.
ALIASES: dict[str, dict[int, int]] = {
    "Acos": {22: 7},
    "Asin": {22: 7},
    "Atan": {22: 7},
    "Cos": {22: 7},
    "Einsum": {28: 12},
    "HardSwish": {22: 14},
    "Mean": {6: 13},
    "Round": {22: 11},
    "Sin": {22: 7},
    "Softplus": {22: 1},
    "Softsign": {22: 1},
    "Sum": {6: 13},
    "Tan": {22: 7},
}


_RUNTIME_DOMAINS = {"com.microsoft"}  # ONNX Runtime validates these names itself
_OWN = {
    ("", name) for name in ("SimplifiedLayerNormalization", "ImageScaler", "Affine", "Crop")
}  # no schema, but ONNX Runtime runs them
_KEPT: list[Any] = []  # a torch.library.Library removes its operators when it is garbage-collected


@cache
def _load_registry() -> Any:
    """Load onnx2torch's registry module and add our aliases to it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _without_torchvision():
            import onnx2torch  # noqa: F401
            from onnx2torch.node_converters import registry
    _add_aliases(registry)
    return registry


class _Torchvision(ModuleType):
    """Stands for torchvision while onnx2torch is imported: the names that it takes from there are found when they are used.

    Only its converters of NonMaxSuppression and RoiAlign use it, of which this package has its own; and importing torchvision takes
    as long as importing Torch, and fails where it was built for another version of Torch.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *given, **options: getattr(import_module(self.__name__), name)(*given, **options)


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Have imports of torchvision in the block get what stands for it, unless it is loaded."""
    names = () if "torchvision" in sys.modules else ("torchvision", "torchvision.ops")
    standing = {name: _Torchvision(name) for name in names}
    sys.modules.update(standing)
    if standing:
        vars(standing["torchvision"])["ops"] = standing["torchvision.ops"]
    try:
        yield
    finally:
        for name in standing:
            del sys.modules[name]


def import_torchvision() -> None:
    """Import torchvision, whose networks are converted, even where its compiled extension does not match Torch.

    A torchvision built for another version of Torch fails on import with `operator torchvision::nms does not exist`.
    Declaring the two operators that it looks up lets the import succeed; nodes that use them (NMS, RoiAlign) then fail.
    """
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library: Any = torch.library.Library
        declared = library("torchvision", "DEF")
        declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(declared)


def _add_aliases(registry: Any) -> None:
    known = registry._CONVERTER_REGISTRY
    for operator, versions in ALIASES.items():
        for missing, served_by in versions.items():
            key = registry.OperationDescription("", operator, missing)
            known.setdefault(key, known[registry.OperationDescription("", operator, served_by)])


def has_converter(operator: str, version: int, domain: str = "") -> bool:
    """Whether onnx2torch, with our aliases, has a converter for schema version `version` of an operator of `domain`."""
    registry = _load_registry()
    return registry.OperationDescription(domain, operator, version) in registry._CONVERTER_REGISTRY


class Onnx2TorchConverter:
    """Converts nodes of one model by onnx2torch."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    @cached_property
    def _graph(self) -> Any:
        _load_registry()
        from onnx2torch.onnx_graph import OnnxGraph

        try:
            return OnnxGraph(onnx.shape_inference.infer_shapes(self.model).graph)
        except Exception:  # RuntimeErrors on unusual graphs: converters that need shapes then fail
            return OnnxGraph(self.model.graph)

    def convert(self, node: onnx.NodeProto, version: int) -> tuple[torch.nn.Module, tuple[str, ...]]:
        """Convert a node of schema version `version`: its module, and the names of the tensors that it is called with.

        Raises NotImplementedError where there is no converter, or the converter's own error.
        """
        registry = _load_registry()
        from onnx2torch.onnx_node import OnnxNode

        key = registry.OperationDescription(domain_of(node), node.op_type, version)
        found = registry._CONVERTER_REGISTRY.get(key)
        if found is None:
            raise NotImplementedError("no converter")
        module, mapping = found(OnnxNode(node, unique_name=node.name or node.op_type), self._graph)
        return module, tuple(mapping.inputs)


def refuse_unknown(model: onnx.ModelProto, path: str) -> None:
    """Raise UnsupportedOperatorError for the first operator that neither the ONNX standard nor ONNX Runtime defines.

    Raises ModelError for the first that lacks an attribute which the standard requires. `path` names the model in the message.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    for node in iter_nodes(model.graph):
        domain = domain_of(node)
        known = domain in _RUNTIME_DOMAINS or onnx.defs.has(node.op_type, domain) or (domain, node.op_type) in _OWN
        if not known:
            named = f"domain {domain!r}" if domain else "of the standard domain"
            raise UnsupportedOperatorError(
                f"{path}: operator {describe_node(node)} is unknown ({named}), and operator libraries are not loaded. "
                "Name an --encoder below it, or export the model without it."
            )
        if not domain and (lacking := find_missing_attribute(node, opset)) is not None:
            raise ModelError(f"{path}: operator {describe_node(node)} lacks its attribute {lacking!r}. Export the model again.")
