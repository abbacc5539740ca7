"""Configuration of models in TOML: `onnxspace.toml` for several models, `MODEL.onnxspace.toml` for the model beside it."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from onnxspace.errors import ConfigError
from onnxspace.inputs.axes import MAX_FRAMES, Axes
from onnxspace.inputs.bands import MAX_BANDS, NAMES, parse_band_names, parse_bands
from onnxspace.inputs.input_values import parse_input_values
from onnxspace.inputs.labels import parse_license, parse_tags
from onnxspace.inputs.nearest_names import describe_missing_file, describe_unknown
from onnxspace.inputs.pixel_presets import PRESETS, Origin, find_preset
from onnxspace.inputs.preprocess import Color, Resize
from onnxspace.inputs.rule_names import SETS, Rules, find_problem
from onnxspace.storage.regular_files import NotRegularError, read_regular

DEFAULT_FILE = "onnxspace.toml"
#: What stands between the tensors of an encoder.
JOINT = " + "
#: The tables and keys of a file for several models.
TABLES = frozenset({"models", "rules", "check", "bands"})
SIDECAR_SUFFIX = ".onnxspace.toml"
_FRACTION = re.compile(r"\s*(-?[0-9.]{1,24})\s*(?:/\s*([0-9.]{1,24})\s*)?")
_A_NUMBER = 'must be a number, or a fraction in quotes such as "1/255"'
_MAX_BYTES = 16 * 2**20
#: The beginning of a sidecar that a conversion wrote: what it states comes from the framework, not from the user.
WRITTEN_BY_CONVERSION = "# Written by `onnxspace convert`"
#: Fields that say where the range comes from, and what is not applied; they are no keys.
PROVENANCE = frozenset({"origin", "source", "geometry", "open_size"})
_RANGE = ("pixels", "scale", "mean", "std")
_WORDS: dict[str, tuple[str, ...]] = {"layout": get_args(Axes), "color": get_args(Color), "resize": get_args(Resize)}


@dataclass(frozen=True)
class ModelOptions:
    """Options of one model; None means that the value is inferred from the model.

    `name` is the model's name in results; `encoder` a tensor or node name, or several joined by
    ` + `; `input` the name of the image input; `size` (height, width) in pixels, 1–8192; `layout` the order of the input's axes, as in `axes.Axes`; `color` and `resize` are as in
    `Preprocess`; `scale`, `mean` and `std` give `x = (pixel · scale − mean) / std` with pixels in 0–255, `mean` and `std` having
    one value or one per channel; `pixels` is the name of a preset of `onnxspace.inputs.pixel_presets` instead of these three.
    `bands` are the bands of the probe images that go into the channels, counted from 0; `frames` is the number of frames of a
    video, `still` says that every frame is the same image. `inputs` has the values of inputs besides the image, as
    `input_values.parse_input_values` returns them. `license` and `tags` label the model in a space. `origin` and `source` say where the
    range comes from, `geometry` how the network's own pipeline crops and resizes photos, which is not applied, and `open_size` is a
    size for all models of a run, which one with another fixed size does not take: they are no keys of a file.
    """

    name: str | None = None
    encoder: str | None = None
    input: str | None = None
    size: tuple[int, int] | None = None
    layout: Axes | None = None
    color: Color | None = None
    resize: Resize | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pixels: str | None = None
    origin: Origin | None = None
    source: str | None = None
    geometry: str | None = None
    bands: tuple[int, ...] | None = None
    frames: int | None = None
    still: bool | None = None
    inputs: Mapping[str, Any] | None = None
    open_size: tuple[int, int] | None = None
    license: str | None = None
    tags: tuple[str, ...] | None = None

    @property
    def states_range(self) -> bool:
        """Whether these options say which values pixels become."""
        return any(getattr(self, name) is not None for name in _RANGE)

    def beside(self, other: ModelOptions) -> ModelOptions:
        """Return these options, with the values of `other` where these are None, one by one."""
        return replace(other, **{f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None})

    def over(self, other: ModelOptions) -> ModelOptions:
        """Return these options, with the values of `other` where these are None, except for a range that these replace.

        >>> ModelOptions(scale=1.0).over(ModelOptions(scale=2.0, layout="NHWC")).layout
        'NHWC'
        """
        return self.beside(other._without_range_of(self))

    def _without_range_of(self, upper: ModelOptions) -> ModelOptions:
        """These options without what the range of `upper` replaces: a preset and `scale`, `mean`, `std` exclude each other."""
        if upper.pixels is not None:
            colored = find_preset(upper.pixels).color is not None
            return replace(self.without_range(), color=None if colored else self.color)
        return replace(self, pixels=None) if upper.states_range else self

    def without_pixels(self) -> ModelOptions:
        """Return these options without a preset."""
        return replace(self, pixels=None)

    def without_range(self) -> ModelOptions:
        """Return these options without range and its provenance."""
        return replace(self, pixels=None, scale=None, mean=None, std=None, origin=None, source=None)


@dataclass(frozen=True)
class StatedOptions:
    """Options that were stated with a command, for the model that `model` names (None: all models of the run)."""

    model: str | None
    options: ModelOptions


@dataclass(frozen=True)
class Config:
    """The content of a configuration file.

    `path` is the file (None: no file). `models` holds options by a model's file name, stem, or path relative to the file; `rules`
    holds, by the name of a rule set, rules by operator and values by parameter, as `onnxspace.attribution.lrp.find_rule_set` takes
    them. `stated` are options that come before these and before sidecars; of two for one model the later counts.
    """

    path: Path | None = None
    models: Mapping[str, ModelOptions] = field(default_factory=dict)
    rules: Rules = field(default_factory=dict)
    stated: tuple[StatedOptions, ...] = ()

    def options(self, model: Path) -> ModelOptions:
        """Return the options of the model file `model`: stated ones, this file's by the most specific key, its sidecar's.

        Raises ConfigError for an invalid sidecar.
        """
        merged = load_sidecar(model)
        for key in reversed(self.keys(model)):
            merged = self.models.get(key, ModelOptions()).over(merged)
        stated = ModelOptions()
        for one in self.stated:
            if one.model is None or one.model in {*self.keys(model), str(model), merged.name}:
                stated = one.options.beside(stated if one.options.size is None else replace(stated, open_size=None))
        return stated.over(merged)

    def keys(self, model: Path) -> list[str]:
        """Return the names of the tables that would be those of the model file `model`, the most specific first."""
        return list(dict.fromkeys((self._relative_path(model), model.name, model.stem)))

    def _relative_path(self, model: Path) -> str:
        try:
            return model.resolve().relative_to((self.path or Path()).resolve().parent).as_posix()
        except (ValueError, OSError, RuntimeError):  # in another folder, not a path, or a loop of links
            return model.name


def load_config(path: str | Path) -> Config:
    """Read the configuration file `path`: a table `[models.NAME]` per model and `[rules.NAME]` per rule set, and `bands`.

    `bands` names the bands of the probe images, in their order. The table `[check]` is read by `onnxspace.checking.plan`. Raises ConfigError naming the file and the key.
    """
    path = Path(path)
    content = _read_toml(path)
    refuse_unknown(str(path), content, TABLES, "table")
    names = _read_band_names(path, content)
    models = _find_tables(content, "models", f"{path}: [models] must hold one table per model, such as [models.resnet50].")
    rules = _find_tables(content, "rules", f"{path}: [rules] must hold one table per rule set, such as [rules.elrp].")
    refuse_unknown(f"{path} [rules]", rules, set(SETS), "rule set")
    return Config(
        path,
        {name: _parse_options(f"{path} [models.{name}]", table, path.parent, names) for name, table in models.items()},
        {name: _check_rules(f"{path} [rules.{name}]", table) for name, table in rules.items()},
    )


def _read_band_names(path: Path, content: Mapping[str, Any]) -> Mapping[str, int]:
    try:
        return parse_band_names(content["bands"]) if "bands" in content else NAMES
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.") from error


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
    return _parse_sidecar(path) if exists else ModelOptions()


def _parse_sidecar(path: Path) -> ModelOptions:
    options = _parse_options(str(path), _read_toml(path), path.parent)
    if options.states_range and _read_bytes(path).startswith(WRITTEN_BY_CONVERSION.encode()):
        return replace(options, origin="read", source=f"{path.name} of its conversion")
    return options


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
        raise ConfigError(f"{path}: {describe_missing_file(path, 'Check the path given to --config.')}") from error
    except (IsADirectoryError, NotRegularError) as error:
        raise ConfigError(f"{path} is not a file. Give the path of a TOML file.") from error
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror or error}). Check its path and permissions.") from error
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path} is too large for a configuration file. Give the path of a TOML file.")
    return content


def refuse_unknown(where: str, table: Mapping[str, Any], known: Collection[str], kind: str) -> None:
    """Raise ConfigError for a key of `table` that is not `known`; `kind` is what it is, and `where` the file and the table."""
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: {describe_unknown(kind, key, sorted(known))}")


def _parse_options(where: str, table: Mapping[str, Any], folder: Path, names: Mapping[str, int] = NAMES) -> ModelOptions:
    refuse_unknown(where, table, {f.name for f in fields(ModelOptions)} - PROVENANCE, "key")
    own: dict[str, Callable[[Any], Any]] = {
        "bands": lambda value: parse_bands(value, names),
        "inputs": lambda value: parse_input_values(value, folder),
    }
    try:
        parsed: dict[str, Any] = {key: own[key](v) if key in own else parse_option(key, v) for key, v in table.items()}
        options = ModelOptions(**parsed)
    except (TypeError, ValueError) as error:
        raise ConfigError(end_sentence(f"{where}: {error}")) from error
    if options.pixels is not None and options.without_pixels().states_range:
        raise ConfigError(f"{where}: pixels names scale, mean and std in one word. Leave out pixels, or the other three.")
    return replace(options, origin="stated", source=_shorten_source(where)) if options.states_range else options


def _shorten_source(where: str) -> str:
    """The file's name without its folder, and the table: `zoo/onnxspace.toml [models.a]` is `onnxspace.toml [models.a]`."""
    file, bracket, table = where.partition(" [models.")
    return Path(file).name + bracket + table


