"""Adding models to a space with several sets of probe images: models are explained on each, fingerprints belong to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.names import is_fingerprint
from onnxspace.similarity.fingerprints.file import read_fingerprint
from onnxspace.spaces.add_fingerprints import Additions
from onnxspace.spaces.probe_sets import DEFAULT_SET
from onnxspace.workflows.space import Space


def add_to_sets(space: Space, models: Sequence[str | Path], **options: Any) -> Mapping[str, Additions]:
    """Add models to each set of probe images of `space` (see `Space.open_sets`), and fingerprints to the set on whose images they were made.

    `options` are those of `Space.add`. Returns the result of each set to which something was added, `default` first; a fingerprint of
    other images is among the failures of `default`. Raises as `Space.add`.

    >>> add_to_sets(space, ["a.onnx", "a-photos.fp"])["photos"].names  # doctest: +SKIP
    ('a',)
    """
    found, sets = {}, space.open_sets()
    for name, own in share_out(sets, models).items():
        if own or name == DEFAULT_SET:
            found[name] = sets[name].add(own, **options)
    return found


def share_out(sets: Mapping[str, Space], models: Sequence[str | Path]) -> dict[str, list[str | Path]]:
    """Return the models and fingerprints of each set, in their order."""
    shares: dict[str, list[str | Path]] = {name: [] for name in sets}
    if len(shares) == 1:
        return {DEFAULT_SET: list(models)}
    by_images = {sets[name].protocol.sha256: name for name in reversed([*sets])}
    for model in models:
        if is_fingerprint(Path(model)):
            shares[by_images.get(_read_images(Path(model)), DEFAULT_SET)].append(model)
        else:
            for own in shares.values():
                own.append(model)
    return shares


def _read_images(path: Path) -> str:
    """The checksum of a fingerprint's probe images; empty for a file that can't be read, which is named when it is added."""
    try:
        return read_fingerprint(path).probe_sha256
    except OnnxspaceError:
        return ""
