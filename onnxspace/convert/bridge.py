"""The one place that touches onnx2torch: importing it on damaged installations, extending its registry, calling it."""

from __future__ import annotations

import sys
import warnings
from functools import cache
from typing import Any

import onnx
import onnx.defs
import torch

from onnxspace.convert import operators, quantised
from onnxspace.convert.aliases import ALIASES
from onnxspace.errors import ConversionError, UnsupportedOperatorError
from onnxspace.graph import all_nodes, domain_of, label

_RUNTIME_DOMAINS = {"com.microsoft"}  # ONNX Runtime checks these names itself
_KEPT: list[Any] = []  # a torch.library.Library takes its operators with it when it is collected


@cache
def _library() -> Any:
    """onnx2torch's registry module, with our aliases and converters in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _import_torchvision()
        import onnx2torch  # noqa: F401
        from onnx2torch.node_converters import registry
    _extend(registry)
    return registry


def _import_torchvision() -> None:
    """Import torchvision, which onnx2torch needs, even where its compiled part does not fit torch.

    A torchvision built for another torch fails with `operator torchvision::nms does not exist`, before any of its Python
    code could be used. Declaring the two operators that it asks for lets it import; the nodes that need them (NMS,
    RoiAlign) then fail when they run, as they must.
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


def _extend(registry: Any) -> None:
    known = registry._CONVERTER_REGISTRY
    for operator, versions in ALIASES.items():
        for missing, served_by in versions.items():
            key = registry.OperationDescription("", operator, missing)
            known.setdefault(key, known[registry.OperationDescription("", operator, served_by)])
    for (operator, version), converter in {**operators.CONVERTERS, **quantised.CONVERTERS}.items():
        known.setdefault(registry.OperationDescription("", operator, version), converter)


def unknown_operator(model: onnx.ModelProto) -> str | None:
    """Names the first node whose operator no released ONNX standard or ONNX Runtime knows; None where there is none."""
    for node in all_nodes(model.graph):
        domain = domain_of(node)
        if domain not in _RUNTIME_DOMAINS and not onnx.defs.has(node.op_type, domain):
            named = f"domain {domain!r}" if domain else "of the standard domain"
            return f"operator {label(node)} is unknown ({named}), and operator libraries are not loaded"
    return None


def unsupported(model: onnx.ModelProto) -> str | None:
    """Why the first node without a converter has none, in words; None where all have one."""
    registry = _library()
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        version = versions.get(node.domain, 0)
        try:
            registry.get_converter(node.op_type, version, node.domain)
        except NotImplementedError:
            return f"operator {label(node)} of opset {version} has no differentiable counterpart yet"
    return None


def convert(model: onnx.ModelProto, path: str) -> torch.fx.GraphModule:
    """The graph as Torch modules in evaluation mode with frozen parameters. Raises UnsupportedOperatorError."""
    _library()
    import onnx2torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph: torch.fx.GraphModule = onnx2torch.convert(model)
    except NotImplementedError as error:
        raise UnsupportedOperatorError(f"{path} can't be converted: {error}. Name an --encoder below it.") from error
    except Exception as error:  # onnx2torch fails with whatever its code stumbles over
        raise ConversionError(
            f"{path} can't be converted ({type(error).__name__}: {error}). Name another --encoder."
        ) from error
    return graph.eval().requires_grad_(False)
