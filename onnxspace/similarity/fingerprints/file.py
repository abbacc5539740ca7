"""Fingerprint files, which stand for a model in comparisons when neither it nor its maps are available.

A `.fp` file is, in this order: 8 bytes that name the format, its version and the length of the header (little-endian, 4 bytes
each), the header (JSON in UTF-8), the prints (little-endian float16 [images, numbers], row by row), in format 2 features and
outputs in little (`reduced.py`), and the SHA-256 of everything before it. Without the latter it is a file of format 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, ModelError, ModelNotFoundError, OutputError, ProbeError
from onnxspace.inputs.labels import Labels, parse_labels
from onnxspace.inputs.methods import Method
from onnxspace.inputs.pixel_record import PixelRecord, parse_pixel_record
from onnxspace.inputs.precision import is_stated_well, read_precision
from onnxspace.inputs.protocol import MAX_SKETCH_NUMBERS, SKETCH_VERSION, TARGET, Protocol, describe_method, read_target
from onnxspace.similarity.fingerprints.count_sketch import affinities, standard_error
from onnxspace.similarity.fingerprints.count_sketch import project as project
from onnxspace.similarity.fingerprints.reduced import Reduced, decode, encode
from onnxspace.storage.map_file import open_maps
from onnxspace.storage.printable import make_printable
from onnxspace.storage.regular_files import read_regular
from onnxspace.storage.short_text import count, join_lines

FORMAT = 2
MOST_IMAGES = 1_000_000
_ARRAYS = {"prints", "reduced"}
_OWN = _ARRAYS | {"labels", "pixels"}
_MAGIC = b"\x89oxfp\r\n\x1a"  # as in PNG: detects a transfer that changes line endings or strips a bit
_FIXED = struct.Struct("<8sII")
_MOST_HEADER, _MOST_PRINTS, _SUM = 2**16, 2**30, 32
_AT_ONCE = 16  # images that are sketched together


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The sketch of a model's maps, and everything that must match in a comparison.

    `prints` is float16 [images, numbers]; a zero map has a row of zeros. `sha256` is the checksum of the model file,
    `probe_sha256` that of the probe images. `options` are the options of the method, as JSON values. `seed` and `version` are
    those of the sketch; the option `precision` is that of maps which were not computed in float32. `reduced` are its features and outputs in little (None: it holds maps only). `labels` are its licence, where it
    comes from, and tags, none of which matters in a comparison. `pixels` says what pixels it was given, and where that comes from
    (None: an earlier version wrote it).
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
    reduced: Reduced | None = None
    labels: Labels = field(default_factory=Labels)
    pixels: PixelRecord | None = None

    def __repr__(self) -> str:
        heading = f"Fingerprint of {self.name!r}: {self.method} on {count(self.images, 'image')} ({self.probe_name}), {count(self.numbers, 'number')} each"
        kept = "features and outputs in little" if self.reduced is not None else "maps only"
        return join_lines(heading, [f"Encoder: {make_printable(self.encoder)}; {kept}"])

    @property
    def protocol(self) -> Protocol:
        """The protocol with which its model was explained, as far as a fingerprint states it."""
        return Protocol(
            self.probe_name, self.images, self.probe_size, self.probe_sha256, cast(Method, self.method), self.options,
            numbers=self.numbers, sketch=self.seed, sketch_version=self.version,
        )  # fmt: skip

    @property
    def images(self) -> int:
        return int(self.prints.shape[0])

    @property
    def numbers(self) -> int:
        return int(self.prints.shape[1])


def project_file(maps: Path, numbers: int, seed: int) -> NDArray[np.float16]:
    """Sketch a file of unit maps: float16 [images, numbers]. Raises ConfigError for `numbers` outside 1 to 4096."""
    rows = open_maps(maps)
    starts = range(0, len(rows), _AT_ONCE)
    parts = [project(rows[first : first + _AT_ONCE], numbers, first, seed) for first in starts]
    return np.concatenate(parts).astype("<f2")


def print_affinity(a: Fingerprint, b: Fingerprint) -> tuple[float, float]:
    """Compute the affinity of two fingerprints, and its standard error.

    Raises ProbeError or ConfigError where they can't be compared.
    """
    matrix, errors = print_matrix([a, b])
    return float(matrix[0, 1]), float(errors[0, 1])


def print_matrix(prints: Sequence[Fingerprint]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute affinities of fingerprints and their standard errors, float64 [models, models] each.

    Both are symmetric; the diagonal is 1, with an error of 0. Raises ProbeError or ConfigError where they can't be compared.
    """
    for other in prints[1:]:
        check_comparable(prints[0], other)
    together = np.stack([one.prints for one in prints])
    upper = np.triu(affinities(together, together)[0], 1)
    matrix = upper + upper.T
    np.fill_diagonal(matrix, 1.0)
    return matrix, standard_error(matrix, prints[0].images, prints[0].numbers)


