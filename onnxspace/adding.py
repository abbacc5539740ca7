"""Models into a space: explained as the space says, reduced to fingerprints, and entered one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onnxspace.config import Config
from onnxspace.errors import OutputError
from onnxspace.explainer import check
from onnxspace.fingerprinting import prints_of
from onnxspace.methods import Compute, Device
from onnxspace.pipeline import Opened, Progress, Run, opened
from onnxspace.probes import Probes
from onnxspace.spaces.catalogue import catalogue
from onnxspace.spaces.facts import Entry, Made, identity
from onnxspace.spaces.files import write_array
from onnxspace.spaces.probeset import baseline_of
from onnxspace.spaces.put import NO_STEM, NO_SUM, known, now, put
from onnxspace.spaces.report import Report
from onnxspace.spaces.work import workbench

_LIBRARIES = ("onnxspace", "torch", "numpy", "onnx", "onnx2torch", "pillow")


@dataclass(kw_only=True)
class Adding(Run):
    """Models on their way into the space `home`."""

    home: Path
    made: Made
    report: Report = field(default_factory=Report)

    def _explain(self, path: Path, name: str, encoder: str | None) -> None:
        self._advance(0, name)
        found = opened(path, name, encoder, self.config)
        draft = draft_of(found)
        with catalogue(self.home) as book:
            there = known(book, draft, keep_maps=self.made.keep_maps)
        entry, new = self._put(found, draft) if there is None else (there, False)
        self.report.entered(path, entry, new)

    def _fail(self, path: Path, error: Exception, words: str) -> None:
        self.report.failure(path, error, words)

    def _put(self, found: Opened, draft: Entry) -> tuple[Entry, bool]:
        said = len(self.warnings)
        try:
            maps = self.maps_of(found, draft.identity)
        except OutputError as error:
            reason = os.strerror(error.errno or 0)
            raise OutputError(
                error.errno, f"{self.home} can't take the maps of {draft.name} ({reason}). Free some space, and add it again."
            ) from error
        prints = self.folder / f"{draft.identity}.prints.npy"
        write_array(prints, prints_of(maps, self.made))
        draft = replace(draft, warnings=tuple(self.warnings[said:]))
        try:
            return put(self.home, draft, prints, maps if self.made.keep_maps else None)
        finally:
            for path in (maps, prints):
                path.unlink(missing_ok=True)


def add_models(
    home: Path, made: Made, probes: Probes, paths: Sequence[Path], encoders: Sequence[str], config: Config,
    device: Compute | Device, batch_size: int | None, progress: Progress | None, report: Report,
) -> None:  # fmt: skip
    """Explain models and enter each as soon as it is done."""
    options = made.told(None if made.baseline is None else baseline_of(home, made))
    check([made.method], options, probes, {})
    with workbench(home) as bench:
        run = Adding(
            probes, made.method, options, device, batch_size, config, bench, False, len(paths) * len(probes), progress,
            home=home, made=made, report=report, warnings=report.warnings,
        )  # fmt: skip
        run.explain_all(paths, encoders)


def draft_of(found: Opened) -> Entry:
    """What the catalogue says of a model but for its files."""
    model, record = found.model, found.record
    feed = json.dumps({"input": model.image.name, **asdict(model.preprocess)}, sort_keys=True)
    return Entry(
        record.name, NO_STEM, identity(model.sha256, record.encoder, feed), model.sha256, record.path, record.encoder,
        record.input, feed, record.opset, record.producer, NO_SUM, assumed=record.assumed,
        versions={name: _version(name) for name in _LIBRARIES}, added=now(),
    )  # fmt: skip


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
