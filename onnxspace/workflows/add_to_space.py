"""Models into a space: explained as the space says, reduced to fingerprints, and entered one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onnxspace.attribution.cache_key import recipe
from onnxspace.attribution.explainer import check
from onnxspace.errors import OutputError
from onnxspace.inputs.config import Config
from onnxspace.inputs.methods import Compute, Device
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Protocol
from onnxspace.spaces.add_fingerprints import Report
from onnxspace.spaces.catalogue import catalogue
from onnxspace.spaces.create import baseline_of
from onnxspace.spaces.insert import NO_STEM, NO_SUM, find_existing, insert_model, now
from onnxspace.spaces.layout import PROBES
from onnxspace.spaces.schema import CatalogueEntry, identity
from onnxspace.spaces.workdirs import taken_up
from onnxspace.storage.atomic import write_array
from onnxspace.storage.journal import Journal
from onnxspace.storage.resume import JOURNAL
from onnxspace.workflows.fingerprint import prints_of
from onnxspace.workflows.open import Opened
from onnxspace.workflows.run import Progress, Run, compute_of, hired

_LIBRARIES = ("onnxspace", "torch", "numpy", "onnx", "onnx2torch", "pillow")


@dataclass(kw_only=True)
class Adding(Run):
    """Models on their way into the space `home`."""

    home: Path
    protocol: Protocol
    recipe: str
    report: Report = field(default_factory=Report)

    def _explain(self, path: Path, name: str, encoder: str | None) -> None:
        self._advance(0, name)
        found = self._opened(path, name, encoder)
        draft = draft_of(found)
        there = self._find_existing(draft)
        entry, new = self._insert(found, draft) if there is None else (there, False)
        self.report.entered(path, entry, new)

    def _find_existing(self, draft: CatalogueEntry) -> CatalogueEntry | None:
        with catalogue(self.home) as book:
            return find_existing(book, draft, keep_maps=self.protocol.keep_maps)

    def _is_missing(self, found: Opened) -> bool:
        return self._find_existing(draft_of(found)) is None

    def _fail(self, path: Path, error: Exception, words: str) -> None:
        self.report.failure(path, error, words)

    def _insert(self, found: Opened, draft: CatalogueEntry) -> tuple[CatalogueEntry, bool]:
        """Explain and enter a model, from where an earlier process has left it if all that determines its maps is as it was."""
        with taken_up(self.home, draft.identity[:32], self.recipe) as (self.folder, self.kept):
            try:
                return self._finish(found, draft)
            except BaseException:
                self.report.kept = self._waiting(draft.name)
                raise

    def _waiting(self, name: str) -> str:
        """What waits for the next process, in words."""
        journal = self.folder / f"{self.recipe}{JOURNAL}"
        count = sum(shard.rows for shard in Journal(journal, len(self.probes)).shards) if self.kept else 0
        return f"{count} map{'' if count == 1 else 's'} of {name}" if count else ""

    def _finish(self, found: Opened, draft: CatalogueEntry) -> tuple[CatalogueEntry, bool]:
        said = len(self.warnings)
        try:
            maps = self.maps_of(found, self.recipe)
        except OutputError as error:
            reason = os.strerror(error.errno or 0)
            raise OutputError(
                error.errno, f"{self.home} can't take the maps of {draft.name} ({reason}). Free some space, and add it again."
            ) from error
        prints = self.folder / f"{self.recipe}.prints.npy"
        write_array(prints, prints_of(maps, self.protocol))
        draft = replace(draft, warnings=tuple(self.warnings[said:]))
        return insert_model(self.home, draft, prints, maps if self.protocol.keep_maps else None)


def add_models(
    home: Path, protocol: Protocol, probes: Probes, paths: Sequence[Path], encoders: Sequence[str], config: Config,
    device: Compute | Device, batch_size: int | None, progress: Progress | None, report: Report, cluster: str | None = None,
) -> None:  # fmt: skip
    """Explain models, here or on a cluster, and enter each as soon as it is done."""
    options = protocol.options_with(None if protocol.baseline is None else baseline_of(home, protocol))
    check([protocol.method], options, probes, {})
    with hired(cluster) as crew, ExitStack() as stack:
        elsewhere = None if crew is None else crew.processors(compute_of(device))
        said = recipe(protocol.method, options, probes, device, batch_size, elsewhere)
        run = Adding(
            probes, protocol.method, options, device, batch_size, config, home, True, len(paths) * len(probes), progress,
            home=home, protocol=protocol, recipe=said, report=report, warnings=report.warnings,
        )  # fmt: skip
        if crew is not None:
            run.folder, _ = stack.enter_context(taken_up(home, 2 * said, ""))  # workers' pieces, of all models
            run.send_to(crew, home / PROBES if (home / PROBES).is_file() else None)
        run.explain_all(paths, encoders)


def draft_of(found: Opened) -> CatalogueEntry:
    """What the catalogue says of a model but for its files."""
    model, record = found.model, found.record
    feed = json.dumps({"input": model.image.name, **asdict(model.preprocess)}, sort_keys=True)
    return CatalogueEntry(
        record.name, NO_STEM, identity(model.sha256, record.encoder, feed), model.sha256, record.path, record.encoder,
        record.input, feed, record.opset, record.producer, NO_SUM, assumed=record.assumed,
        versions={name: _version(name) for name in _LIBRARIES}, added=now(),
    )  # fmt: skip


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