def check_comparable(a: Fingerprint, b: Fingerprint) -> None:
    """Check that two fingerprints can be compared.

    Raises ProbeError for different probe images, and ConfigError for different methods or sketches.
    """
    if (a.probe_sha256, a.images) != (b.probe_sha256, b.images):
        raise ProbeError(
            f"{a.name} and {b.name} were fingerprinted on different probe images ({a.images} of {a.probe_name}, {b.images} of"
            f" {b.probe_name}); make both on the same images."
        )
    if read_precision(a.options) != read_precision(b.options) and _describe_way(a) == _describe_way(b):
        raise ConfigError(
            f"{a.name} was computed in {read_precision(a.options)} and {b.name} in {read_precision(b.options)}, which can't be compared;"
            " make both with one --precision."
        )
    if (a.method, a.options) != (b.method, b.options):
        raise ConfigError(
            f"{a.name} was fingerprinted by {describe_method(a.method, a.options)} and {b.name} by"
            f" {describe_method(b.method, b.options)}; use one method."
        )
    if (a.seed, a.numbers, a.version) != (b.seed, b.numbers, b.version):
        raise ConfigError(
            f"{a.name} and {b.name} are different sketches (numbers {a.numbers} and {b.numbers}, seed {a.seed} and {b.seed},"
            f" version {a.version} and {b.version}); make both with the same settings."
        )
    if a.reduced is not None and b.reduced is not None and not np.array_equal(a.reduced.order, b.reduced.order):
        raise ProbeError(f"{a.name} and {b.name} state different orders of the same images; make both again.")


def _describe_way(one: Fingerprint) -> tuple[str, Mapping[str, Any]]:
    """Method and options without the precision."""
    return one.method, one.protocol.options_in("float32")


def write_fingerprint(path: Path, fingerprint: Fingerprint) -> None:
    """Write a `.fp` file atomically; equal fingerprints give the same bytes. Raises OutputError."""
    facts = {f.name: getattr(fingerprint, f.name) for f in fields(Fingerprint) if f.name not in _OWN}
    facts |= {"labels": labels} if (labels := fingerprint.labels.to_dict()) else {}
    facts |= {"options": dict(fingerprint.options), "images": fingerprint.images, "numbers": fingerprint.numbers}
    facts |= {} if fingerprint.pixels is None else {"pixels": asdict(fingerprint.pixels)}
    rest, number = b"", 1
    if fingerprint.reduced is not None:
        facts["reduced"], rest = encode(fingerprint.reduced)
        number = FORMAT
    header = json.dumps(facts, sort_keys=True, allow_nan=False).encode()
    prints = np.ascontiguousarray(fingerprint.prints, dtype="<f2").tobytes()
    content = _FIXED.pack(_MAGIC, number, len(header)) + header + prints + rest
    _check_facts(path, facts, prints)
    try:
        replace_file(path, content + hashlib.sha256(content).digest())
    except OSError as error:
        raise OutputError(
            error.errno, f"{path} can't be written ({error.strerror}); free some space or name another file."
        ) from error


def read_fingerprint(path: Path) -> Fingerprint:
    """Read an untrusted `.fp` file; no code in it is executed.

    Raises ModelNotFoundError for a missing file, and ModelError for one that is damaged, oversized, not a fingerprint, or of
    a newer version.
    """
    version, header, content = _split_content(path, _read_bytes(path))
    try:
        facts = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if isinstance(facts, dict) and ("reduced" in facts) != (version > 1):
        raise _damaged(path, "its header is not one of its format")
    prints, rest = _split_arrays(facts, content)
    _check_facts(path, facts, prints)
    reduced = None if rest is None else _read_reduced(path, facts, rest)
    values = np.frombuffer(prints, dtype="<f2").astype(np.float16).reshape(facts["images"], facts["numbers"])
    known = {f.name for f in fields(Fingerprint)} - _OWN
    rest_of = {name: value for name, value in facts.items() if name in known}
    return Fingerprint(
        prints=values, reduced=reduced, labels=_read_labels(path, facts), pixels=_read_pixels(path, facts), **rest_of
    )