def parse_option(key: str, value: Any) -> Any:
    """Parse the TOML value of the option `key` of a model. Raises ValueError or TypeError, whose message says what it must be."""
    if key == "pixels":
        return _parse_preset(value)
    if key in _WORDS:
        return _parse_word(key, value)
    if key == "size":
        return _parse_size(value)
    if key == "scale":
        return _require_nonzero(key, _parse_number(key, value))
    if key in {"mean", "std"}:
        numbers = tuple(_parse_number(key, item) for item in (value if isinstance(value, list) else [value]))
        if not 1 <= len(numbers) <= MAX_BANDS:
            raise ValueError(f"{key} needs one number, or one per channel")
        return tuple(_require_nonzero(key, number) for number in numbers) if key == "std" else numbers
    if key == "license":
        return parse_license(value)
    if key == "tags":
        return parse_tags(value if isinstance(value, list) else [value])
    if key == "frames":
        return _parse_frames(value)
    if key == "still":
        return _parse_switch(key, value)
    if key == "encoder" and isinstance(value, list) and value and all(isinstance(name, str) and name for name in value):
        return JOINT.join(value)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a name in quotes" + (", or a list of such names" if key == "encoder" else ""))
    return value


def _parse_preset(value: Any) -> str:
    word = str(value).lower()
    if word not in PRESETS:
        raise ValueError(describe_unknown("preset of pixels", word, PRESETS).removesuffix("."))
    return word


def _parse_word(key: str, value: Any) -> str:
    word = str(value)
    for known in _WORDS[key]:
        if word.upper() == known.upper():
            return known
    raise ValueError(describe_unknown(key, word, _WORDS[key]).removesuffix("."))


def _parse_size(value: Any) -> tuple[int, int]:
    pair = [value, value] if isinstance(value, int) else value
    if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int and 1 <= n <= 8192 for n in pair):
        raise ValueError("size must be one number, or [height, width], from 1 to 8192 pixels")
    return pair[0], pair[1]


def _parse_frames(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= MAX_FRAMES:
        raise ValueError(f"frames must be a number from 1 to {MAX_FRAMES}")
    return value


def _parse_switch(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false")
    return value


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


def end_sentence(text: str) -> str:
    """Return `text` with a full stop, unless it is a question.

    >>> end_sentence("did you mean a?"), end_sentence("it is b")
    ('did you mean a?', 'it is b.')
    """
    return text if text.endswith("?") else f"{text}."


def _require_nonzero(key: str, number: float) -> float:
    if number == 0:
        raise ValueError(f"{key} must not be zero")
    return number
