"""What every model is explained with: probe images, method, options, and how fingerprints are drawn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import SpaceError
from onnxspace.inputs.methods import BASELINES, Method, Options, resolve_settings
from onnxspace.inputs.probes import Probes, read_square

#: The version of the hash and the sum below: prints of another can't be compared.
SKETCH_VERSION = 1


SKETCH_NUMBERS, MAX_SKETCH_NUMBERS = 64, 4096


MAX_NAME, MAX_TEXT, MAX_ITEMS, MAX_SIZE = 1_000, 10_000, 1_000, 1024


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


#: Probe images of up to so many bytes are kept in the space: 7,000 of 224 × 224 pixels.
KEPT_BYTES = 2**30


GENERATED = re.compile(r"generated-(\d{1,19})")


def protocol_of(probes: Probes, method: Method, options: Options | None, keep_maps: bool = True) -> Protocol:
    """What determines the maps of every model, as a space and a fingerprint say it. Raises ConfigError, SpaceError."""
    told = resolve_settings([method], options).used_by(method)
    picture = baseline_picture(told, probes.size)
    baseline = None if picture is None else hashlib.sha256(picture.tobytes()).hexdigest()
    _check_size(probes)
    return Protocol(
        probes.name[:MAX_NAME], len(probes), probes.size, probes.sha256, method, told, _seed(probes),
        probes.images.nbytes <= KEPT_BYTES, baseline, keep_maps, version=version("onnxspace"),
    )  # fmt: skip


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


def _check_size(probes: Probes) -> None:
    if probes.size > MAX_SIZE:
        raise SpaceError(f"Probe images of {probes.size} pixels are too large for a space. Give images of up to {MAX_SIZE}.")
