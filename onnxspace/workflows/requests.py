"""What is sent to a worker about a model and what is to be computed of it, as JSON, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError, OnnxspaceError
from onnxspace.exporters.cache import onnx_file, stated_options
from onnxspace.inputs.config import Config, ModelOptions
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.labels import Labels, parse_labels, state_labels
from onnxspace.inputs.methods import Options
from onnxspace.inputs.pixel_record import parse_pixel_record
from onnxspace.inputs.precision import ModelPrecision
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target
from onnxspace.inputs.weight_sketch import WeightSketch, parse_weight_sketch
from onnxspace.sandbox.limits import Limits
from onnxspace.similarity.records import ModelRecord
from onnxspace.storage.json_fields import is_sha256, is_text, is_whole
from onnxspace.storage.regular_files import map_array

_MOST_TEXT, _MOST_TEXTS = 2**16, 10_000


@dataclass(frozen=True)
class Destination:
    """Where a model's files are written: into `folder`, named by the model's `key`; `kept` says whether unfinished files are kept."""

    folder: Path
    key: str
    kept: bool = False


@dataclass(frozen=True)
class WrittenFile:
    """A file of a model that was written, warnings about it, and the precision of maps where it was chosen by a measurement."""

    path: Path
    remarks: tuple[str, ...] = ()
    precision: ModelPrecision | None = None


def name_function(function: Callable[..., Any]) -> str:
    """A function, or the class of a callable object, as `MODULE:NAME`.

    >>> name_function(decode_options)
    'onnxspace.workflows.requests:decode_options'
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def decode_options(given: Mapping[str, Any]) -> ModelOptions:
    """The options of a model, of which JSON has made lists of tuples."""
    options: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return ModelOptions(**options)


@dataclass(frozen=True)
class LocatedModel:
    """A model to be opened: the `path` that the user named, its `name` in results, and its ONNX `file` with encoder and options."""

    path: str
    name: str
    file: str
    encoder: str | None
    options: Mapping[str, Any]

    def model_options(self) -> ModelOptions:
        """The options."""
        return decode_options(self.options)


def locate_model(path: Path, name: str, encoder: str | None, config: Config, limits: Limits | None = None) -> LocatedModel:
    """Locate the ONNX file of the model `path`, which is converted first where it is of another format; it is not opened.

    `limits` are those of the process that converts (None: those of this machine). Raises ModelError, ConfigError, OutputError.
    """
    file = onnx_file(path, encoder, config, limits)
    options = asdict(stated_options(path, file, config))
    stated = {key: value for key, value in options.items() if value is not None}
    return LocatedModel(str(path), name, str(file), encoder if file == path else None, stated)


@contextmanager
def named_as_given(located: LocatedModel) -> Iterator[None]:
    """Have errors name a converted model by what the user named, not by the file of its conversion, which is in a cache."""
    try:
        yield
    except OnnxspaceError as error:
        if located.file == located.path:
            raise
        words = (one.replace(located.file, located.path) if isinstance(one, str) else one for one in error.args)
        raise type(error)(*words) from error


@dataclass(frozen=True)
class DescribedModel:
    """A model as a worker has described it: all that is known of it here, where its graph is not.

    `labels` are what is written in the file or beside it, and what the options state. `key` names its files, `feed` is its preprocessing in JSON, `side` the larger side of its input in pixels; `tensors` are its
    encoder's, chosen because of `why`, and `deviations` those whose units' deviations are explained. `located` is what the worker opened, `weights` a sketch of its trained layers.
    """

    located: LocatedModel
    record: ModelRecord
    remarks: tuple[str, ...]
    key: str
    feed: str
    side: int
    tensors: tuple[str, ...]
    why: str
    deviations: tuple[str, ...] = ()
    labels: Labels = field(default_factory=Labels)
    weights: WeightSketch = field(default_factory=lambda: WeightSketch(""))


