"""Fingerprints: what a model is compared by when neither it nor its maps are there.

A `.fp` file is, in this order: 8 bytes that name the format, its version and the length of the header (little-endian, 4 bytes
each), the header (JSON in UTF-8), the prints (little-endian float16 [images, numbers], row by row), and the SHA-256 of all
before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, ModelError, ModelNotFoundError, OutputError, ProbeError
from onnxspace.inputs.protocol import MAX_SKETCH_NUMBERS, SKETCH_VERSION
from onnxspace.similarity.fingerprints.count_sketch import affinities, standard_error
from onnxspace.similarity.fingerprints.count_sketch import project as project
from onnxspace.storage.map_file import open_maps

FORMAT = 1
MOST_IMAGES = 1_000_000
_MAGIC = b"\x89oxfp\r\n\x1a"  # as in PNG: a transfer that changes line ends or strips a bit is seen at once
_FIXED = struct.Struct("<8sII")
_MOST_HEADER, _MOST_PRINTS, _SUM = 2**16, 2**30, 32
_AT_ONCE = 16  # images that are projected together


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What a model is compared by, and all that a comparison must agree on.

    `prints`: float16 [images, numbers]; a zero map has a row of zeros. `sha256` is the model file's, `probe_sha256` the
    probe images'. `options` is what the method was told besides its name, of JSON values. `version` is the sketch's.
    """

    name: str
    sha256: str
    encoder: str
    method: str
    probe_name: str
    probe_size: int
    probe_sha256: str
    prints: NDArray[np.float16]
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int = SKETCH_VERSION

    @property
    def images(self) -> int:
        return int(self.prints.shape[0])

    @property
    def numbers(self) -> int:
        return int(self.prints.shape[1])


def project_file(maps: Path, numbers: int, seed: int) -> NDArray[np.float16]:
    """The prints of a file of unit maps, float16 [images, numbers]."""
    rows = open_maps(maps)
    starts = range(0, len(rows), _AT_ONCE)
    parts = [project(rows[first : first + _AT_ONCE], numbers, first, seed) for first in starts]
    return np.concatenate(parts).astype("<f2")


def print_affinity(a: Fingerprint, b: Fingerprint) -> tuple[float, float]:
    """The affinity of two models, and its standard error. Raises ProbeError or ConfigError where they can't be compared."""
    matrix, errors = print_matrix([a, b])
    return float(matrix[0, 1]), float(errors[0, 1])


def print_matrix(prints: Sequence[Fingerprint]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Affinities and their standard errors, float64 [models, models] each, symmetric; the diagonal is 1, its error 0."""
    for other in prints[1:]:
        check_comparable(prints[0], other)
    together = np.stack([one.prints for one in prints])
    upper = np.triu(affinities(together, together)[0], 1)
    matrix = upper + upper.T
    np.fill_diagonal(matrix, 1.0)
    return matrix, standard_error(matrix, prints[0].images, prints[0].numbers)


def check_comparable(a: Fingerprint, b: Fingerprint) -> None:
    """Raise ProbeError for other probe images, ConfigError for another method or sketch: one sentence with both names."""
    if (a.probe_sha256, a.images) != (b.probe_sha256, b.images):
        raise ProbeError(
            f"{a.name} and {b.name} were fingerprinted on different probe images ({a.images} of {a.probe_name}, {b.images} of"
            f" {b.probe_name}); make both on the same."
        )
    if (a.method, a.options) != (b.method, b.options):
        raise ConfigError(
            f"{a.name} was fingerprinted by {a.method} {a.options or ''}and {b.name} by {b.method} {b.options or ''}; use one."
        )
    if (a.seed, a.numbers, a.version) != (b.seed, b.numbers, b.version):
        raise ConfigError(
            f"{a.name} and {b.name} are different sketches (numbers {a.numbers} and {b.numbers}, seed {a.seed} and {b.seed},"
            f" version {a.version} and {b.version}); make both alike."
        )


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Write a `.fp` file, complete or not at all; the same bytes for equal fingerprints. Raises OutputError."""
    facts = {f.name: getattr(fingerprint, f.name) for f in fields(Fingerprint) if f.name != "prints"}
    facts |= {"options": dict(fingerprint.options), "images": fingerprint.images, "numbers": fingerprint.numbers}
    header = json.dumps(facts, sort_keys=True, allow_nan=False).encode()
    prints = np.ascontiguousarray(fingerprint.prints, dtype="<f2").tobytes()
    content = _FIXED.pack(_MAGIC, FORMAT, len(header)) + header + prints
    _check(path, facts, prints)
    try:
        place(path, content + hashlib.sha256(content).digest())
    except OSError as error:
        raise OutputError(
            error.errno, f"{path} can't be written ({error.strerror}); free some space or name another."
        ) from error


def read_fingerprint(path: Path) -> Fingerprint:
    """Read a `.fp` file that may come from anyone.

    Raises ModelNotFoundError for a missing file, and ModelError for one that is damaged, oversized, no fingerprint, or of a
    newer version; nothing in it is run.
    """
    header, prints = _parts(path, _bytes(path))
    try:
        facts = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is no JSON") from error
    _check(path, facts, prints)
    values = np.frombuffer(prints, dtype="<f2").astype(np.float16).reshape(facts["images"], facts["numbers"])
    known = {f.name for f in fields(Fingerprint)}
    return Fingerprint(prints=values, **{name: value for name, value in facts.items() if name in known and name != "prints"})


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_FIXED.size + _MOST_HEADER + _MOST_PRINTS + _SUM + 1)
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"There is no file {path}.") from error
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror}).") from error
    if len(content) > _FIXED.size + _MOST_HEADER + _MOST_PRINTS + _SUM:
        raise ModelError(f"{path} is larger than any fingerprint.")
    return content


