"""Values of inputs besides the image, as a configuration states them: numbers, lists of numbers, or `.npy` files beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.storage.regular_files import load_array, map_array

MAX_VALUES = 2**24
_MOST_INPUTS, _DEEPEST = 64, 8
_FORMS = "a number, a list of numbers, or the name of a .npy file in the folder of the configuration"


def parse_input_values(value: Any, folder: Path) -> dict[str, Any]:
    """Check the table `inputs` of a model, and return it with files as absolute paths.

    `folder` is that of the configuration, in which files must lie. Raises ValueError.
    """
    if not isinstance(value, dict) or len(value) > _MOST_INPUTS:
        raise ValueError(f"inputs must be a table of inputs, each {_FORMS}")
    return {name: _parse_one(name, one, folder) for name, one in value.items()}


def _parse_one(name: str, value: Any, folder: Path) -> Any:
    if isinstance(value, str):
        return str(_find_file(name, value, folder))
    if _count_numbers(value, _DEEPEST) is None:
        raise ValueError(f"inputs: {name!r} must be {_FORMS}")
    return value


def _find_file(name: str, value: str, folder: Path) -> Path:
    try:
        file, home = (folder / value).resolve(), folder.resolve()
        if not file.is_relative_to(home) or file.suffix != ".npy" or not file.is_file():
            raise ValueError(f"inputs: {name!r} names {value!r}, which is no .npy file in the folder {home}")
    except (OSError, RuntimeError) as error:
        raise ValueError(f"inputs: {name!r} names {value!r}, which can't be read") from error
    return file


def _count_numbers(value: Any, deep: int) -> int | None:
    """How many numbers a nested list holds; None where it holds anything else, is too deep, or ragged."""
    if isinstance(value, (bool, int, float)):
        return 1 if isinstance(value, bool) or (math.isfinite(value) and abs(value) < 2**63) else None
    if not isinstance(value, list) or not value or deep == 0:
        return None
    counts = [_count_numbers(one, deep - 1) for one in value]
    return None if None in counts or len(set(counts)) > 1 else len(value) * (counts[0] or 0)


def read_input_value(stated: Any, where: str) -> NDArray[Any]:
    """Read a value that `parse_input_values` has checked, as an array. `where` names model and input in errors. Raises ConfigError."""
    if not isinstance(stated, str):
        return np.asarray(stated)
    try:
        size = map_array(stated).size
        if size > MAX_VALUES:
            raise ConfigError(f"{where}: {stated} has {size:,} values, more than {MAX_VALUES:,}. Give a smaller array.")
        found = load_array(stated)
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where}: {stated} can't be read as an array ({error}). Save it with numpy.save.") from error
    if found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise ConfigError(f"{where}: {stated} does not hold finite numbers. Save it with numpy.save.")
    return found


def stated_inputs(value: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The stated inputs, or an empty mapping."""
    return {} if value is None else value
