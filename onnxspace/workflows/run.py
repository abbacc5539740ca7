"""Models explained one after another: each is opened, and a sink decides what is computed of it and where that goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from onnxspace.attribution.cache_key import model_key
from onnxspace.errors import ClusterError, OnnxspaceError, OutputError, unexpected
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Counter
from onnxspace.inputs.names import encoders_for, name_models
from onnxspace.model.model import drop_graph
from onnxspace.scores.registry import Kind
from onnxspace.workflows.open import PreparedModel, prepare_model
from onnxspace.workflows.representations import Destination, Representation

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.dispatch import Dispatcher
    from onnxspace.workflows.cluster.worker import ModelTask

#: A model's path, its name, and the encoder that was asked for.
Turn = tuple[Path, str, str | None]


class Sink(Protocol):
    """Where models go: a result, or a space."""

    def holds(self, path: Path) -> bool:
        """Whether a file needs no explaining, such as a fingerprint that was read."""
        ...

    def enter_file(self, path: Path, name: str) -> None:
        """Enter such a file. Raises the error that reading it gave."""
        ...

    def is_missing(self, model: PreparedModel) -> bool:
        """Whether maps of this model are to be computed."""
        ...

    def enter(self, turn: Turn, model: PreparedModel, run: Run) -> None:
        """Enter a model; `run.write` computes what is missing of it."""
        ...

    def fail(self, path: Path, error: Exception, sentence: str) -> None:
        """Note that a model can't be entered, and why."""
        ...


@dataclass
class Run:
    """Explaining models in progress. A cluster's workers compute maps where there is a `dispatcher`."""

    config: Config
    sink: Sink
    representations: Mapping[Kind, Representation]
    counter: Counter
    warnings: list[str] = field(default_factory=list)
    dispatcher: Dispatcher | None = None

    def explain_all(self, paths: Sequence[Path], encoders: Sequence[str]) -> None:
        """Hand all models to the sink; one that fails doesn't stop the others, but OutputError and ClusterError do."""
        names = name_models(paths, self.config)
        turns = list(zip(paths, names, encoders_for(paths, names, encoders), strict=True))
        prepare, each = self._choose_preparation(turns), self.counter.total // max(1, len(turns))
        for index, turn in enumerate(turns):
            path, name, _ = turn
            try:
                self._enter(turn, prepare)
            except (OutputError, ClusterError):
                raise
            except OnnxspaceError as error:
                self.sink.fail(path, error, str(error))
            except Exception as error:  # a defect in a library below must not lose the other models' work
                self.sink.fail(path, error, unexpected(path, error))
            self.counter.reach((index + 1) * each, name)

    def _enter(self, turn: Turn, prepare: Callable[[Turn], PreparedModel | None]) -> None:
        path, name, _ = turn
        self.counter.advance(0, name)
        if self.sink.holds(path):
            self.sink.enter_file(path, name)
        elif (model := prepare(turn)) is not None:
            self.sink.enter(turn, model, self)

    def _choose_preparation(self, turns: Sequence[Turn]) -> Callable[[Turn], PreparedModel | None]:
        """What opens a model: at its turn, or where workers compute, some turns before."""
        if self.dispatcher is None:
            return lambda turn: prepare_model(*turn, self.config)
        from onnxspace.workflows.cluster.dispatch import Prefetcher

        return Prefetcher(turns, self._dispatch, self.dispatcher.width).take

    def _dispatch(self, path: Path, name: str, encoder: str | None) -> PreparedModel | None:
        """Open a model before its turn, and hand it out to the workers."""
        if self.sink.holds(path) or self.dispatcher is None:
            return None
        found = prepare_model(path, name, encoder, self.config)
        if self.sink.is_missing(found):
            self.dispatcher.start(task_for(found, self.config), str(path))
        return replace(found, model=drop_graph(found.model))

    def write(self, turn: Turn, model: PreparedModel, to: Destination) -> dict[Kind, Path]:
        """Write every representation of a model, and return their files; one that may be missing leaves a warning.

        Raises ModelError and its kin, OutputError, ClusterError.
        """
        files: dict[Kind, Path] = {}
        if "maps" in self.representations:
            self._write("maps", model, to, files)
        self.warnings += model.remarks
        others = [kind for kind in self.representations if kind != "maps"]
        whole = model if self.dispatcher is None or not others else prepare_model(*turn, self.config)
        for kind in others:
            self._write(kind, whole, to, files)
        return files

    def _write(self, kind: Kind, model: PreparedModel, to: Destination, files: dict[Kind, Path]) -> None:
        one, name = self.representations[kind], model.record.name
        try:
            files[kind], remarks = one.write(model, to, lambda images: self.counter.advance(images, name))
        except OutputError:
            raise
        except OnnxspaceError as error:
            if one.loss is None:
                raise
            remarks = (f"{one.loss} ({str(error).rstrip('.')}).",)
        self.warnings += [f"{name}: {remark}" for remark in remarks]


def task_for(model: PreparedModel, config: Config) -> ModelTask:
    """Return the task of a model for the workers of a cluster."""
    from onnxspace.workflows.cluster.dispatch import task_of

    key = model_key(model.model, model.encoder.tensors)
    return task_of(model.model, model.encoder, key, config.options(Path(model.model.path)))
