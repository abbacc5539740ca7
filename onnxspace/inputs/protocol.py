"""What every model is explained with: probe images, method, options, and the sketch of fingerprints."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, SpaceError
from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.methods import BASELINES, DEFAULT_METHOD, Method, Options, Settings, describe_options, resolve_settings
from onnxspace.inputs.precision import PRECISION, KeptPrecision, read_precision, state_precision
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.targets import Target, parse_target
from onnxspace.storage.short_text import count

#: Version of the sketch of `similarity.fingerprints.count_sketch`: fingerprints of different versions can't be compared.
SKETCH_VERSION = 1
SKETCH_NUMBERS, MAX_SKETCH_NUMBERS = 64, 4096
MAX_NAME, MAX_TEXT, MAX_ITEMS, MAX_SIZE = 1_000, 10_000, 1_000, 1024
#: Probe images of up to this many bytes are stored in a space: 7,000 of 224 × 224 pixels.
KEPT_BYTES = 2**30
GENERATED = re.compile(r"generated-(\d{1,19})")
#: The option under which spaces and fingerprints keep what is explained instead of the encoder.
TARGET = "target"
_LONGEST = 200  # characters of untrusted text that a message repeats


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the distributions `names`, by name; an empty string for one that is not installed."""
    return {name: _find_version(name) for name in names}


def _find_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True, eq=False)
class Setup:
    """Probe images, method and options with which maps are computed; `Protocol` is its description.

    A baseline in `options` may be the path of an image file. `target` is what is explained instead of the encoder (None: the encoder,
    or the most probable class where maps are of activations). `precision` is that of maps which are kept or compared with kept ones.
    """

    probes: Probes
    method: Method = DEFAULT_METHOD
    options: Options | None = None
    target: Target | None = None
    precision: KeptPrecision = "float32"

    def __post_init__(self) -> None:
        if isinstance(self.probes, str | Path):
            raise ConfigError(f"{self.probes} is not Probes. Give onnxspace.Probes.from_folder({str(self.probes)!r}).")

    @property
    def settings(self) -> Settings:
        """The options with every default filled in. Raises ConfigError for invalid ones."""
        return resolve_settings([self.method], self.options)

    @property
    def stated_options(self) -> dict[str, Any]:
        """The options that the method uses and that are not its defaults, and the target in words, ready for JSON."""
        return {**self.settings.used_by(self.method), **({} if self.target is None else {"target": self.target.words})}

    def probe_facts(self) -> dict[str, Any]:
        """Return name, number, size in pixels and SHA-256 of the images, ready for JSON."""
        probes = self.probes
        return {"name": probes.name, "images": len(probes), "size": probes.size, "sha256": probes.sha256}

    def protocol(self, keep_maps: bool = True, detail: Detail = "maps") -> Protocol:
        """Return the description of this setup as stored in spaces and fingerprints.

        `keep_maps` is whether a space keeps maps, `detail` what is kept beside them.

        Raises ConfigError for invalid options and a target that belongs to one image, ProbeError for an unreadable baseline,
        SpaceError for images too large for a space.
        """
        stated, probes = self.settings.used_by(self.method), self.probes
        stated |= {} if self.target is None else {TARGET: self.target.describe()}
        stated |= state_precision(self.precision)
        picture = read_baseline(stated, probes.size)
        if probes.size > MAX_SIZE:
            raise SpaceError(
                f"Probe images of {probes.size} pixels are too large for a space. Give images of up to {MAX_SIZE}."
            )
        return Protocol(
            probes.name[:MAX_NAME], len(probes), probes.size, probes.sha256, self.method, stated, _find_seed(probes),
            probes.images.nbytes <= KEPT_BYTES, None if picture is None else hashlib.sha256(picture.tobytes()).hexdigest(),
            keep_maps, version=version("onnxspace"), detail=detail,
        )  # fmt: skip


#: What is kept of a model beside its maps: nothing; features and outputs in little, enough to rank by answers per image; or enough
#: for outputs that are pictures too.
Detail = Literal["maps", "images", "pictures"]
#: The most images of which features and outputs are kept in little.
MOST_REDUCED = 512


