"""What sessions and notebooks show of the models of a space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxspace.similarity.html import render_table
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.storage.data_frames import FLAG, TEXT, WHOLE, make_frame

_COLUMNS = {
    "name": TEXT, "path": TEXT, "sha256": TEXT, "encoder": TEXT, "opset": WHOLE, "producer": TEXT, "maps": FLAG, "added": TEXT,
    "license": TEXT, "source": TEXT, "framework": TEXT, "tags": TEXT,
}  # fmt: skip


def tabulate_entries(entries: Sequence[CatalogueEntry]) -> Any:
    """Return a pandas DataFrame with a row per model. Raises MissingLibraryError where pandas is not installed."""
    return make_frame(_COLUMNS, [(*_list_facts(entry), *_list_labels(entry)) for entry in entries])


def _list_facts(e: CatalogueEntry) -> tuple[Any, ...]:
    return e.name, e.path, e.sha256, e.encoder, e.opset, e.producer, e.maps is not None, e.added


def _list_labels(entry: CatalogueEntry) -> tuple[Any, ...]:
    labels = entry.labels
    return labels.license, labels.source, labels.framework, labels.tags


def render_entries(title: str, entries: Sequence[CatalogueEntry]) -> str:
    """A row per model, for up to 60: name, encoder, licence, framework, tags and time."""
    heading = ("model", "encoder", "license", "framework", "tags", "added")
    rows = [(e.name, e.encoder, e.labels.license, e.labels.framework, ", ".join(e.labels.tags), e.added) for e in entries[:60]]
    return render_table(title, heading, rows, len(entries))
