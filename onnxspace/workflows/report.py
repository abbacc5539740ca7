"""A space or a result as a self-contained HTML page."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, OutputError, ProbeError, SpaceError
from onnxspace.evaluation import Evaluation, Table, evaluate
from onnxspace.inputs.execution import Progress
from onnxspace.inputs.methods import METHODS, describe_options
from onnxspace.inputs.nearest_names import describe_missing_folder
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import GENERATED
from onnxspace.report.page import render
from onnxspace.report.page_data import PageData, Sheet
from onnxspace.report.read_result import read_result
from onnxspace.report.result_folder import SUMMARY
from onnxspace.report.thumbnails import Gallery, make_gallery
from onnxspace.scores.selection import MOST_RANKED
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.mixed import MAX_CERTAIN_MODELS, with_certainty
from onnxspace.spaces.damage import ReportDamage
from onnxspace.spaces.layout import check_maps
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.spaces.where import Note
from onnxspace.storage.atomic import whole_file
from onnxspace.storage.short_text import count
from onnxspace.workflows.space import Space

IMAGES = 6
MOST_MODELS = 1000
_STEPS = 4
_MOST_PIXELS = 2**26  # of generated images: 1,300 of 224 × 224


@dataclass(frozen=True, eq=False)
class _FolderContents:
    """The contents of a space or result: the comparison, files of maps and images (None where absent), and descriptions."""

    affinity: Affinity
    maps: tuple[Path | None, ...]
    pictures: NDArray[np.uint8] | None
    sheet: Sheet
    facts: tuple[tuple[str, str], ...]
    about: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def write_report(
    source: str | Path | Space, output: str | Path, *, target: str | None = None, images: int = IMAGES, oracle: str | Path | None = None,
    title: str | None = None, progress: Progress | None = None,
) -> tuple[str, ...]:  # fmt: skip
    """Write a page about `source`, a space or a folder written by `score --output`, to the HTML file `output`; returns warnings.

    A space that is open already may leave out models, see `Space.open` and `Space.where`.

    `target` is the model whose sources are shown first (None: the first model), `images` the number of probe images in the gallery
    (0: no gallery), `oracle` a table of ground truth with which the rankings are evaluated, `title` the page's title. The file is
    complete or absent.  Raises SpaceError and TableError for inputs that can't be read, ConfigError for an unknown target or too many
    models, OutputError.
    """
    place, goal = source.path if isinstance(source, Space) else Path(source), Path(output)
    check_page_path(goal, place, oracle)
    truth = None if oracle is None else Table.read(oracle)
    report = progress or (lambda what, done, total: None)
    report("comparing", 0, _STEPS)
    found = _read_space(source) if isinstance(source, Space) else _read_source(place)
    name = _find_target(found.affinity, target)
    report("resampling", 1, _STEPS)
    found = replace(found, affinity=_add_certainty(place, found, name))
    report("drawing maps", 2, _STEPS)
    page = PageData(
        title or f"Model space {place.resolve().name}", found.affinity, found.sheet, found.facts, found.notes, found.about, name,
        _make_gallery(found, images), None if truth is None else _evaluate_rankings(truth, found.affinity),
    )  # fmt: skip
    page = replace(page, notes=tuple(dict.fromkeys((*page.notes, *_list_omissions(page, found, images)))))
    report("writing", 3, _STEPS)
    with whole_file(goal) as partial:
        partial.write_text(render(page), "utf-8", newline="\n")
    return page.notes


def check_page_path(goal: Path, source: Path, oracle: str | Path | None) -> None:
    """Check, before any work is done, that the HTML file `goal` can be written without overwriting an input.

    `source` is the folder of the space or result, `oracle` the table, if any. Raises OutputError.
    """
    if goal.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{goal} is not a name for an HTML page. Name a file that ends in .html as --output.")
    try:
        inside = Path(os.path.realpath(goal)).is_relative_to(os.path.realpath(source)) and source.is_dir()
        same = oracle is not None and goal.exists() and Path(oracle).exists() and goal.samefile(oracle)
        occupied = goal.exists() and not goal.is_file()
    except (OSError, ValueError) as error:
        raise OutputError(f"{goal} can't be used as --output ({error}). Name another --output.") from error
    if inside or same or occupied:
        why = "lies inside the folder to be shown" if inside else "is the --oracle" if same else "is not a file"
        raise OutputError(f"{goal} {why}. Name another --output.")


def open_source(
    place: Path, damaged: ReportDamage | None, where: Sequence[str] = (), note: Note | None = None
) -> Path | Space:  # fmt: skip
    """Open the space at `place`, with arguments as `Space.open` and `Space.where` have them; a result stays a path.

    Raises SpaceError where it is neither, ConfigError for conditions on a result.
    """
    if not (place / SUMMARY).exists():
        return _open_space(place, damaged).where(*where, note=note)
    if where:
        raise ConfigError(f"{place} is a result; --where chooses models of a space. Leave it out.")
    return place


def _read_source(place: Path) -> _FolderContents:
    return _read_result_folder(place) if (place / SUMMARY).exists() else _read_space(_open_space(place, None))


def _open_space(place: Path, damaged: ReportDamage | None) -> Space:
    if not place.exists():
        raise SpaceError(
            f"{place} {describe_missing_folder(place)} Name a space, or a folder that `onnxspace score --output` wrote."
        )
    if place.is_file():
        raise SpaceError(f"{place} is a file. Name a space, or a folder that `onnxspace score --output` wrote.")
    try:
        return Space.open(place, damaged=damaged)
    except SpaceError as error:
        if "is not a model space" in str(error):
            raise SpaceError(
                f"{place} is neither a model space nor a result. Name a space, or a folder that `onnxspace score --output` wrote."
            ) from error
        raise


def _refuse_many(count: int, place: Path) -> None:
    if count == 0:
        raise ConfigError(f"{place} has no models to show. Add some with `onnxspace space add`.")
    if count > MOST_MODELS:
        raise ConfigError(f"{place} has {count} models, but a page shows at most {MOST_MODELS}. Use `onnxspace space nearest`.")


def _read_space(space: Space) -> _FolderContents:
    _refuse_many(len(space), space.path)
    entries = space.entries()
    found = space.compare(certain=True) if len(entries) <= MOST_RANKED else space.affinity()
    entries = tuple(entry for entry in entries if entry.name in set(found.names))  # those that are damaged are left out
    if found.names != tuple(entry.name for entry in entries):
        raise SpaceError(f"Models were added to or removed from {space.path} meanwhile. Run this again.")
    try:
        pictures: NDArray[np.uint8] | None = space.probes().images
    except SpaceError:
        pictures = None
    maps = tuple(None if entry.maps is None else check_maps(space.path, entry, space.protocol) for entry in entries)
    warnings = tuple(f"{entry.name}: {warning}" for entry in entries for warning in entry.warnings)
    columns = ("Compared by", "Encoder", "Input", "Pixels", "Opset", "Producer", "License", "Tags", "Added", "File", "SHA-256")
    sheet = Sheet(columns, tuple(_entry_cells(entry) for entry in entries))
    facts = (
        *_summarise(found),
        ("Explained with", _describe_versions(entries)),
        ("Space made by", f"onnxspace {space.protocol.version}"),
    )
    return _FolderContents(found, maps, pictures, sheet, facts, tuple(_describe_model(entry) for entry in entries), warnings)


def _entry_cells(entry: CatalogueEntry) -> tuple[str, ...]:
    kind = "fingerprint" if entry.maps is None else "whole maps"
    return (
        kind, entry.encoder, entry.input, str(entry.pixels or ""), str(entry.opset or ""), entry.producer, entry.labels.license,
        ", ".join(entry.labels.tags), entry.added, entry.path,
        entry.sha256[:12],
    )  # fmt: skip


def _describe_versions(entries: Sequence[CatalogueEntry]) -> str:
    kinds = dict.fromkeys(", ".join(f"{name} {number}" for name, number in sorted(entry.versions.items())) for entry in entries)
    return "; or ".join(kind for kind in kinds if kind) or "unknown"


def _describe_model(entry: CatalogueEntry) -> tuple[str, tuple[str, ...]]:
    preprocessing = (f"preprocessing: {_describe_preprocessing(entry.preprocess)}",) if entry.preprocess else ()
    return entry.name, (*(f"assumed: {text}" for text in entry.assumed), *preprocessing)


def _describe_preprocessing(text: str) -> str:
    """The catalogue's JSON in words; text that is not JSON is returned unchanged."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return describe_options({key: v for key, v in values.items() if v is not None}) if isinstance(values, dict) else text


