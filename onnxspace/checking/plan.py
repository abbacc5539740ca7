"""What is to be checked: from the command line, or from `[check]` of a configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxspace.checking.verdict import COPY, limits_for
from onnxspace.errors import ConfigError
from onnxspace.inputs.methods import METHODS, Method

BASELINES = "baselines"
_KEYS = {"method", "probe", "images", "seed", "baselines", "limits", "artifacts"}
_ARTIFACT = {"model", "against", "limits", "distinct", "encoder", "probe"}


@dataclass(frozen=True)
class Artifact:
    """One file to be checked. `distinct` is the affinity below which it must stay, None where it must be the same.

    `probe` is a folder of photos for this one alone.
    """

    name: str
    path: Path
    against: str
    limits: Mapping[str, float]
    distinct: float | None = None
    encoder: str | None = None
    probe: str | None = None


@dataclass(frozen=True)
class CheckPlan:
    """What is checked, and on which images. None: what the baselines were made with, else the defaults."""

    artifacts: tuple[Artifact, ...]
    method: Method | None = None
    probe: str | None = None
    images: int | None = None
    seed: int = 0
    limits: Mapping[str, float | None] = field(default_factory=dict)


def find_plan(config: str | None) -> tuple[CheckPlan, Path | None]:
    """The plan of the file that was named, else of `onnxspace.toml` or `pyproject.toml` of the current folder, and that file.

    Raises ConfigError where none of them has one.
    """
    for path in [Path(config)] if config else [Path("onnxspace.toml"), Path("pyproject.toml")]:
        if not config and not path.is_file():
            continue
        if (table := _table(path)) is not None:
            return plan_from(table, path), (path if path.name != "pyproject.toml" else None)
    raise ConfigError(
        "Nothing says what to check: give a model and --against, or write [check] into onnxspace.toml, or [tool.onnxspace.check] "
        "into pyproject.toml."
    )


def _table(path: Path) -> Mapping[str, Any] | None:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} can't be read as TOML ({error}). Correct it.") from error
    found = content.get("tool", {}).get("onnxspace", {}) if path.name == "pyproject.toml" else content
    table = found.get("check") if isinstance(found, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path}: check must be a table.")
    return table


def plan_from(table: Mapping[str, Any], path: Path) -> CheckPlan:
    """From the table `check` of a file; paths start from the file's folder. Raises ConfigError naming the key."""
    where = f"{path} [check]"
    _refuse_unknown(where, table, _KEYS)
    home, given = path.parent, _limits(where, table.get("limits", {}))
    artifacts = table.get("artifacts", {})
    if not isinstance(artifacts, dict) or not artifacts:
        raise ConfigError(f'{where} names no artifacts. Write [check.artifacts.NAME] with model = "model.onnx".')
    folder = home / _text(where, "baselines", table.get("baselines", BASELINES))
    made = tuple(_artifact(where, name, told, home, folder, given) for name, told in artifacts.items())
    method = table.get("method")
    if method is not None and method not in METHODS:
        raise ConfigError(f"{where}: method is {method!r} but must be one of {', '.join(METHODS)}.")
    probe = None if "probe" not in table else str(home / _text(where, "probe", table["probe"]))
    images, seed = _whole(where, "images", table.get("images")), _whole(where, "seed", table.get("seed", 0), 0)
    return CheckPlan(made, method, probe, images, seed or 0, given)


def _artifact(where: str, name: str, told: Any, home: Path, folder: Path, given: Mapping[str, float | None]) -> Artifact:
    here = f"{where[:-1]}.artifacts.{name}]"
    if not isinstance(told, dict) or "model" not in told:
        raise ConfigError(f'{here} must be a table with model = "model.onnx".')
    _refuse_unknown(here, told, _ARTIFACT)
    model = home / _text(here, "model", told["model"])
    base = str(home / _text(here, "against", told["against"])) if "against" in told else str(folder / f"{name}.fp")
    limits = limits_for({**given, **_limits(here, told.get("limits", {}))})
    encoder = None if "encoder" not in told else _text(here, "encoder", told["encoder"])
    probe = None if "probe" not in told else str(home / _text(here, "probe", told["probe"]))
    return Artifact(name, model, base, limits, _distinct(here, told.get("distinct", False)), encoder, probe)


def single(
    paths: Sequence[str], base: str, limits: Mapping[str, float | None], distinct: bool | float, encoder: str | None
) -> tuple[Artifact, ...]:
    """Artifacts of the command line, all against one baseline."""
    made = limits_for(limits)
    return tuple(
        Artifact(Path(path).stem, Path(path), base, made, _distinct("--distinct", distinct), encoder) for path in paths
    )


def _distinct(where: str, told: Any) -> float | None:
    if isinstance(told, bool):
        return COPY if told else None
    if not isinstance(told, int | float) or not 0 < told <= 1:
        raise ConfigError(f"{where}: distinct must be true, or the affinity to stay below, above 0 and at most 1.")
    return float(told)


def _limits(where: str, told: Any) -> dict[str, float | None]:
    if not isinstance(told, dict):
        raise ConfigError(f"{where}: limits must be a table such as {{affinity = 0.99}}.")
    found = {key: None if value is False else value for key, value in told.items()}
    limits_for(found)
    return found


def _refuse_unknown(where: str, table: Mapping[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}. Use one of: {', '.join(sorted(known))}.")


def _text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: {key} must be text in quotes.")
    return value


def _whole(where: str, key: str, value: Any, least: int = 1) -> int | None:
    if value is not None and (type(value) is not int or not least <= value <= 2**31):
        raise ConfigError(f"{where}: {key} must be a whole number from {least} on.")
    return value
