"""Adding fingerprint files to a space: checks that they can be compared, and enters them as models without maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ModelError, OnnxspaceError, OutputError, SpaceError
from onnxspace.inputs.content import hash_images, order_by_content
from onnxspace.inputs.execution import Progress
from onnxspace.inputs.labels import Labels
from onnxspace.inputs.names import is_fingerprint as is_fingerprint
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.file import Fingerprint, read_fingerprint
from onnxspace.similarity.fingerprints.reduced import pack
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.complete import Offer, complete_models
from onnxspace.spaces.create import probes_of
from onnxspace.spaces.insert import NO_STEM, NO_SUM, add_labels, current_time, insert_sheet
from onnxspace.spaces.layout import read_reduced
from onnxspace.spaces.schema import CatalogueEntry, identity_of
from onnxspace.storage.short_text import count, count_losses, join_lines, list_names

_MOST, _BYTES = 4096, 2**25  # limits on the fingerprints that are entered together


def read_comparable_fingerprint(
    folder: Path, protocol: Protocol, given: str | Path | Fingerprint, order: NDArray[np.intp] | None = None
) -> Fingerprint:
    """Return the fingerprint `given`, or read it from a file, and check that it can be compared with the models of the space.

    `folder` is the space and `protocol` its protocol; `order` is that of its images by their content, None where it does not matter. Raises SpaceError for a fingerprint made with another protocol, and
    ModelError for a damaged file.
    """
    found = given if isinstance(given, Fingerprint) else read_fingerprint(Path(given))
    for what, theirs, ours in (
        ("images", (found.probe_sha256, found.images), (protocol.sha256, protocol.images)),
        ("precision of maps", found.protocol.precision, protocol.precision),
        ("settings of the method", (found.method, found.options), (protocol.method, protocol.fingerprint_options())),
        ("numbers", (found.seed, found.numbers, found.version), (protocol.sketch, protocol.numbers, protocol.sketch_version)),
    ):
        if theirs != ours:
            raise SpaceError(
                f"{found.name if given is found else given} was made with {_name_other(what)} than {folder}, so it can't be compared."
                " Make it with `onnxspace fingerprint --space`."
            )
    if protocol.detail != "maps" and found.reduced is not None and found.reduced.detail != protocol.detail:
        raise SpaceError(
            f"{found.name if given is found else given} holds features for {found.reduced.detail}, and {folder} keeps them for"
            f" {protocol.detail}. Make it with `onnxspace fingerprint --space`."
        )
    if order is not None and found.reduced is not None and not np.array_equal(found.reduced.order, order):
        raise SpaceError(
            f"{found.name if given is found else given} states another order of the images of {folder}, so it can't be compared."
            " Make it with `onnxspace fingerprint --space`."
        )
    return found


def _name_other(what: str) -> str:
    return f"another {what}" if what.startswith("precision") else f"other {what}"


def add_fingerprints(
    folder: Path, protocol: Protocol, paths: Sequence[Path], found: AdditionReport, progress: Progress | None,
    stated: Callable[[Path], Labels] = lambda path: Labels(),
) -> None:  # fmt: skip
    """Enter the `.fp` files `paths` into the space `folder`, up to 4096 at a time, and record the results in `found`.

    `stated` returns the labels that the user states for a file, beside those in it.

    The models of one batch are entered together or not at all. `progress` receives a file's name, the files done and their
    number. Raises OutputError where the space can't be written.
    """
    order, batch = find_order(folder, protocol), _Batch(folder, protocol, found)
    for place, path in enumerate(paths):
        if progress is not None:
            progress(path.name, place, len(paths))
        try:
            given = read_comparable_fingerprint(folder, protocol, path, order)
            given = replace(given, labels=stated(path).over(given.labels))
        except OutputError:
            raise
        except OnnxspaceError as error:
            found.record_failure(path, error, str(error))
        else:
            batch.append(path, given, None if given.reduced is None or protocol.detail == "maps" else pack(given.reduced))
    batch.enter()


@dataclass
class _Batch:
    """Fingerprints that are entered together, as soon as they are many or large."""

    folder: Path
    protocol: Protocol
    found: AdditionReport
    taken: list[tuple[Path, Fingerprint, bytes | None]] = field(default_factory=list)
    size: int = 0

    def append(self, path: Path, given: Fingerprint, part: bytes | None) -> None:
        self.taken.append((path, given, part))
        self.size += given.prints.nbytes + len(part or b"")
        if self.size >= _BYTES or len(self.taken) >= _MOST:
            self.enter()

    def enter(self) -> None:
        drafts = [_make_draft(given, path) for path, given, _ in self.taken]
        rows, parts = [given.prints for _, given, _ in self.taken], [part for _, _, part in self.taken]
        entered = insert_sheet(self.folder, drafts, rows, parts)
        offers = [
            Offer(entry, given.prints, given.reduced)
            for (_, given, _), (entry, new) in zip(self.taken, entered, strict=True)
            if not new
        ]
        self.found.labelled += add_labels(self.folder, [
            (entry, given.labels) for (_, given, _), (entry, new) in zip(self.taken, entered, strict=True) if not new
        ])  # fmt: skip
        self.found.record_all([path for path, _, _ in self.taken], entered, complete_models(self.folder, self.protocol, offers))
        self.taken, self.size = [], 0


def find_order(folder: Path, protocol: Protocol) -> NDArray[np.intp] | None:
    """Return the order of a space's images by their content; None where it keeps maps only, or it can't be known yet."""
    if protocol.detail == "maps":
        return None
    try:
        return order_by_content(hash_images(probes_of(folder, protocol, None).images))
    except SpaceError:  # it does not hold its images
        with open_catalogue(folder) as book:
            first = next((entry for entry in book.entries() if entry.reduced is not None), None)
        held = None if first is None else read_reduced(folder, first, protocol)
        return None if held is None else held.order


def _make_draft(found: Fingerprint, path: Path) -> CatalogueEntry:
    content = identity_of(found.sha256, found.encoder, "")
    return CatalogueEntry(
        found.name,
        NO_STEM,
        content,
        found.sha256,
        str(path),
        found.encoder,
        "",
        "",
        0,
        found.labels.producer,
        NO_SUM,
        added=current_time(),
        labels=found.labels,
        pixels=found.pixels,
    )


@dataclass(frozen=True)
class Additions:
    """The result of `Space.add`: new `models`, `(path, name)` of models that were already `there`, failures and warnings.

    `completed` are those `(path, name)` of models whose features or outputs were missing or damaged, and are there now; `labelled`
    the names of models that were there and have other labels now.
    """

    models: tuple[ModelRecord, ...]
    there: tuple[tuple[str, str], ...]
    failed: tuple[Failure, ...]
    warnings: tuple[str, ...]
    completed: tuple[tuple[str, str], ...] = ()
    labelled: tuple[str, ...] = ()

    def __repr__(self) -> str:
        heading = f"{count(len(self.models), 'model')} added" + (f": {list_names(self.names)}" if self.models else "")
        there = [f"{len(self.there):,} there already"] if self.there else []
        completed = [f"{len(self.completed):,} completed"] if self.completed else []
        return join_lines(heading, there, completed, count_losses([one.path for one in self.failed], self.warnings))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.models)


@dataclass
class AdditionReport:
    """An `Additions` in progress; `causes` are the errors of failed models, `kept` says what is kept of an interrupted one."""

    models: list[ModelRecord] = field(default_factory=list)
    there: list[tuple[str, str]] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    causes: list[OnnxspaceError] = field(default_factory=list)
    kept: str = ""
    completed: list[tuple[str, str]] = field(default_factory=list)
    labelled: list[str] = field(default_factory=list)

    def record_entered(self, path: Path, entry: CatalogueEntry, new: bool, *, fuller: bool = False) -> None:
        if new:
            self.models.append(entry.record())
        elif fuller:
            self.completed.append((str(path), entry.name))
        else:
            self.there.append((str(path), entry.name))

    def record_all(self, paths: Sequence[Path], entered: Sequence[tuple[CatalogueEntry, bool]], fuller: set[str]) -> None:
        """Record models that were entered together; `fuller` are the names of those that were completed."""
        for path, (entry, new) in zip(paths, entered, strict=True):
            self.record_entered(path, entry, new, fuller=entry.name in fuller)

    def record_failure(self, path: Path, error: Exception, words: str) -> None:
        self.failed.append(Failure(str(path), words))
        self.causes.append(error if isinstance(error, OnnxspaceError) else ModelError(words))

    def note(self, error: BaseException, place: Path) -> None:
        """Add a note to an error that stops the command: what is in the space nevertheless."""
        if self.models or self.kept:
            count = "1 model" if len(self.models) == 1 else f"{len(self.models)} models"
            there = " and ".join(part for part in (count if self.models else "", self.kept) if part)
            verb = "is" if there in ("1 model", self.kept) and there.startswith("1 ") else "are"
            goes_on = "goes on there" if self.kept else "adds the others"
            error.add_note(f"{there} {verb} in {place}, and the same command, started again, {goes_on}.")

    def result(self) -> Additions:
        parts = (self.models, self.there, self.failed, self.warnings, self.completed, self.labelled)
        return Additions(*map(tuple, parts))  # type: ignore[arg-type]
