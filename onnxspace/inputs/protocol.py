"""What every model is explained with: probe images, method, options, and how fingerprints are drawn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import SpaceError
from onnxspace.inputs.methods import BASELINES, DEFAULT_METHOD, Method, Options, Settings, in_words, resolve_settings
from onnxspace.inputs.probes import Probes, read_square

#: Version of the sketch (hash and sum) of `similarity.fingerprints.count_sketch`: fingerprints of another can't be compared.
SKETCH_VERSION = 1
SKETCH_NUMBERS, MAX_SKETCH_NUMBERS = 64, 4096
MAX_NAME, MAX_TEXT, MAX_ITEMS, MAX_SIZE = 1_000, 10_000, 1_000, 1024
#: Probe images of up to so many bytes are kept in a space: 7,000 of 224 × 224 pixels.
KEPT_BYTES = 2**30
GENERATED = re.compile(r"generated-(\d{1,19})")
_LONGEST = 200  # characters of an untrusted statement that an error repeats


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of distributions, by name; empty for one that is not installed."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True, eq=False)
class Setup:
    """Probe images, method and options, ready to compute with: what a `Protocol` describes.

    A baseline in `options` may be the path of an image file.
    """

    probes: Probes
    method: Method = DEFAULT_METHOD
    options: Options | None = None

    @property
    def settings(self) -> Settings:
        """The options with every default filled in. Raises ConfigError for impossible ones."""
        return resolve_settings([self.method], self.options)

    @property
    def stated_options(self) -> dict[str, Any]:
        """The options that the method uses and that are not its defaults, ready for JSON."""
        return self.settings.used_by(self.method)

    def probe_facts(self) -> dict[str, Any]:
        """Name, number, size and SHA-256 of the images, ready for JSON."""
        probes = self.probes
        return {"name": probes.name, "images": len(probes), "size": probes.size, "sha256": probes.sha256}

    def protocol(self, keep_maps: bool = True) -> Protocol:
        """What determines the maps of every model, as a space and a fingerprint state it.

        Raises ConfigError for impossible options, SpaceError for images too large for a space.
        """
        stated, probes = self.stated_options, self.probes
        picture = baseline_picture(stated, probes.size)
        if probes.size > MAX_SIZE:
            raise SpaceError(
                f"Probe images of {probes.size} pixels are too large for a space. Give images of up to {MAX_SIZE}."
            )
        return Protocol(
            probes.name[:MAX_NAME], len(probes), probes.size, probes.sha256, self.method, stated, _seed(probes),
            probes.images.nbytes <= KEPT_BYTES, None if picture is None else hashlib.sha256(picture.tobytes()).hexdigest(),
            keep_maps, version=version("onnxspace"),
        )  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """What all models of a space are explained with; it never changes.

    `seed` renders generated images again (None: photos); `stored` says whether the images lie in the space. `options` is
    what the method was told; `baseline` is the SHA-256 of the pixels [size, size, 3] where the baseline is an image file.
    Fingerprints have `numbers` numbers per image, drawn by the seed `sketch`.
    """

    probe: str
    images: int
    size: int
    sha256: str
    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    stored: bool = True
    baseline: str | None = None
    keep_maps: bool = True
    numbers: int = SKETCH_NUMBERS
    sketch: int = 0
    sketch_version: int = SKETCH_VERSION
    version: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Of one file of maps: images, pixels."""
        return self.images, self.size**2

    def probe_facts(self) -> dict[str, Any]:
        return {"name": self.probe, "images": self.images, "size": self.size, "sha256": self.sha256}

    def options_with(self, baseline: Path | None) -> Options:
        """The method's options again; `baseline` is where its picture lies, if it is one."""
        picture = {} if baseline is None else {"baseline": baseline}
        return Options(**{**self.options, **picture})

    def print_options(self) -> dict[str, Any]:
        """The options as a fingerprint states them: a picture by the SHA-256 of its pixels, which is the same everywhere."""
        picture = {} if self.baseline is None else {"baseline": self.baseline}
        return {**self.options, **picture}

    def has_images_of(self, other: Protocol) -> bool:
        """Whether both have the same probe images."""
        return (self.sha256, self.images) == (other.sha256, other.images)

    def difference(self, other: Protocol) -> str | None:
        """How `other` differs in method, options or images, and what to ask for to have it; None where it doesn't.

        Versions, seeds and whether maps are kept don't count.
        """
        same_way = (self.method, self.print_options()) == (other.method, other.print_options())
        same_images = self.has_images_of(other)
        if same_way and same_images:
            return None
        way = way_of(other.method, other.print_options())
        way += "" if same_way else f" (here: {way_of(self.method, self.print_options())})"
        here = "" if same_images else f" (here: {self.images} of {self.probe})"
        flags = [*([] if same_way else _method_flags(self, other)), *([] if same_images else _image_flags(self, other))]
        images = f"{other.images} images of {other.probe[:_LONGEST]}{here}"
        return f"by {way} on {images}, so it can't be compared; give {' '.join(flags)}"


def way_of(method: str, options: Mapping[str, Any]) -> str:
    """A method and its options in words, at most 200 characters: a fingerprint may state anything."""
    return (f"{method} with {in_words(options)}" if options else method)[:_LONGEST]


def _method_flags(here: Protocol, other: Protocol) -> list[str]:
    """The options of the command line that ask for the other's method."""
    flags = [f"--method {other.method[:_LONGEST]}"]
    for name, value in other.print_options().items():
        picture = name == "baseline" and value not in BASELINES
        flags.append("--baseline with its picture" if picture else f"--{name} {value}"[:_LONGEST])
    return [*flags, *(f"no --{name}" for name in here.options if name not in other.options)]


def _image_flags(here: Protocol, other: Protocol) -> list[str]:
    """The options of the command line that ask for the other's images."""
    drawn = GENERATED.fullmatch(other.probe)
    if drawn is None or (other.probe, other.images) == (here.probe, here.images):
        return [f"--images {other.images} --probe with its pictures"]
    return [f"--images {other.images}", *([f"--seed {drawn[1]}"] if int(drawn[1]) else [])]


def baseline_picture(told: Mapping[str, Any], size: int) -> NDArray[np.uint8] | None:
    """The image file that is the baseline, uint8 [size, size, 3]; None where it is a word."""
    word = str(told.get("baseline", "zero"))
    return None if word in BASELINES else read_square(Path(word), size)


def _seed(probes: Probes) -> int | None:
    """The seed of generated images, where their name is true."""
    found = GENERATED.fullmatch(probes.name)
    if found is None:
        return None
    one = Probes.generate(1, probes.size, int(found[1]))
    return int(found[1]) if (one.images[0] == probes.images[0]).all() else None
