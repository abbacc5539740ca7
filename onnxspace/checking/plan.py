"""The plan of a check, from the command line or from the table `[check]` of a configuration."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxspace.checking.verdict import COPY, limits_for
from onnxspace.errors import ConfigError
from onnxspace.exporters.discovery import is_factory, is_named
from onnxspace.inputs.config import TABLES, Config, refuse_unknown
from onnxspace.inputs.methods import BASELINES as PIXELS
from onnxspace.inputs.methods import METHODS, Method
from onnxspace.inputs.names import join_tensors, name_models
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.targets import Target, make_targets, take_one
from onnxspace.storage.json_fields import is_whole
from onnxspace.storage.printable import shorten
from onnxspace.storage.regular_files import read_regular

BASELINES, SPACE_SUFFIX = "baselines", ".space"
#: Names that are those of a file in one folder on every system.
_PLAIN = re.compile(r"[\w+-][\w+. -]{0,149}")
_KEYS = {"method", "baseline", "probe", "images", "seed", "baselines", "limits", "artifacts", "class", "value"}
_ARTIFACT = {"model", "against", "limits", "distinct", "encoder", "probe"}


@dataclass(frozen=True)
class Artifact:
    """One file to check: its `path`, the baseline `against` as a user writes it, and `limits` by metric.

    `distinct` is the affinity that it must stay below, None where it must be the same model. `probe` is a folder of photos
    for this artifact alone; `given` names the limits that somebody set, which are never left out.
    """

    name: str
    path: Path
    against: str
    limits: Mapping[str, float]
    distinct: float | None = None
    encoder: str | None = None
    probe: str | None = None
    given: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CheckPlan:
    """What to check, and on which images; None stands for what the baselines were made with, else for the defaults.

    `pixels` is the baseline of the method: a word of `onnxspace.inputs.methods.BASELINES`, or the path of an image. `target` is what maps
    are of instead of encoders; `probes` are the images themselves, where they need not be read or generated.
    """

    artifacts: tuple[Artifact, ...]
    method: Method | None = None
    probe: str | None = None
    images: int | None = None
    seed: int = 0
    limits: Mapping[str, float | None] = field(default_factory=dict)
    pixels: str | None = None
    target: Target | None = None
    probes: Probes | None = None


def find_plan(config: str | None) -> tuple[CheckPlan, Path | None]:
    """The plan in the file `config`, else in `onnxspace.toml` or `pyproject.toml` of the current folder, and that file.

    The file is None for `pyproject.toml`, which does not configure models. Raises ConfigError where there is no plan.
    """
    for path in [Path(config)] if config else [Path("onnxspace.toml"), Path("pyproject.toml")]:
        if not config and not path.is_file():
            continue
        if (table := _read_table(path)) is not None:
            return parse_plan(table, path), (path if path.name != "pyproject.toml" else None)
    raise ConfigError(
        "There is nothing to check: give a model and --against, or write a table [check] into onnxspace.toml, or "
        "[tool.onnxspace.check] into pyproject.toml."
    )


def _read_table(path: Path) -> Mapping[str, Any] | None:
    try:
        content = tomllib.loads(read_regular(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} can't be read as TOML ({error}). Correct it.") from error
    found = content.get("tool", {}).get("onnxspace", {}) if path.name == "pyproject.toml" else content
    if isinstance(found, dict):
        shared = path.name == "pyproject.toml"
        refuse_unknown(f"{path} [tool.onnxspace]" if shared else str(path), found, {"check"} if shared else TABLES, "table")
    table = found.get("check") if isinstance(found, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path}: check must be a table.")
    return table


def parse_plan(table: Mapping[str, Any], path: Path) -> CheckPlan:
    """The plan in the table `check` of the file `path`; relative paths start from its folder.

    Raises ConfigError naming the key.
    """
    where = f"{path} [check]"
    refuse_unknown(where, table, _KEYS, "key")
    home, given = path.parent, _parse_limits(where, table.get("limits", {}))
    artifacts = table.get("artifacts", {})
    if not isinstance(artifacts, dict) or not artifacts:
        raise ConfigError(f'{where} has no artifacts. Write [check.artifacts.NAME] with model = "model.onnx".')
    folder = home / _require_text(where, "baselines", table.get("baselines", BASELINES))
    parsed = tuple(_parse_artifact(where, name, entry, home, folder, given) for name, entry in artifacts.items())
    method = table.get("method")
    if method is not None and method not in METHODS:
        raise ConfigError(f"{where}: {describe_unknown('method', str(method), METHODS)}")
    probe = None if "probe" not in table else str(home / _require_text(where, "probe", table["probe"]))
    images, seed = _require_whole(where, "images", table.get("images")), _require_whole(where, "seed", table.get("seed", 0), 0)
    pixels = _parse_pixels(where, table.get("baseline"), home)
    return CheckPlan(parsed, method, probe, images, seed or 0, given, pixels, _parse_target(where, table))


def _parse_target(where: str, table: Mapping[str, Any]) -> Target | None:
    """The class, a name or a number, and the value of an output that maps are of."""
    word = table.get("class")
    if word is not None and not is_whole(word, 0, 2**31):
        word = _require_text(where, "class", word)
    value = None if "value" not in table else _require_text(where, "value", table["value"])
    return take_one(make_targets([] if word is None else [word], [] if value is None else [value]))


def _parse_pixels(where: str, value: Any, home: Path) -> str | None:
    """A word, or the path of an image."""
    if value is None:
        return None
    text = _require_text(where, "baseline", value)
    return text if text in PIXELS else str(home / text)


def _parse_artifact(where: str, name: str, entry: Any, home: Path, folder: Path, given: Mapping[str, float | None]) -> Artifact:
    here = f"{where[:-1]}.artifacts.{name}]"
    _refuse_path(where, name)
    if not isinstance(entry, dict) or "model" not in entry:
        raise ConfigError(f'{here} must be a table with model = "model.onnx".')
    refuse_unknown(here, entry, _ARTIFACT, "key")
    model = Path(_place(here, "model", home, _require_text(here, "model", entry["model"])))
    base = str(folder / f"{name}.fp")
    if "against" in entry:
        base = _place(here, "against", home, _require_text(here, "against", entry["against"]))
    distinct, own = _parse_distinct(here, entry.get("distinct", False)), _parse_limits(here, entry.get("limits", {}))
    if own and distinct is not None:
        raise ConfigError(f"{here}: distinct and limits exclude each other: what must not be a copy has no other limit.")
    stated = {**given, **own}
    limits = limits_for(stated, here)
    named = entry.get("encoder", [])
    encoder = join_tensors([_require_text(here, "encoder", one) for one in (named if isinstance(named, list) else [named])])
    probe = None if "probe" not in entry else str(home / _require_text(here, "probe", entry["probe"]))
    return Artifact(name, model, base, limits, distinct, encoder, probe, _given(stated))


def _place(where: str, key: str, home: Path, text: str) -> str:
    """A path from the folder of the configuration; `timm:NAME` and the like as they are. Raises ConfigError for code.

    A configuration may come with an untrusted checkout, so that it runs no code.
    """
    folder, colon, _ = text.rpartition(":")
    if (colon and (home / folder).is_dir()) or folder.endswith(SPACE_SUFFIX) or (home / text).exists():
        return str(home / text)
    if is_factory(text):
        raise ConfigError(f"{where}: {key} is {text!r}, code that a configuration can't run. Give it on the command line.")
    return text if is_named(text) else str(home / text)


def _given(limits: Mapping[str, float | None]) -> frozenset[str]:
    return frozenset(name for name, limit in limits.items() if limit is not None)


def _refuse_path(where: str, name: str) -> None:
    """Raise ConfigError for a name that is not that of a file in one folder, since baselines and pictures are called by it."""
    if _PLAIN.fullmatch(name) is None or name.endswith((".", " ")):
        raise ConfigError(
            f"{where}: the artifact {shorten(name)!r} can't be the name of a baseline. Use letters, digits, spaces and . _ + - only, "
            "without a dot or space at either end."
        )


def artifacts_against(
    paths: Sequence[str], base: str, limits: Mapping[str, float | None], distinct: bool | float, encoder: str | None
) -> tuple[Artifact, ...]:
    """Artifacts for the models `paths`, all against the baseline `base`.

    `limits` are by metric, None for no limit; `distinct` is True or the affinity to stay below. Raises ConfigError.
    """
    checked, names = limits_for(limits), name_models([Path(path) for path in paths], Config())
    return tuple(
        Artifact(name, Path(path), base, checked, _parse_distinct("--distinct", distinct), encoder, given=_given(limits))
        for path, name in zip(paths, names, strict=True)
    )


def _parse_distinct(where: str, value: Any) -> float | None:
    if isinstance(value, bool):
        return COPY if value else None
    if not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigError(f"{where}: distinct must be true, or the affinity to stay below, above 0 and at most 1.")
    return float(value)


def _parse_limits(where: str, table: Any) -> dict[str, float | None]:
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: limits must be a table such as {{affinity = 0.99}}.")
    found = {key: None if value is False else value for key, value in table.items()}
    limits_for(found, where)
    return found


def _require_text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: {key} must be text in quotes.")
    return value


def _require_whole(where: str, key: str, value: Any, least: int = 1) -> int | None:
    if value is not None and not is_whole(value, least, 2**31):
        raise ConfigError(f"{where}: {key} must be a whole number of at least {least}.")
    return None if value is None else int(value)
