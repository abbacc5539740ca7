"""What an exporter gives and is given; public as onnxspace.exporters."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from onnxspace.inputs.config import ModelOptions

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


#: Called with what is being done, and how many of how many steps are behind.
Progress = Callable[[str, int, int], None]


def _no_progress(_what: str, _done: int, _total: int) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Request:
    """What is asked of a conversion; None: what the exporter finds out or takes by default.

    `input` is the shape of one image in the framework's own order, such as (3, 224, 224); `encoder` a layer of the framework
    or a tensor of the file; `weights` a file of weights for a network that is built by code, `arguments` what its factory is
    called with, `random_weights` the seed of weights that nobody trained. `allow_pickle` names the one file that may be
    unpickled; `allow_code` lets a file bring code of its own; `using` names an exporter; `said` is what the user's configuration
    says of the model.
    """

    input: tuple[int, ...] | None = None
    encoder: str | None = None
    opset: int | None = None
    weights: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    random_weights: int | None = None
    allow_pickle: str | None = None
    allow_code: bool = False
    using: str | None = None
    said: ModelOptions = field(default_factory=ModelOptions)
    progress: Progress = field(default=_no_progress, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What can be sent to another process: all but the callback."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "progress"}
        return said | {"said": asdict(self.said)}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any], progress: Progress = _no_progress) -> Request:
        shape = None if said.get("input") is None else tuple(said["input"])
        return replace(cls(**said), input=shape, said=_options(said["said"]), progress=progress)


@dataclass(frozen=True)
class Source:
    """What is to be converted, in the user's words; `made` is what a callable gave."""

    text: str
    made: object = None

    @property
    def path(self) -> Path:
        return Path(self.text)

    @property
    def scheme(self) -> str:
        """`timm` of `timm:resnet18`; empty for a path."""
        return self.text.partition(":")[0] if ":" in self.text and not self.exists else ""

    @property
    def name(self) -> str:
        """`resnet18` of `timm:resnet18`."""
        return self.text.partition(":")[2]

    @property
    def exists(self) -> bool:
        try:
            return self.path.exists()
        except (OSError, ValueError):  # too long, or no path at all
            return False

    @property
    def is_callable(self) -> bool:
        """Whether this reads like `package.module:factory`."""
        return _CALLABLE.fullmatch(self.text) is not None and not self.exists


@dataclass(frozen=True)
class Facts:
    """What is known of a file that was converted and verified.

    `difference` is the largest between the file's outputs and the framework's, relative to the largest value, None where
    there was no framework to ask; `said` goes into the sidecar; `encoder` is a tensor of the file; `seconds` are those of
    the exporter's own work (`export`), and of all but verification (`convert`).
    """

    framework: str
    route: str
    opset: int
    versions: Mapping[str, str] = field(default_factory=dict)
    source_sha256: str | None = None
    encoder: str | None = None
    difference: float | None = None
    said: ModelOptions = field(default_factory=ModelOptions)
    seconds: Mapping[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Facts:
        return cls(**{**said, "said": _options(said["said"]), "remarks": tuple(said["remarks"])})


def _options(said: Mapping[str, Any]) -> ModelOptions:
    """Options that went through JSON, which knows lists only."""
    options: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    return ModelOptions(**options)


@dataclass(frozen=True)
class Exporter:
    """One way into ONNX.

    `accepts` says whether a source is of its kind, by name or a look at the file, loading nothing. `export` writes a checked
    ONNX file to a path and tells what it is; it raises an OnnxspaceError for what the user can mend. `needs` are the packages
    it imports, `install` the command that brings them. `objects` are packages whose classes it takes where a callable
    `package.module:factory` gave an object of one. `takes` says all this to people.
    """

    name: str
    accepts: Callable[[Source], bool]
    export: Callable[[Source, Path, Request], Facts]
    takes: str = ""
    needs: tuple[str, ...] = ()
    install: str = ""
    objects: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Packages that are not installed here."""
        return tuple(name for name in self.needs if name not in sys.modules and find_spec(name) is None)
