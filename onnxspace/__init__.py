"""onnxspace: which trained models are related, answered from their ONNX files.

Public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxspace.affinity import Affinity as Affinity
    from onnxspace.attribution import attribute as attribute
    from onnxspace.convert import to_torch as to_torch
    from onnxspace.errors import OnnxspaceError as OnnxspaceError
    from onnxspace.illustrate import explain as explain
    from onnxspace.methods import Options as Options
    from onnxspace.model import Model as Model
    from onnxspace.model import open_model as open_model
    from onnxspace.pipeline import score as score
    from onnxspace.probes import Probes as Probes
    from onnxspace.space import Space as Space

_HOME = {
    "Affinity": "affinity",
    "Model": "model",
    "OnnxspaceError": "errors",
    "Options": "methods",
    "Probes": "probes",
    "Space": "space",
    "attribute": "attribution",
    "explain": "illustrate",
    "open_model": "model",
    "score": "pipeline",
    "to_torch": "convert",
}
__all__ = [
    "Affinity", "Model", "OnnxspaceError", "Options", "Probes", "Space", "attribute", "explain", "open_model", "score", "to_torch",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("onnxspace")
    if name not in _HOME:
        raise AttributeError(f"module 'onnxspace' has no attribute {name!r}")
    return getattr(import_module(f"onnxspace.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
