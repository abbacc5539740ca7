"""Labelled photos, decoded at every size that a model takes: once for each size, straight from the files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from onnxspace.inputs.photos import Photos
from onnxspace.inputs.probes import DEFAULT_SIZE, Probes
from onnxspace.storage.regular_files import load_array, map_array


class DecodedPhotos:
    """`photos` as arrays in files of `folder`, which a later run uses again where no photo has changed.

    `progress` is called with numbers of decoded images.
    """

    def __init__(self, photos: Photos, folder: Path, progress: Callable[[int], None] | None = None) -> None:
        self.photos, self.progress = photos, progress
        self._folder = folder
        self._sets: dict[int, Probes] = {}

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes in use so far, in pixels."""
        return tuple(self._sets)

    def at_size(self, size: int) -> Probes:
        """Return the photos as probe images of `size` pixels, decoding them at the first call. Raises ProbeError, OutputError."""
        if size not in self._sets:
            file = self.file_at_size(size)
            if not (file.exists() and self._hash_file.exists()):
                self.photos.decode(file, size, self.progress, None if self._hash_file.exists() else self._hash_file)
            self._sets[size] = Probes(self.photos.name, map_array(file))
        return self._sets[size]

    def file_at_size(self, size: int) -> Path:
        """Return the `.npy` file of the photos at `size` pixels, which `at_size` writes."""
        return self._folder / f"images-{self.photos.fingerprint(size)}.npy"

    @cached_property
    def _hash_file(self) -> Path:
        return self._folder / f"hashes-{self.photos.fingerprint(0)}.npy"

    @cached_property
    def hashes(self) -> list[bytes]:
        """The digest of each photo's pixels at its own size. Raises ProbeError, OutputError."""
        if not self._hash_file.exists():
            self.at_size(DEFAULT_SIZE)
        return [row.tobytes() for row in load_array(self._hash_file)]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the photos' digests in their order, in 64 hex digits, the same whatever sizes models take."""
        return hashlib.sha256(b"".join(self.hashes)).hexdigest()
