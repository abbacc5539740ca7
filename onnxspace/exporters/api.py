"""The interface of an exporter; public as `onnxspace.exporters`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.execution import Progress as Progress

_CALLABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def _no_progress(_what: str, _done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Request:
    """The options of a conversion; None leaves the choice to the exporter.

    `input` is the shape of one image in the framework's own order, such as (3, 224, 224); `encoder` a layer of the framework
    or a tensor of the file; `opset` the version of the ONNX operators. `weights` is a file of weights for a network that code
    builds, `arguments` are its factory's keyword arguments, `random_weights` is the seed of random weights. `allow_pickle` names
    the one file that may be unpickled; `allow_code` allows a file to contain code; `using` names an exporter; `said` are the
    model's options in the user's configuration. `progress` is called as the conversion goes on.

    >>> Request(input=(3, 224, 224), opset=17).to_dict()["input"]
    (3, 224, 224)
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
        """The request without its callback, ready for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "progress"}
        return values | {"said": asdict(self.said)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], progress: Progress = _no_progress) -> Request:
        """The request that `to_dict` gave, with the callback `progress`."""
        shape = None if values.get("input") is None else tuple(values["input"])
        return replace(cls(**values), input=shape, said=_options(values["said"]), progress=progress)


@dataclass(frozen=True)
class Source:
    """What to convert, as the user wrote it; `made` is the object that a callable returned.

    >>> Source("timm:resnet18").scheme, Source("timm:resnet18").name
    ('timm', 'resnet18')
    """

    text: str
    made: object = None

    @property
    def path(self) -> Path:
        return Path(self.text)

    @property
    def scheme(self) -> str:
        """The part before the colon, `timm` of `timm:resnet18`; empty for a path."""
        return self.text.partition(":")[0] if ":" in self.text and not self.exists else ""

    @property
    def name(self) -> str:
        """The part after the colon, `resnet18` of `timm:resnet18`."""
        return self.text.partition(":")[2]

    @property
    def exists(self) -> bool:
        try:
            return self.path.exists()
        except (OSError, ValueError):  # too long, or not a path
            return False

    @property
    def is_callable(self) -> bool:
        """Whether the text has the form `package.module:factory` and no such file exists."""
        return _CALLABLE.fullmatch(self.text) is not None and not self.exists


@dataclass(frozen=True)
class Facts:
    """Facts of a converted and verified file.

    `framework` and `route` name the framework and its way of exporting, `versions` are those of packages by name,
    `source_sha256` is the checksum of the source. `encoder` is a tensor of the file. `difference` is the largest difference
    between the file's outputs and the framework's, relative to the largest value, None where they were not compared. `said` are
    options that go into the sidecar. `seconds` are the times of the exporter's own work (`export`), and of all but verification
    (`convert`). `remarks` are warnings, a sentence each.
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
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """The facts that `to_dict` gave."""
        return cls(**{**values, "said": _options(values["said"]), "remarks": tuple(values["remarks"])})


def _options(values: Mapping[str, Any]) -> ModelOptions:
    """Options from JSON, which turned tuples into lists."""
    options: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return ModelOptions(**options)


@dataclass(frozen=True)
class Exporter:
    """An exporter for one kind of source.

    `accepts` says whether a source is of this kind, by its name or a look at the file, without importing a framework. `export`
    writes a verified ONNX file to a path and returns its facts; it raises an OnnxspaceError for what a user can correct. `takes`
    describes its sources to users. `needs` are the packages that it imports, `install` is the command that installs them.
    `objects` are packages whose objects it accepts from a callable `package.module:factory`.
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
