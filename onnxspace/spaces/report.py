"""What became of each model that was to be added."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onnxspace.affinity import Failure, ModelRecord
from onnxspace.errors import ModelError, OnnxspaceError
from onnxspace.spaces.facts import Entry


@dataclass(frozen=True)
class Added:
    """What `Space.add` did: models that are new, `(path, name)` of those that were there already, and the rest."""

    models: tuple[ModelRecord, ...]
    there: tuple[tuple[str, str], ...]
    failed: tuple[Failure, ...]
    warnings: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)


@dataclass
class Report:
    """The same while it happens; `causes` are the errors of those that failed, `kept` says what waits of a stopped one."""

    models: list[ModelRecord] = field(default_factory=list)
    there: list[tuple[str, str]] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    causes: list[OnnxspaceError] = field(default_factory=list)
    kept: str = ""

    def entered(self, path: Path, entry: Entry, new: bool) -> None:
        if new:
            self.models.append(entry.record())
        else:
            self.there.append((str(path), entry.name))

    def failure(self, path: Path, error: Exception, words: str) -> None:
        self.failed.append(Failure(str(path), words))
        self.causes.append(error if isinstance(error, OnnxspaceError) else ModelError(words))

    def note(self, error: BaseException, place: Path) -> None:
        """Say on an error that stops everything what is in the space nevertheless."""
        if self.models or self.kept:
            count = "1 model" if len(self.models) == 1 else f"{len(self.models)} models"
            there = " and ".join(part for part in (count if self.models else "", self.kept) if part)
            verb = "is" if there in ("1 model", self.kept) and there.startswith("1 ") else "are"
            goes_on = "goes on there" if self.kept else "adds the others"
            error.add_note(f"{there} {verb} in {place}, and the same command, started again, {goes_on}.")

    def told(self) -> Added:
        return Added(tuple(self.models), tuple(self.there), tuple(self.failed), tuple(self.warnings))