def _read_result_folder(place: Path) -> _FolderContents:
    stored = read_result(place)
    found = stored.affinity
    _refuse_many(len(found.models), place)
    columns = ("Compared by", "Encoder", "Input", "Pixels", "Opset", "Producer", "File", "SHA-256")
    rows = tuple(
        ("whole maps" if path else "fingerprint or maps not kept", m.encoder, m.input, str(m.pixels or ""), str(m.opset or ""), m.producer, m.path, m.sha256[:12])
        for m, path in zip(found.models, stored.maps, strict=True)
    )  # fmt: skip
    about = tuple((model.name, tuple(f"assumed: {text}" for text in model.assumed)) for model in found.models if model.assumed)
    pictures = stored.pictures if stored.pictures is not None or not any(stored.maps) else _regenerate_images(found.probe)
    return _FolderContents(found, stored.maps, pictures, Sheet(columns, rows), _summarise(found), about, found.warnings)


def _regenerate_images(probe: Mapping[str, Any]) -> NDArray[np.uint8] | None:
    """Generate the probe images again; None for photos, and where the images differ from those explained."""
    seed = GENERATED.fullmatch(str(probe["name"]))
    if seed is None or probe["images"] * probe["size"] ** 2 > _MOST_PIXELS:
        return None
    try:
        found = Probes.generate(probe["images"], probe["size"], int(seed[1]))
    except (ProbeError, ConfigError, ValueError):
        return None
    return found.images if found.sha256 == probe["sha256"] else None


