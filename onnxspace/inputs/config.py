"""What a user says about models in TOML: `onnxspace.toml` for many, `MODEL.onnxspace.toml` beside one."""

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
from onnxspace.inputs.rule_names import SETS, problem

DEFAULT_FILE = "onnxspace.toml"
SIDECAR_SUFFIX = ".onnxspace.toml"
_FRACTION = re.compile(r"\s*(-?[0-9.]{1,24})\s*(?:/\s*([0-9.]{1,24})\s*)?")
_A_NUMBER = 'must be a number, or a fraction in quotes such as "1/255"'
_MAX_BYTES = 16 * 2**20
_WORDS: dict[str, tuple[str, ...]] = {"layout": get_args(Layout), "color": get_args(Color), "resize": get_args(Resize)}


@dataclass(frozen=True)
class ModelOptions:
    """What may be said of one model; None means: find out.

    `size` is (height, width) in pixels; `scale`, `mean` and `std` give `x = (pixel · scale − mean) / std` with pixels in
    0–255; `encoder` is a tensor or node name; `input` the name of the image input.
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
        """These options, and the other's where these say nothing."""
        said = {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}
        return replace(other, **said)


@dataclass(frozen=True)
class Config:
    """A configuration file: options per model, by file name, stem or path relative to the file; entries per rule set.

    `rules` holds, by the name of a rule set, the rule of an operator or the value of a parameter, as `onnxspace.attribution.lrp.rule_set`
    takes them.
    """

    path: Path | None = None
    models: Mapping[str, ModelOptions] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict)

    def options(self, model: Path) -> ModelOptions:
        """What this file says of `model`, the most exact key first, over what its sidecar says."""
        keys = [self._relative(model), model.name, model.stem]
        said = [self.models[key] for key in dict.fromkeys(keys) if key in self.models]
        merged = load_sidecar(model)
        for options in reversed(said):
            merged = options.over(merged)
        return merged

    def _relative(self, model: Path) -> str:
        try:
            return model.resolve().relative_to((self.path or Path()).resolve().parent).as_posix()
        except (ValueError, OSError, RuntimeError):  # elsewhere, not a path, a loop of links
            return model.name


def load_config(path: str | Path) -> Config:
    """Read `onnxspace.toml`: a table `[models.NAME]` per model, `[rules.NAME]` per rule set; `[check]` is read elsewhere.

    Raises ConfigError naming the file and the key.
    """
    path = Path(path)
    content = _read(path)
    _refuse_unknown(str(path), content, {"models", "rules", "check"}, "table")
    models = _tables(content, "models", f"{path}: [models] must hold one table per model, such as [models.resnet50].")
    rules = _tables(content, "rules", f"{path}: [rules] must hold one table per rule set, such as [rules.elrp].")
    _refuse_unknown(f"{path} [rules]", rules, set(SETS), "rule set")
    return Config(
        path,
        {name: _options(f"{path} [models.{name}]", table) for name, table in models.items()},
        {name: _entries(f"{path} [rules.{name}]", table) for name, table in rules.items()},
    )


def _tables(content: Mapping[str, Any], name: str, message: str) -> dict[str, dict[str, Any]]:
    tables = content.get(name, {})
    if not isinstance(tables, dict) or not all(isinstance(value, dict) for value in tables.values()):
        raise ConfigError(message)
    return tables


def _entries(where: str, table: Mapping[str, Any]) -> dict[str, str | float]:
    """Rules by operator and parameters of one rule set."""
    for key, value in table.items():
        if (wrong := problem(key, value)) is not None:
            raise ConfigError(f"{where}: {wrong}.")
    return dict(table)


def find_config(path: str | Path | None) -> Config:
    """The file that was named, else `onnxspace.toml` of the current folder where there is one, else nothing."""
    if path is not None:
        return load_config(path)
    return load_config(DEFAULT_FILE) if Path(DEFAULT_FILE).is_file() else Config()


def load_sidecar(model: Path) -> ModelOptions:
    """Options from `resnet50.onnxspace.toml` beside `resnet50.onnx`; none where there is no such file."""
    path = model.parent / (model.stem + SIDECAR_SUFFIX)
    try:
        there = bool(model.name) and path.is_file()
    except (OSError, ValueError):  # a name too long to exist, or not a path
        there = False
    return _options(str(path), _read(path)) if there else ModelOptions()


def _read(path: Path) -> dict[str, Any]:
    content = _content(path)
    try:
        return tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text in UTF-8. Save it as UTF-8.") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply. Correct it.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML ({error}). Correct it.") from error


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is not a file. Give the path of a TOML file.")
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} is too large for a configuration file. Give the path of a TOML file.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file. Check the path given to --config.") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror or error}). Check its path and permissions.") from error


def _refuse_unknown(where: str, table: Mapping[str, Any], known: set[str], kind: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown {kind} {key!r}. Use one of: {', '.join(sorted(known))}.")


def _options(where: str, table: Mapping[str, Any]) -> ModelOptions:
    _refuse_unknown(where, table, {f.name for f in fields(ModelOptions)}, "key")
    try:
        options = ModelOptions(**{key: _value(key, value) for key, value in table.items()})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}.") from error
    return options


def _value(key: str, value: Any) -> Any:
    if key in _WORDS:
        return _word(key, value)
    if key == "size":
        return _size(value)
    if key == "scale":
        return _nonzero(key, _number(key, value))
    if key in {"mean", "std"}:
        numbers = tuple(_number(key, item) for item in (value if isinstance(value, list) else [value]))
        if len(numbers) not in {1, 3}:
            raise ValueError(f"{key} needs one number, or one per channel")
        return tuple(_nonzero(key, number) for number in numbers) if key == "std" else numbers
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a name in quotes")
    return value


def _word(key: str, value: Any) -> str:
    word = str(value)
    for known in _WORDS[key]:
        if word.upper() == known.upper():
            return known
    raise ValueError(f"{key} is {value!r} but must be one of {', '.join(_WORDS[key])}")


def _size(value: Any) -> tuple[int, int]:
    pair = [value, value] if isinstance(value, int) else value
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int and 1 <= n <= 8192 for n in pair):
        raise ValueError("size must be one number, or [height, width], from 1 to 8192 pixels")
    return pair[0], pair[1]


def _number(key: str, value: Any) -> float:
    """A TOML number, or a fraction in quotes: `"1/255"`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{key} {_A_NUMBER}")
    try:
        number = _divided(value) if isinstance(value, str) else float(value)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{key} {_A_NUMBER}") from error
    if not math.isfinite(number):
        raise ValueError(f"{key} must be finite")
    return number


def _divided(fraction: str) -> float:
    parts = _FRACTION.fullmatch(fraction)
    if parts is None:
        raise ValueError(fraction)
    return float(parts[1]) / float(parts[2] or 1)


def _nonzero(key: str, number: float) -> float:
    if number == 0:
        raise ValueError(f"{key} must not be zero")
    return number