def _read_labels(path: Path, facts: Any) -> Labels:
    try:
        return parse_labels(facts.get("labels", {}))
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _read_pixels(path: Path, facts: Mapping[str, Any]) -> PixelRecord | None:
    try:
        return parse_pixel_record(facts.get("pixels"))
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _split_arrays(facts: Any, content: bytes) -> tuple[bytes, bytes | None]:
    """The bytes of the prints, and of features and outputs (None: the header has none); a header that is wrong is found later."""
    if not isinstance(facts, dict) or "reduced" not in facts:
        return content, None
    images, numbers = facts.get("images"), facts.get("numbers")
    length = 2 * images * numbers if type(images) is int and type(numbers) is int and images > 0 < numbers else 0
    return content[:length], content[length:]


def _read_reduced(path: Path, facts: Any, content: bytes) -> Reduced:
    try:
        return decode(facts["reduced"], content, facts["images"])
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _read_bytes(path: Path) -> bytes:
    try:
        content = read_regular(path, _FIXED.size + _MOST_HEADER + _MOST_PRINTS + _SUM)
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"There is no file {path}.") from error
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror}).") from error
    if len(content) > _FIXED.size + _MOST_HEADER + _MOST_PRINTS + _SUM:
        raise ModelError(f"{path} is larger than any fingerprint.")
    return content


def _split_content(path: Path, content: bytes) -> tuple[int, bytes, bytes]:
    """Format, header and arrays of a file whose magic bytes, version, lengths and checksum are right."""
    if content[:8] != _MAGIC or len(content) < _FIXED.size + _SUM:
        raise ModelError(f"{path} is not a fingerprint; `onnxspace fingerprint` makes one.")
    _, version, length = _FIXED.unpack_from(content)
    if version > FORMAT:
        raise ModelError(f"{path} has format {version}, which is newer than this onnxspace reads ({FORMAT}); update onnxspace.")
    if hashlib.sha256(memoryview(content)[:-_SUM]).digest() != content[-_SUM:]:
        raise _damaged(path, "its checksum is wrong")
    if not version or length > min(_MOST_HEADER, len(content) - _FIXED.size - _SUM):
        raise _damaged(path, "its lengths are invalid")
    return version, content[_FIXED.size : _FIXED.size + length], content[_FIXED.size + length : -_SUM]


_TEXTS = ("name", "sha256", "encoder", "method", "probe_name", "probe_sha256")
_WHOLE = {
    "images": (1, MOST_IMAGES), "numbers": (1, MAX_SKETCH_NUMBERS), "probe_size": (1, 2**16), "seed": (0, 2**64 - 1),
    "version": (1, 2**31),
}  # fmt: skip


def _check_facts(path: Path, facts: Any, prints: bytes) -> None:
    """Raise ModelError unless the header is valid, and the prints have the size it states and are finite."""
    if not isinstance(facts, dict) or not isinstance(facts.get("options"), dict):
        raise _damaged(path, "its header does not describe a fingerprint")
    if TARGET in facts["options"] and read_target(facts["options"]) is None:
        raise _damaged(path, "what its maps explain is not stated as it should be")
    if not is_stated_well(facts["options"]):
        raise _damaged(path, "the precision of its maps is not one that is stated")
    for name in _TEXTS:
        if not isinstance(facts.get(name), str) or len(facts[name]) > 4096:
            raise _damaged(path, f"its {name} is not text, or too long")
    for name, (least, most) in _WHOLE.items():
        if type(facts.get(name)) is not int or not least <= facts[name] <= most:
            raise _damaged(path, f"its {name} is not an integer from {least} to {most}")
    if facts["version"] > SKETCH_VERSION:
        raise ModelError(
            f"{path} has sketch version {facts['version']}, which is newer than this onnxspace reads ({SKETCH_VERSION}); update"
            " onnxspace."
        )
    if len(prints) != 2 * facts["images"] * facts["numbers"]:
        raise _damaged(path, "its sketch does not have the stated size")
    if not np.isfinite(np.frombuffer(prints, dtype="<f2")).all():
        raise _damaged(path, "its sketch is not finite")


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} is a damaged fingerprint: {why}; make or fetch it again.")


def replace_file(path: Path, *contents: bytes) -> None:
    """Replace `path` atomically: write `contents` to a temporary file beside it, flush it to disk, and rename it.

    Raises OSError.
    """
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
