"""The probe images of a space, and what else is settled when it is made."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ProbeError, SpaceError
from onnxspace.inputs.methods import BASELINES, Method, Options, configured, settle
from onnxspace.inputs.probes import Probes, read_square
from onnxspace.spaces.create import create, refuse_taken
from onnxspace.spaces.layout import BASELINE, PROBES, opened
from onnxspace.spaces.schema import MAX_NAME, MAX_SIZE, Made

#: Probe images of up to so many bytes are kept in the space: 7,000 of 224 × 224 pixels.
KEPT_BYTES = 2**30
GENERATED = re.compile(r"generated-(\d{1,19})")


def new_space(
    folder: Path, probes: Probes, method: Method, options: Options | None, rules: Mapping[str, Mapping[str, str | float]],
    keep_maps: bool,
) -> Made:  # fmt: skip
    """Make a space. Raises ConfigError for impossible options, SpaceError where something is there already."""
    settle([method], options)
    refuse_taken(folder)
    made = made_of(probes, method, configured(method, options, rules), keep_maps)
    return create(folder, made, probes.images if made.stored else None, _picture(made.options, probes.size))


def made_of(probes: Probes, method: Method, options: Options | None, keep_maps: bool = True) -> Made:
    """What determines the maps of every model, as a space and a fingerprint say it. Raises ConfigError, SpaceError."""
    told = settle([method], options).used_by(method)
    picture = _picture(told, probes.size)
    baseline = None if picture is None else hashlib.sha256(picture.tobytes()).hexdigest()
    _check_size(probes)
    return Made(
        probes.name[:MAX_NAME], len(probes), probes.size, probes.sha256, method, told, _seed(probes),
        probes.images.nbytes <= KEPT_BYTES, baseline, keep_maps, version=version("onnxspace"),
    )  # fmt: skip


def _picture(told: Mapping[str, Any], size: int) -> NDArray[np.uint8] | None:
    """The image file that is the baseline, uint8 [size, size, 3]; None where it is a word."""
    word = str(told.get("baseline", "zero"))
    return None if word in BASELINES else read_square(Path(word), size)


def probes_of(folder: Path, made: Made, given: Probes | None) -> Probes:
    """The images that every model of the space is explained on. Raises SpaceError where `given` or stored ones differ."""
    if given is not None:
        return _same(folder, made, given, "These probe images are not those of")
    if made.stored:
        images = opened(folder / PROBES, (made.images, made.size, made.size, 3), np.dtype("u1"))
        return _same(folder, made, Probes(made.probe, images), f"{PROBES} is damaged: its images are not those of")
    if made.seed is not None:
        return _same(folder, made, Probes.generate(made.images, made.size, made.seed), "The images drawn here are not those of")
    raise SpaceError(f"{folder} does not hold its probe images ({made.probe}, {made.images}). Give their folder with --probe.")


def baseline_of(folder: Path, made: Made) -> Path:
    """The picture that is the baseline. Raises SpaceError where it is not as it was."""
    path = folder / BASELINE
    try:
        whole = hashlib.sha256(read_square(path, made.size).tobytes()).hexdigest() == made.baseline
    except ProbeError as error:
        raise SpaceError(f"{path} is missing or damaged ({error}) Put the picture back, or make another space.") from error
    if not whole:
        raise SpaceError(f"{path} is damaged: it is another picture. Put the picture back, or make another space.")
    return path


def _same(folder: Path, made: Made, probes: Probes, what: str) -> Probes:
    if probes.sha256 != made.sha256:
        raise SpaceError(
            f"{what} {folder} ({made.probe}, {made.images} of {made.size} pixels, SHA-256 {made.sha256[:12]}), so maps would not "
            "be comparable. Give the same images, or make another space."
        )
    return probes


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