def _summarise(found: Affinity) -> tuple[tuple[str, str], ...]:
    probe = found.probe
    return (
        ("Method", found.method_words),
        *((("Score", found.by),) if found.by != "attribution" else ()),
        *((("Sources ranked by", found.ranks_by),) if found.ranks_by != found.by else ()),
        ("Evidence", found.evidence),
        ("Probe images", f"{probe['images']} of {probe['size']} × {probe['size']} pixels ({probe['name']})"),
        *((("Pictures that rank", str(found.pictures["images"])),) if found.pictures is not None else ()),
        ("SHA-256 of the images", str(probe["sha256"])),
        ("Page written by", f"onnxspace {version('onnxspace')}"),
    )


def _find_target(found: Affinity, target: str | None) -> str:
    return found.names[0] if target is None else found.rank(target).target


def _add_certainty(place: Path, found: _FolderContents, target: str) -> Affinity:
    """Add the certainty of rankings, where the folder has the maps or fingerprints to compute it from."""
    affinity = found.affinity
    wanted = affinity.names if len(affinity.names) <= MAX_CERTAIN_MODELS else (target,)
    if affinity.certainty or len(affinity.names) < 2 or affinity.ranks_by != "attribution":
        return affinity
    if not (place / SUMMARY).exists():
        space = Space.open(place)
        certainties = space.certainties([affinity.rank(name) for name in wanted])
        return replace(affinity, certainty={one.target: one for one in certainties})
    if any(path is None for path in found.maps):
        return affinity
    return with_certainty(affinity, wanted, found.maps, _refuse_prints)


def _refuse_prints(place: int) -> NDArray[np.float16]:
    raise AssertionError(place)  # every model has its maps


def _make_gallery(found: _FolderContents, images: int) -> Gallery | None:
    return make_gallery(found.maps, found.pictures, images, signed=METHODS[found.affinity.method].signed)  # type: ignore[index]


def _evaluate_rankings(truth: Table, found: Affinity) -> Evaluation:
    name = "affinity" if found.ranks_by == "attribution" else found.ranks_by
    matrix = found.matrix if found.ranks_by == found.by else found.scores[found.ranks_by].copy()
    for target, by in found.ranked_targets.items():
        row = found.names.index(target)
        matrix[row] = found.matrix[row] if by == found.by else found.scores[by][row]
    return evaluate(truth, [Table(name, "the compared models", found.names, found.names, matrix)])


def _list_omissions(page: PageData, found: _FolderContents, images: int) -> tuple[str, ...]:
    """Describe what the page leaves out, in sentences."""
    notes: list[str] = [] if page.evaluation is None else list(page.evaluation.warnings)
    if page.gallery is None and images > 0:
        notes.append("There is no gallery, since no model has its maps here.")
    elif page.gallery is not None:
        without = len(found.maps) - len(page.gallery.models)
        if without:
            notes.append(
                f"The gallery leaves out {count(without, 'model')} without maps here, or for which the page has no room."
            )
        if page.gallery.pictures is None:
            notes.append("The gallery shows maps without the images, which are not stored with them.")
    return tuple(notes)
