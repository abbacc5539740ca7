"""What the user states of pixels with a command, for all models or for one, and whether all that is stated is of some model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config, ModelOptions, StatedOptions, end_sentence, find_config, parse_option
from onnxspace.inputs.names import name_models
from onnxspace.inputs.nearest_names import describe_unknown, find_nearest
from onnxspace.storage.printable import shorten

_SIZE = re.compile(r"(\d{1,5})(?:[xX×](\d{1,5}))?")
_MOST_LISTED = 8


@dataclass(frozen=True)
class StatedPixels:
    """Values of `--pixels`, `--size` and `--color`: each `VALUE` for all models, or `MODEL=VALUE` for one.

    A size for all of several models is for those whose size is open; others keep their own.
    A model is named as in results, by its path, file name or stem; none may be stated twice.
    """

    pixels: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    color: tuple[str, ...] = ()

    def options(self, models: int = 1) -> Iterator[StatedOptions]:
        """The options that are stated for so many models, those for all first. Raises ConfigError for a value that is none."""
        found = [one for key in ("pixels", "size", "color") for one in self._parse_all(key, models)]
        yield from sorted(found, key=lambda one: one.model is not None)

    def _parse_all(self, key: str, models: int) -> Iterator[StatedOptions]:
        for word in getattr(self, key):
            model, _, value = word.rpartition("=")
            name = "open_size" if key == "size" and not model and models > 1 else key
            try:
                options = ModelOptions(**{name: parse_option(key, _parse_size(value) if key == "size" else value)})
            except (TypeError, ValueError) as error:
                raise ConfigError(end_sentence(f"--{key} {shorten(word)}: {error}")) from error
            provenance: dict[str, Any] = {"origin": "stated", "source": "--pixels"} if key == "pixels" else {}
            yield StatedOptions(model or None, replace(options, **provenance))


#: What the argument `pixels` of public functions takes: a preset, presets by model, `[MODEL=]PRESET`, or more options.
Pixels = str | Mapping[str, str] | Sequence[str] | StatedPixels | None


def _parse_size(text: str) -> list[int] | str:
    found = _SIZE.fullmatch(text)
    return text if found is None else [int(found[1]), int(found[2] or found[1])]


def read_pixels_argument(pixels: Pixels) -> StatedPixels:
    """Convert the argument `pixels` of Python functions.

    >>> read_pixels_argument({"resnet50": "imagenet"}).pixels
    ('resnet50=imagenet',)
    """
    if pixels is None or isinstance(pixels, StatedPixels):
        return pixels or StatedPixels()
    if isinstance(pixels, Mapping):
        return StatedPixels(tuple(f"{model}={preset}" for model, preset in pixels.items()))
    return StatedPixels((pixels,) if isinstance(pixels, str) else tuple(pixels))


def resolve_config(
    config: Config | str | Path | None, models: Sequence[Path], pixels: Pixels = None, *, whole: bool = True
) -> Config:
    """Return the configuration of a run over `models`: `config`, read if it is a file or None, with what `pixels` states.

    Raises ConfigError for options that can't be read, and for a model that is named and that the run has not: in `pixels`, and
    where `whole`, in the tables of the configuration, unless a file of that name exists beside it or beside the models.
    """
    configuration = config if isinstance(config, Config) else find_config(config)
    stated = read_pixels_argument(pixels)
    if models:
        _check_stated(stated, models, configuration)
    if models and whole:
        _check_tables(configuration, models)
    return replace(configuration, stated=(*configuration.stated, *stated.options(len(models))))


def _check_stated(stated: StatedPixels, models: Sequence[Path], config: Config) -> None:
    names = _list_names(models, config)
    _refuse_repeated(stated, models, config)
    for key in ("pixels", "size", "color"):
        for word in getattr(stated, key):
            model, equals, _ = word.rpartition("=")
            if equals and model not in names:
                raise ConfigError(f"--{key} {shorten(word)}: {_describe_unknown(model, names, len(models))}")


def _refuse_repeated(stated: StatedPixels, models: Sequence[Path], config: Config) -> None:
    """Raise ConfigError for an option that is given twice for all models, or for one of them by whichever of its names."""
    own = name_models(models, config)
    for key in ("pixels", "size", "color"):
        words = [word.rpartition("=") for word in getattr(stated, key)]
        groups = [("all models", {""})]
        groups += [(name, {name, path.stem, path.name, str(path)}) for name, path in zip(own, models, strict=True)]
        for name, names in groups:
            values = [value for model, equals, value in words if (model if equals else "") in names]
            if len(values) > 1:
                listed = " and ".join(map(shorten, values[:2]))
                raise ConfigError(f"--{key} is given {len(values)} times for {shorten(name)} ({listed}). Give one of them.")


def _list_names(models: Sequence[Path], config: Config) -> list[str]:
    """Everything by which a model of the run may be named, names in results first."""
    own = name_models(models, config)
    return [*own, *(name for path in models for name in (path.stem, path.name, str(path)))]


def _check_tables(config: Config, models: Sequence[Path]) -> None:
    """Raise ConfigError for a table that is of no model of the run, nor of a file that exists."""
    known = {key for model in models for key in config.keys(model)}
    for key in config.models:
        if key not in known and not _exists(key, config, models):
            names = [*(model.stem for model in models), *(model.name for model in models)]
            where = f"{config.path or 'The configuration'} [models.{key}]"
            raise ConfigError(f"{where}: {_describe_unknown(key, names, len(models))}")


def _exists(key: str, config: Config, models: Sequence[Path]) -> bool:
    """Whether a file has that name, with its suffix or without; a source such as `timm:resnet18` needs none."""
    folders = {(config.path or Path()).absolute().parent if config.path else Path(), *(model.parent for model in models)}
    if ":" in key:
        return True
    try:
        return any((folder / key).exists() or any(folder.glob(f"{escape(Path(key).name)}.*")) for folder in folders)
    except (OSError, ValueError):  # not a path
        return False


def _describe_unknown(name: str, names: Sequence[str], models: int) -> str:
    """The words for a name that is of no model, with the nearest of `names`, or the first ones of `models`, which begin the list."""
    return describe_unknown("model", name, names if find_nearest(name, names) else names[:models])
