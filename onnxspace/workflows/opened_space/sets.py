"""The sets of probe images of a space, each of which is opened as a space."""

from __future__ import annotations

from dataclasses import replace

from onnxspace.errors import SpaceError
from onnxspace.inputs.image_statistics import describe_images
from onnxspace.inputs.image_statistics import rank_sets as rank_by_statistics
from onnxspace.inputs.probes import Probes
from onnxspace.similarity.records import Failure
from onnxspace.spaces.probe_sets import find_set, list_sets, read_set_protocol, read_statistics
from onnxspace.workflows.opened_space.view import OpenedSpace


def open_set(space: OpenedSpace, name: str) -> OpenedSpace:
    """The set `name`. Raises SpaceError where there is none."""
    folder = find_set(space.path, name)
    return space if folder == space.path else replace(space, path=folder, protocol=read_set_protocol(folder))


def open_sets(space: OpenedSpace) -> dict[str, OpenedSpace]:
    """The sets by name, the first one first; a damaged one is reported, or raises SpaceError."""
    found = {}
    for name in list_sets(space.path):
        try:
            found[name] = open_set(space, name)
        except SpaceError as error:
            if space.damaged is None:
                raise
            space.damaged(Failure(str(space.path), str(error)))
    return found


def rank_sets(space: OpenedSpace, pictures: Probes) -> tuple[tuple[str, float], ...]:
    """The names of the sets with their distance to `pictures`, nearest first. Raises SpaceError."""
    statistics = {name: read_statistics(one.path, one.protocol) for name, one in open_sets(space).items()}
    return rank_by_statistics(describe_images(pictures.images), statistics)
