"""What changes the models of a space, or hands them on: adding, merging, removing, labelling, exporting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Execution, Progress
from onnxspace.inputs.labels import Labels, state_labels
from onnxspace.inputs.probes import Probes
from onnxspace.spaces import maintenance
from onnxspace.spaces.add_fingerprints import AdditionReport, Additions, add_fingerprints, is_fingerprint
from onnxspace.spaces.catalogue import open_catalogue
from onnxspace.spaces.create import probes_of
from onnxspace.spaces.merge import MergeSource, merge_space
from onnxspace.workflows.opened_space.sets import open_sets
from onnxspace.workflows.opened_space.view import OpenedSpace


def add(
    space: OpenedSpace, paths: Sequence[Path], encoders: Sequence[str], config: Config, probes: Probes | None,
    labels: Labels, execution: Execution,
) -> AdditionReport:  # fmt: skip
    """Add models and fingerprints; an error that stops this has a note of what is in the space nevertheless."""
    maintenance.clear_interrupted(space.path)
    report = AdditionReport()
    try:
        prints = [path for path in paths if is_fingerprint(path)]
        add_fingerprints(space.path, space.protocol, prints, report, execution.progress, _make_finder(labels, config))
        if networks := [path for path in paths if not is_fingerprint(path)]:
            from onnxspace.workflows.add_to_space import SpaceSink, add_models

            sink = SpaceSink(space.path, space.protocol, report, labels)
            add_models(sink, probes_of(space.path, space.protocol, probes), networks, encoders, config, execution)
    except BaseException as error:
        report.note(error, space.path)
        raise
    return report


def _make_finder(labels: Labels, config: Config) -> Callable[[Path], Labels]:
    """The function that returns what is stated of the labels of a fingerprint."""

    def find_labels(path: Path) -> Labels:
        options = config.options(path)
        return labels.over(state_labels(options.license, options.tags or ()))

    return find_labels


def merge(space: OpenedSpace, theirs: OpenedSpace, progress: Progress | None) -> Additions:
    """Add the models of another space, with their further sets of probe images where both have them."""
    report = AdditionReport()
    try:
        merge_space(space.path, space.protocol, _as_source(theirs), report, progress)
        _merge_sets(space, theirs, report, progress)
    except BaseException as error:
        report.note(error, space.path)
        raise
    return report.result()


def _as_source(space: OpenedSpace) -> MergeSource:
    return MergeSource(space.path, space.protocol, space.entries())


def _merge_sets(space: OpenedSpace, theirs: OpenedSpace, report: AdditionReport, progress: Progress | None) -> None:
    """Merge the further sets of probe images that both spaces have; others are named in a warning."""
    own = {one.protocol.sha256: one for one in open_sets(space).values()}
    for other in list(open_sets(theirs).values())[1:]:
        if (same := own.get(other.protocol.sha256)) is None:
            report.warnings.append(
                f"{space.path} has no set with the images of {other.path}, which is not merged. Add it with `onnxspace space probes`."
            )
        else:
            found = AdditionReport()
            merge_space(same.path, same.protocol, _as_source(other), found, progress)
            report.failed += found.failed
            report.causes += found.causes


def label(space: OpenedSpace, names: Sequence[str], labels: Labels, gone: set[str]) -> int:
    """Add `labels` to models, and take the tags `gone` away, in all sets; returns the number of models that changed."""
    chosen = [space.find_entry(name) for name in names]
    changed = set()
    for one in open_sets(space).values():
        same = [found for entry in chosen for found in one.find_same(entry)]
        with open_catalogue(one.path) as book, book.transaction():
            for entry in same:
                if (now := book.find("identity", entry.identity)) is not None:
                    kept = replace(now.labels, tags=tuple(tag for tag in now.labels.tags if tag not in gone))
                    if (new := labels.over(kept)) != now.labels:
                        book.label(now, new)
                        changed.add(now.name)
    return len(changed)


def remove(space: OpenedSpace, name: str) -> None:
    """Remove a model from all sets. Raises SpaceError where there is none."""
    entry = space.find_entry(name)
    for one in reversed(open_sets(space).values()):  # the first set last, so that an interruption can be made good
        for found in one.find_same(entry):
            maintenance.remove(one.path, found)