@dataclass(frozen=True)
class Protocol:
    """The description of what all models of a space, or one fingerprint, are explained with.

    `probe`, `images`, `size` (in pixels) and `sha256` describe the probe images; `seed` generates them again (None: photos),
    `stored` says whether they are in the space. `options` are those of the `method` that are not its defaults; `baseline` is the
    SHA-256 of the pixels [size, size, 3] where the baseline is an image file. The option `target`, where it is there, is what is explained
    instead of the encoder, as `Target.describe` gives it; the option `precision` is that of maps which are not in float32. `keep_maps` says whether the space keeps maps.
    Fingerprints have `numbers` numbers per image, computed by a sketch with the seed `sketch` and the version `sketch_version`.
    `version` is that of onnxspace, `detail` what is kept of a model beside its maps.
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
    detail: Detail = "maps"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of a model's maps: (images, pixels)."""
        return self.images, self.size**2

    def probe_facts(self) -> dict[str, Any]:
        """Return name, number, size in pixels and SHA-256 of the images, ready for JSON."""
        return {"name": self.probe, "images": self.images, "size": self.size, "sha256": self.sha256}

    @property
    def target(self) -> Target | None:
        """What is explained instead of the encoder (None: the encoder). Raises ValueError where it is not one."""
        return parse_target(self.options[TARGET]) if TARGET in self.options else None

    @property
    def precision(self) -> KeptPrecision:
        """The precision of the maps."""
        return read_precision(self.options)

    @property
    def stated_options(self) -> dict[str, Any]:
        """The options as `Setup.stated_options` gives them: with the target in words, without the precision."""
        return state_options(self.options)

    def options_with(self, baseline: Path | None) -> Options:
        """Return the options of the method; `baseline` is the path of the baseline where it is an image file."""
        picture = {} if baseline is None else {"baseline": baseline}
        own = {name: value for name, value in self.options.items() if name not in (TARGET, PRECISION)}
        return Options(**{**own, **picture})

    def setup(self, probes: Probes, baseline: Path | None) -> Setup:
        """Return the setup with which a model is explained as this describes it, on `probes`; `baseline` as in `options_with`."""
        return Setup(probes, self.method, self.options_with(baseline), self.target, self.precision)

    def fingerprint_options(self) -> dict[str, Any]:
        """Return the options as stored in a fingerprint: a baseline image as the SHA-256 of its pixels instead of its path."""
        picture = {} if self.baseline is None else {"baseline": self.baseline}
        return {**self.options, **picture}

    def options_in(self, precision: KeptPrecision) -> dict[str, Any]:
        """Return the options of a fingerprint that was computed in another precision."""
        rest = {name: value for name, value in self.fingerprint_options().items() if name != PRECISION}
        return {**rest, **state_precision(precision)}

    def has_images_of(self, other: Protocol) -> bool:
        """Whether both protocols have the same probe images."""
        return (self.sha256, self.images) == (other.sha256, other.images)

    def difference(self, other: Protocol) -> str | None:
        """Describe how `other` differs in method, options or images, and which flags select it; None where it does not differ.

        Versions, seeds and whether maps are kept are ignored.
        """
        same_way = (self.method, self.fingerprint_options()) == (other.method, other.fingerprint_options())
        same_images = self.has_images_of(other)
        if same_way and same_images:
            return None
        way = describe_method(other.method, other.fingerprint_options())
        way += "" if same_way else f" (here: {describe_method(self.method, self.fingerprint_options())})"
        here = "" if same_images else f" (here: {self.images} of {self.probe})"
        flags = [
            *([] if same_way else _flags_for_method(self, other)),
            *([] if same_images else _flags_for_images(self, other)),
        ]
        images = f"{count(other.images, 'image')} of {other.probe[:_LONGEST]}{here}"
        return f"by {way} on {images}, so it can't be compared; give {' '.join(flags)}"


def describe_method(method: str, options: Mapping[str, Any]) -> str:
    """Describe a method and its options in words, in at most 200 characters, since a fingerprint is untrusted."""
    target = read_target(options)
    way = method if target is None else f"{method} of {target.words}"
    way += f" in {options[PRECISION]}" if PRECISION in options else ""
    rest = {name: value for name, value in options.items() if name != PRECISION and (target is None or name != TARGET)}
    return (f"{way} with {describe_options(rest)}" if rest else way)[:_LONGEST]


def state_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without the precision, and the target in words; one that is not a target stays, since a fingerprint is untrusted."""
    target = read_target(options)
    method_options = {name: value for name, value in options.items() if name != PRECISION}
    return {**method_options, **({} if target is None else {TARGET: target.words})}


def read_target(options: Mapping[str, Any]) -> Target | None:
    """The target among the options of an untrusted fingerprint; None where there is none, or where it is not one."""
    try:
        return parse_target(options[TARGET]) if TARGET in options else None
    except ValueError:
        return None


def _flags_for_method(here: Protocol, other: Protocol) -> list[str]:
    """The command-line options that select the other protocol's method."""
    if (
        here.precision != other.precision
        and here.options_in("float32") == other.options_in("float32")
        and here.method == other.method
    ):
        return [f"--precision {other.precision}"]
    flags = [f"--method {other.method[:_LONGEST]}"]
    for name, value in other.fingerprint_options().items():
        flags.append(_flag_for(name, value)[:_LONGEST])
    return [*flags, *(f"no {_flag_of(name, value)}" for name, value in here.options.items() if name not in other.options)]


def _flag_for(name: str, value: Any) -> str:
    """The flag of an option with its value."""
    if name == "baseline" and value not in BASELINES:
        return "--baseline with its picture"
    target = read_target({TARGET: value}) if name == TARGET else None
    shown = value if target is None else target.word if target.index is None else f"{target.output}[{target.index}]"
    return f"{_flag_of(name, value)} {shown}"


def _flag_of(name: str, value: Any) -> str:
    target = read_target({TARGET: value}) if name == TARGET else None
    return f"--{name}" if target is None else "--class" if target.index is None else "--value"


def _flags_for_images(here: Protocol, other: Protocol) -> list[str]:
    """The command-line options that select the other protocol's images."""
    generated = GENERATED.fullmatch(other.probe)
    if generated is None or (other.probe, other.images) == (here.probe, here.images):
        return [f"--images {other.images} --probe with its pictures"]
    return [f"--images {other.images}", *([f"--seed {generated[1]}"] if int(generated[1]) else [])]


def read_baseline(options: Mapping[str, Any], size: int) -> NDArray[np.uint8] | None:
    """Read the baseline image that `options` name, uint8 [size, size, 3]; None where the baseline is not an image file.

    Raises ProbeError for an image that can't be read.
    """
    word = str(options.get("baseline", "zero"))
    return None if word in BASELINES else read_square(Path(word), size)


def _find_seed(probes: Probes) -> int | None:
    """The seed of generated images, if the images are those that their name states."""
    found = GENERATED.fullmatch(probes.name)
    if found is None:
        return None
    one = Probes.generate(1, probes.size, int(found[1]))
    return int(found[1]) if (one.images[0] == probes.images[0]).all() else None
