"""A run over several models: each is opened, and a sink decides what is computed of it and where it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from onnxspace.errors import ClusterError, OnnxspaceError, OutputError, unexpected
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Announce, Counter
from onnxspace.inputs.names import encoders_for, name_models
from onnxspace.inputs.precision import ModelPrecision
from onnxspace.scores.registry import Kind
from onnxspace.workflows.ahead import NextModel
from onnxspace.workflows.described import DescribedModels, FindOthers
from onnxspace.workflows.described import Turn as Turn
from onnxspace.workflows.files import Representation
from onnxspace.workflows.requests import DescribedModel, Destination
from onnxspace.workflows.session import ModelSession

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.dispatch import Dispatcher


class Sink(Protocol):
    """Where the models of a run are entered: a result, or a space."""

    def has_read(self, path: Path) -> bool:
        """Whether a file need not be explained, such as a fingerprint that was read."""
        ...

    def enter_file(self, path: Path, name: str) -> None:
        """Enter such a file under the name `name`. Raises the error of reading it."""
        ...

    def is_missing(self, model: DescribedModel) -> bool:
        """Whether the maps of this model must be computed."""
        ...

    def enter(self, turn: Turn, model: DescribedModel, run: Run) -> None:
        """Enter a model; `run.write` computes its missing files. Raises ModelError, OutputError, ClusterError."""
        ...

    def fail(self, path: Path, error: Exception, sentence: str) -> None:
        """Record that a model can't be entered: the error, and a sentence that describes it."""
        ...


@dataclass
class Run:
    """The state of a run over several models.

    `session` has the worker that reads models, `config` holds their options, `sink` decides what is computed and receives it, `representations` are the files to compute
    of each model by kind, `counter` reports progress, `warnings` collects warnings. `lost` has the reasons by kind of what could not
    be computed of the model that was written last, `precision` is that of its maps where it was chosen by a measurement. With a `dispatcher`, the workers of a cluster compute maps. `announce` is called
    with the records of all models that can be opened, before any is entered. `find_others` gives records of what they are compared with.
    `ahead` prepares the model of the next turn while one is entered (None: each is prepared at its turn). Where fewer models than `least`
    can be opened, all that can are entered without files, since there is nothing to compare them with.
    """

    session: ModelSession
    config: Config
    sink: Sink
    representations: Mapping[Kind, Representation]
    counter: Counter
    warnings: list[str] = field(default_factory=list)
    dispatcher: Dispatcher | None = None
    lost: dict[Kind, str] = field(default_factory=dict)
    announce: Announce | None = None
    find_others: FindOthers | None = None
    ahead: NextModel | None = None
    precision: ModelPrecision | None = None
    least: int = 0
    computes: bool = field(init=False, default=True)
    _described: DescribedModels = field(init=False)

    def __post_init__(self) -> None:
        self._described = self.session.open_models(self.config, self.find_others)

    def explain_all(self, paths: Sequence[Path], encoders: Sequence[str]) -> None:
        """Enter all models into the sink. A model that fails does not stop the others; OutputError and ClusterError do."""
        names = name_models(paths, self.config)
        turns = list(zip(paths, names, encoders_for(paths, names, encoders), strict=True))
        unread = [turn for turn in turns if not self.sink.has_read(turn[0])]
        self._described.announce(unread, self.announce, self.sink.is_missing)
        self.computes = self._described.count_opened(unread) >= self.least
        self.warnings += self._described.warnings
        prepare, each = self._choose_preparation(turns), self.counter.total // max(1, len(turns))
        for index, turn in enumerate(turns):
            path, name, _ = turn
            try:
                self._enter(turn, prepare, turns[index + 1 : index + 2])
            except (OutputError, ClusterError):
                raise
            except OnnxspaceError as error:
                self.sink.fail(path, error, str(error))
            except Exception as error:  # a defect in a library below must not lose the other models' work
                self.sink.fail(path, error, unexpected(path, error))
            self.counter.reach((index + 1) * each, name)

    def _enter(self, turn: Turn, prepare: Callable[[Turn], DescribedModel | None], following: Sequence[Turn]) -> None:
        path, name, _ = turn
        self.counter.advance(0, name)
        if self.sink.has_read(path):
            self.sink.enter_file(path, name)
        elif (model := prepare(turn)) is not None:
            if self.computes:
                self._look_ahead(model, following)
            self.sink.enter(turn, model, self)

    def _look_ahead(self, model: DescribedModel, following: Sequence[Turn]) -> None:
        """Take what was prepared of a model, and have the one after it prepared. Raises ModelError."""
        if self.ahead is None:
            return
        self.ahead.take(model)
        for turn in following:
            found = self._described.find_opened(turn)
            if found is not None and self.sink.is_missing(found):
                self.ahead.start(found)

    def _choose_preparation(self, turns: Sequence[Turn]) -> Callable[[Turn], DescribedModel | None]:
        """Return a function that opens a model: at its turn, or, where workers compute, some turns ahead."""
        if self.dispatcher is None or not self.computes:
            return self._described.take
        from onnxspace.workflows.cluster.prefetch import Prefetcher

        return Prefetcher(turns, self._dispatch, self.dispatcher.width).take

    def _dispatch(self, path: Path, name: str, encoder: str | None) -> DescribedModel | None:
        """Open a model ahead of its turn, and submit its maps to the workers."""
        if self.sink.has_read(path) or self.dispatcher is None:
            return None
        from onnxspace.workflows.cluster.dispatch import make_task

        found = self._described.take((path, name, encoder))
        if self.sink.is_missing(found):
            self.dispatcher.start(make_task(found), str(path))
        return found

    def write(self, model: DescribedModel, to: Destination) -> dict[Kind, Path]:
        """Write all representations of a model to `to`, and return their files by kind.

        A representation that fails is left out with a warning where its `loss` allows. Raises ModelError, OutputError,
        ClusterError.
        """
        files: dict[Kind, Path] = {}
        self.lost, self.precision = {}, None
        if not self.computes:
            self.warnings += model.remarks
            return files
        if "maps" in self.representations:
            self._write("maps", model, to, files)
        self.warnings += model.remarks
        for kind in self.representations:
            if kind != "maps":
                self._write(kind, model, to, files)
        return files

    def _write(self, kind: Kind, model: DescribedModel, to: Destination, files: dict[Kind, Path]) -> None:
        one, name = self.representations[kind], model.record.name
        try:
            written = one.write(model, to, lambda images: self.counter.advance(images, name))
            files[kind], remarks = written.path, written.remarks
            self.precision = written.precision or self.precision
        except OutputError:
            raise
        except OnnxspaceError as error:
            if one.loss is None:
                raise
            self.lost[kind] = str(error)
            remarks = (f"{one.loss} ({str(error).rstrip('.')}).",)
        self.warnings += [f"{name}: {remark}" for remark in remarks]