def parse_description(located: LocatedModel, found: Any) -> DescribedModel:
    """Check what a worker has answered about a model. Raises ModelError: the worker may be compromised."""
    try:
        facts = found["record"]
        numbers = is_whole(facts["opset"], 0, 2**31) and is_whole(found["side"], 1, 2**20)
        texts = all(is_text(facts[name], _MOST_TEXT) for name in ("sha256", "encoder", "input", "producer"))
        texts = texts and is_text(found["feed"], _MOST_TEXT) and is_text(found["why"], _MOST_TEXT)
        if not (numbers and texts and is_sha256(facts["sha256"]) and is_text(found["key"], 32) and found["key"].isalnum()):
            raise ValueError("it has other fields")
        record = ModelRecord(
            located.name, located.path, facts["sha256"], facts["encoder"], facts["input"], facts["opset"], facts["producer"],
            read_texts(facts["assumed"]), parse_pixel_record(facts["pixels"]),
        )  # fmt: skip
        tensors, deviations, remarks = (read_texts(found[name]) for name in ("tensors", "deviations", "remarks"))
        key, feed, side, why = (found[name] for name in ("key", "feed", "side", "why"))
        labels = _add_stated(located.model_options(), replace(parse_labels(found["labels"]), tags=()))
        weights = parse_weight_sketch(found["weights"])
        return DescribedModel(located, record, remarks, key, feed, side, tensors, why, deviations, labels, weights)
    except (KeyError, TypeError, ValueError) as error:
        raise wrong_answer(located.path) from error


def _add_stated(options: ModelOptions, labels: Labels) -> Labels:
    """The labels with the licence and tags of the model's options; the sidecar of a conversion repeats what its source states."""
    word = None if options.license == labels.license else options.license
    return state_labels(word, options.tags or ()).over(labels)


def read_texts(found: Any) -> tuple[str, ...]:
    """Check a list of texts in an answer. Raises ValueError."""
    if not isinstance(found, list) or len(found) > _MOST_TEXTS or not all(is_text(text, _MOST_TEXT) for text in found):
        raise ValueError("not a list of texts")
    return tuple(found)


def wrong_answer(path: str) -> ModelError:
    """The error for an answer that no worker of ours gives."""
    return ModelError(f"{path} ended the process that read it (its answer has another form). Leave it out.")


def encode_setup(setup: Setup, images: str) -> dict[str, Any]:
    """A setup as JSON, whose probe images are in the `.npy` file `images`."""
    options = None if setup.options is None else asdict(setup.options)
    if options is not None and options["baseline"] is not None:
        options["baseline"] = str(options["baseline"])
    target = None if setup.target is None else setup.target.to_json()
    return {"images": images, "probe": setup.probes.name, "method": setup.method, "options": options, "target": target}


@lru_cache(maxsize=2)
def _map_probes(name: str, path: str, _version: tuple[int, ...]) -> Probes:
    """Probe images, memory-mapped; their digest, which names files of features, is computed once for all models."""
    return Probes(name, map_array(path))


def decode_setup(given: Mapping[str, Any]) -> Setup:
    """The setup that `encode_setup` has encoded; the images are memory-mapped."""
    found = Path(given["images"]).stat()
    probes = _map_probes(given["probe"], given["images"], (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))
    options = None if given["options"] is None else Options(**given["options"])
    target = None if given["target"] is None else Target.from_json(given["target"])
    return Setup(probes, given["method"], options, target)


def encode_execution(execution: Execution) -> dict[str, Any]:
    """What a worker needs of an execution, as JSON."""
    return {"compute": asdict(execution.compute), "batch_size": execution.batch_size}


def decode_execution(given: Mapping[str, Any]) -> Execution:
    """The execution that `encode_execution` has encoded."""
    return Execution(Compute(**given["compute"]), given["batch_size"])


@dataclass(frozen=True)
class FileRequest:
    """What is to be computed of each model of a run: the setup, another one for the images of features (None: the same), both as JSON.

    `fields` are options of gradient fields; `outputs` says whether those of the same images are computed after features.
    """

    setup: Mapping[str, Any]
    execution: Mapping[str, Any]
    seen: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] | None = field(default=None)
    outputs: bool = False

    def to_json(self) -> dict[str, Any]:
        """The request as JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self)}