def _parts(path: Path, content: bytes) -> tuple[bytes, bytes]:
    """Header and prints of a file with the right name, version, lengths and sum."""
    if content[:8] != _MAGIC or len(content) < _FIXED.size + _SUM:
        raise ModelError(f"{path} is no fingerprint; `onnxspace fingerprint` makes one.")
    _, version, length = _FIXED.unpack_from(content)
    if version > FORMAT:
        raise ModelError(f"{path} has format {version}, which is newer than this onnxspace reads ({FORMAT}); update onnxspace.")
    if hashlib.sha256(memoryview(content)[:-_SUM]).digest() != content[-_SUM:]:
        raise _damaged(path, "its checksum is wrong")
    if version != FORMAT or length > min(_MOST_HEADER, len(content) - _FIXED.size - _SUM):
        raise _damaged(path, "its lengths make no sense")
    return content[_FIXED.size : _FIXED.size + length], content[_FIXED.size + length : -_SUM]


_TEXTS = ("name", "sha256", "encoder", "method", "probe_name", "probe_sha256")
_WHOLE = {
    "images": (1, MOST_IMAGES), "numbers": (1, MAX_SKETCH_NUMBERS), "probe_size": (1, 2**16), "seed": (0, 2**64 - 1),
    "version": (1, 2**31),
}  # fmt: skip


def _check(path: Path, facts: Any, prints: bytes) -> None:
    """Raise ModelError unless these are facts of a fingerprint, in range, and prints of the size they give, all finite."""
    if not isinstance(facts, dict) or not isinstance(facts.get("options"), dict):
        raise _damaged(path, "its header is no description of one")
    for name in _TEXTS:
        if not isinstance(facts.get(name), str) or len(facts[name]) > 4096:
            raise _damaged(path, f"its {name} is no text")
    for name, (least, most) in _WHOLE.items():
        if type(facts.get(name)) is not int or not least <= facts[name] <= most:
            raise _damaged(path, f"its {name} is no whole number from {least} to {most}")
    if facts["version"] > SKETCH_VERSION:
        raise ModelError(
            f"{path} holds a newer sketch ({facts['version']}) than this onnxspace knows ({SKETCH_VERSION}); update it."
        )
    if len(prints) != 2 * facts["images"] * facts["numbers"]:
        raise _damaged(path, "its prints have another size than it says")
    if not np.isfinite(np.frombuffer(prints, dtype="<f2")).all():
        raise _damaged(path, "its prints are not finite")


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} is a damaged fingerprint: {why}; make or fetch it again.")


def place(path: Path, *contents: bytes) -> None:
    """Written beside its place, flushed to disk, renamed."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(contents)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
