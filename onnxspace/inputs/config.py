"""Configuration of models in TOML: `onnxspace.toml` for several models, `MODEL.onnxspace.toml` for the model beside it."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from onnxspace.errors import ConfigError
from onnxspace.inputs.preprocess import Color, Layout, Resize
from onnxspace.inputs.rule_names import SETS, Rules, find_problem
from onnxspace.storage.regular_files import NotRegularError, read_regular

DEFAULT_FILE = "onnxspace.toml"
#: What stands between the tensors of an encoder.
JOINT = " + "
SIDECAR_SUFFIX = ".onnxspace.toml"
_FRACTION = re.compile(r"\s*(-?[0-9.]{1,24})\s*(?:/\s*([0-9.]{1,24})\s*)?")
_A_NUMBER = 'must be a number, or a fraction in quotes such as "1/255"'
_MAX_BYTES = 16 * 2**20
_WORDS: dict[str, tuple[str, ...]] = {"layout": get_args(Layout), "color": get_args(Color), "resize": get_args(Resize)}


@dataclass(frozen=True)
class ModelOptions:
    """Options of one model; None means that the value is inferred from the model.

    `name` is the model's name in results; `encoder` a tensor or node name, or several joined by ` + `; `input` the name of the image input; `size` (height,
    width) in pixels, 1–8192; `layout`, `color` and `resize` are as in `Preprocess`; `scale`, `mean` and `std` give
    `x = (pixel · scale − mean) / std` with pixels in 0–255, `mean` and `std` having one value or one per channel.
    """

    name: str | None = None
    encoder: str | None = None
    input: str | None = None
    size: tuple[int, int] | None = None
    layout: Layout | None = None
    color: Color | None = None
    resize: Resize | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def over(self, other: ModelOptions) -> ModelOptions:
        """Return these options, with the values of `other` where these are None.

        >>> ModelOptions(scale=1.0).over(ModelOptions(scale=2.0, layout="NHWC")).layout
        'NHWC'
        """
        stated = {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}
        return replace(other, **stated)


@dataclass(frozen=True)
class Config:
    """The content of a configuration file.

    `path` is the file (None: no file). `models` holds options by a model's file name, stem, or path relative to the file; `rules`
    holds, by the name of a rule set, rules by operator and values by parameter, as `onnxspace.attribution.lrp.find_rule_set` takes
    them.
    """

    path: Path | None = None
    models: Mapping[str, ModelOptions] = field(default_factory=dict)
    rules: Rules = field(default_factory=dict)

    def options(self, model: Path) -> ModelOptions:
        """Return the options of the model file `model`: this file's, those of the most specific key first, then its sidecar's.

        Raises ConfigError for an invalid sidecar.
        """
        keys = [self._relative_path(model), model.name, model.stem]
        matching = [self.models[key] for key in dict.fromkeys(keys) if key in self.models]
        merged = load_sidecar(model)
        for options in reversed(matching):
            merged = options.over(merged)
        return merged

    def _relative_path(self, model: Path) -> str:
        try:
            return model.resolve().relative_to((self.path or Path()).resolve().parent).as_posix()
        except (ValueError, OSError, RuntimeError):  # in another folder, not a path, or a loop of links
            return model.name


def load_config(path: str | Path) -> Config:
    """Read the configuration file `path`: a table `[models.NAME]` per model and `[rules.NAME]` per rule set.

    The table `[check]` is read by `onnxspace.checking.plan`. Raises ConfigError naming the file and the key.
    """
    path = Path(path)
    content = _read_toml(path)
    _refuse_unknown(str(path), content, {"models", "rules", "check"}, "table")
    models = _find_tables(content, "models", f"{path}: [models] must hold one table per model, such as [models.resnet50].")
    rules = _find_tables(content, "rules", f"{path}: [rules] must hold one table per rule set, such as [rules.elrp].")
    _refuse_unknown(f"{path} [rules]", rules, set(SETS), "rule set")
    return Config(
        path,
        {name: _parse_options(f"{path} [models.{name}]", table) for name, table in models.items()},
        {name: _check_rules(f"{path} [rules.{name}]", table) for name, table in rules.items()},
    )


def _find_tables(content: Mapping[str, Any], name: str, message: str) -> dict[str, dict[str, Any]]:
    tables = content.get(name, {})
    if not isinstance(tables, dict) or not all(isinstance(value, dict) for value in tables.values()):
        raise ConfigError(message)
    return tables


def _check_rules(where: str, table: Mapping[str, Any]) -> dict[str, str | float]:
    """Check the rules by operator and the parameters of one rule set."""
    for key, value in table.items():
        if (wrong := find_problem(key, value)) is not None:
            raise ConfigError(f"{where}: {wrong}.")
    return dict(table)


def find_config(path: str | Path | None) -> Config:
    """Load the configuration `path`; where it is None, `onnxspace.toml` of the current folder, or nothing if there is none.

    Raises ConfigError as `load_config`.
    """
    if path is not None:
        return load_config(path)
    return load_config(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else Config()


def load_sidecar(model: Path) -> ModelOptions:
    """Read the options of a model file from the sidecar beside it: `resnet50.onnxspace.toml` for `resnet50.onnx`.

    Returns empty options where there is no such file. Raises ConfigError naming the file and the key.
    """
    path = model.parent / (model.stem + SIDECAR_SUFFIX)
    try:
        exists = bool(model.name) and path.exists()
    except (OSError, ValueError):  # a name too long to exist, or not a path
        exists = False
    return _parse_options(str(path), _read_toml(path)) if exists else ModelOptions()


def _read_toml(path: Path) -> dict[str, Any]:
    content = _read_bytes(path)
    try:
        return tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8. Save it as UTF-8.") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply. Correct it.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML ({error}). Correct it.") from error


def _read_bytes(path: Path) -> bytes:
    try:
        content = read_regular(path, _MAX_BYTES)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file. Check the path given to --config.") from error
    except (IsADirectoryError, NotRegularError) as error:
        raise ConfigError(f"{path} is not a file. Give the path of a TOML file.") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror or error}). Check its path and permissions.") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} is too large for a configuration file. Give the path of a TOML file.")
    return content


def _refuse_unknown(where: str, table: Mapping[str, Any], known: set[str], kind: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown {kind} {key!r}. Use one of: {', '.join(sorted(known))}.")


def _parse_options(where: str, table: Mapping[str, Any]) -> ModelOptions:
    _refuse_unknown(where, table, {f.name for f in fields(ModelOptions)}, "key")
    try:
        options = ModelOptions(**{key: _parse_value(key, value) for key, value in table.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}.") from error
    return options


def _parse_value(key: str, value: Any) -> Any:
    if key in _WORDS:
        return _parse_word(key, value)
    if key == "size":
        return _parse_size(value)
    if key == "scale":
        return _require_nonzero(key, _parse_number(key, value))
    if key in {"mean", "std"}:
        numbers = tuple(_parse_number(key, item) for item in (value if isinstance(value, list) else [value]))
        if len(numbers) not in {1, 3}:
            raise ValueError(f"{key} needs one number, or one per channel")
        return tuple(_require_nonzero(key, number) for number in numbers) if key == "std" else numbers
    if key == "encoder" and isinstance(value, list) and value and all(isinstance(name, str) and name for name in value):
        return JOINT.join(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a name in quotes" + (", or a list of such names" if key == "encoder" else ""))
    return value


def _parse_word(key: str, value: Any) -> str:
    word = str(value)
    for known in _WORDS[key]:
        if word.upper() == known.upper():
            return known
    raise ValueError(f"{key} is {value!r} but must be one of {', '.join(_WORDS[key])}")


def _parse_size(value: Any) -> tuple[int, int]:
    pair = [value, value] if isinstance(value, int) else value
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int and 1 <= n <= 8192 for n in pair):
        raise ValueError("size must be one number, or [height, width], from 1 to 8192 pixels")
    return pair[0], pair[1]


def _parse_number(key: str, value: Any) -> float:
    """Parse a TOML number, or a fraction in quotes such as `"1/255"`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{key} {_A_NUMBER}")
    try:
        number = _parse_fraction(value) if isinstance(value, str) else float(value)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{key} {_A_NUMBER}") from error
    if not math.isfinite(number):
        raise ValueError(f"{key} must be finite")
    return number


def _parse_fraction(fraction: str) -> float:
    parts = _FRACTION.fullmatch(fraction)
    if parts is None:
        raise ValueError(fraction)
    return float(parts[1]) / float(parts[2] or 1)


def _require_nonzero(key: str, number: float) -> float:
    if number == 0:
        raise ValueError(f"{key} must not be zero")
    return number
