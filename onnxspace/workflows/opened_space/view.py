"""An opened space: its folder and protocol, which of its models are chosen, and what is done about damaged ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from onnxspace.errors import DamagedFileError, SpaceError
from onnxspace.inputs.execution import Execution, follow_precision
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.inputs.protocol import Protocol
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.damage import ReportDamage, without_damaged
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.spaces.where import Where

_Result = TypeVar("_Result")
_MOST_SUGGESTED = 10_000


@dataclass(frozen=True, eq=False)
class OpenedSpace:
    """The folder `path`, and the `protocol` that it had when it was opened; each question reads the folder anew.

    `damaged` is told of models whose files are damaged (None: they raise), `chosen` is the condition on models (None: all).
    """

    path: Path
    protocol: Protocol
    damaged: ReportDamage | None = None
    chosen: Where | None = None

    def entries(self) -> tuple[CatalogueEntry, ...]:
        """The chosen models. Raises SpaceError."""
        found = self.all_entries()
        return found if self.chosen is None else self.chosen.select(found)

    def all_entries(self) -> tuple[CatalogueEntry, ...]:
        """All models. Raises SpaceError."""
        self.refuse_replaced()
        with open_catalogue(self.path) as book:
            return tuple(book.entries())

    def entries_with(self, own: CatalogueEntry | None) -> tuple[CatalogueEntry, ...]:
        """The chosen models, and that of a target, which a condition may leave out, in their order."""
        if self.chosen is None or own is None:
            return self.entries()
        found = self.all_entries()
        stems = {own.stem, *(entry.stem for entry in self.chosen.select(found))}
        return tuple(entry for entry in found if entry.stem in stems)

    def refuse_replaced(self) -> None:
        """Raise SpaceError where another space is in the folder now."""
        with open_catalogue(self.path) as book:
            if book.protocol() != self.protocol:
                raise SpaceError(f"{self.path} was replaced by another space after it was opened. Open it again.")

    def follow(self, execution: Execution) -> Execution:
        """The execution in the precision of the space's maps. Raises ConfigError where it states another one."""
        return follow_precision(execution, self.protocol.precision, str(self.path))

    def has_name(self, name: str) -> bool:
        """Whether a model has this name. Raises SpaceError."""
        with open_catalogue(self.path) as book:
            return book.find("name", name) is not None

    def holds(self, model: str | Path) -> bool:
        """Whether a model has this name or path. Raises SpaceError."""
        with open_catalogue(self.path) as book:
            return book.find("name", str(model)) is not None or bool(book.list_with_path(str(model)))

    def find_entry(self, name: str) -> CatalogueEntry:
        """The model with this name or path. Raises SpaceError, with the nearest names."""
        with open_catalogue(self.path) as book:
            if (found := book.find("name", name)) is not None:
                return found
            if same := book.list_with_path(name):
                return same[0]
            names = book.names(_MOST_SUGGESTED)
        raise SpaceError(f"{self.path}: {describe_unknown('model', name, names)}")

    def find_same(self, entry: CatalogueEntry) -> list[CatalogueEntry]:
        """The models of this set that are `entry`: itself, or of another set the same file, encoder and preprocessing."""
        with open_catalogue(self.path) as book:
            found = book.find("identity", entry.identity)
            if found is not None:
                return [found]
            same = book.list_with_content(entry.content)
        return [one for one in same if "" in (one.preprocess, entry.preprocess)]

    def without_damaged(
        self, entries: Sequence[CatalogueEntry], compute: Callable[[Sequence[CatalogueEntry]], _Result], needed: str = ""
    ) -> _Result:
        """Return `compute(entries)`, without models whose files are damaged where those are reported; `needed` must be whole."""
        return without_damaged(self.path, self.protocol, entries, compute, self.damaged, needed)

    def compare_kept(
        self, compute: Callable[[frozenset[str] | None], _Result], target: CatalogueEntry | None = None
    ) -> _Result:  # fmt: skip
        """Return `compute(identities)` of the chosen models (None: all), without those whose files are damaged."""
        try:
            return compute(None if self.chosen is None else frozenset(entry.identity for entry in self.entries()))
        except DamagedFileError:
            return self.without_damaged(
                self.entries(),
                lambda entries: compute(frozenset(entry.identity for entry in entries)),
                "" if target is None else target.stem,
            )
