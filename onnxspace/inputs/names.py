"""Names for models: short, unique, and the same whatever else is compared in the same order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config


def model_names(paths: Sequence[Path], config: Config) -> list[str]:
    """The configured name or the file's stem; with its folder where two are equal; numbered where that is not enough.

    A fingerprint that has the name of a network keeps its suffix: `resnet50.fp` beside `resnet50`.
    """
    names = [_configured(path, config) or _text(path.name if _is_no_file(path) else path.stem) for path in paths]
    networks = {name for path, name in zip(paths, names, strict=True) if not is_print(path)}
    names = [_text(p.name) if is_print(p) and n in networks else n for p, n in zip(paths, names, strict=True)]
    twice = {name for name, count in Counter(names).items() if count > 1}
    names = [f"{_text(p.parent.name)}/{n}" if n in twice and p.parent.name else n for p, n in zip(paths, names, strict=True)]
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique


def _is_no_file(path: Path) -> bool:
    """Whether this is `package.module:factory` or the like, in which a dot begins no suffix."""
    return ":" in path.name and path.suffix.lower() not in (".onnx", ".fp")


def is_print(path: Path) -> bool:
    """Whether a file is a fingerprint, by its name."""
    return path.suffix.lower() == ".fp"


def _text(name: str) -> str:
    """A file name's bytes that are no text become `\\udcff` and the like, so that the name can be printed and drawn."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _configured(path: Path, config: Config) -> str | None:
    try:
        return config.options(path).name
    except ConfigError:
        return None  # a broken sidecar is reported when the model itself is opened


def encoders_for(paths: Sequence[Path], names: Sequence[str], wanted: Sequence[str]) -> list[str | None]:
    """What `--encoder` says of each model: `NAME` for all, `model=NAME` for one; the last word wins."""
    general: str | None = None
    special: dict[int, str] = {}
    for word in wanted:
        model, _, tensor = word.partition("=")
        rows = [i for i, (p, n) in enumerate(zip(paths, names, strict=True)) if model in {n, p.stem, p.name, str(p)}]
        if tensor and rows:
            special |= dict.fromkeys(rows, tensor)
        else:
            general = word
    return [special.get(i, general) for i in range(len(paths))]


def target_name(target: str, paths: Sequence[Path], names: Sequence[str]) -> str:
    """The name of the model that a user calls `target`, by name or path. Raises ConfigError for one that is not there."""
    for path, name in zip(paths, names, strict=True):
        if target in (name, str(path)):
            return name
    raise ConfigError(f"--target {target!r} is none of the models; there are {', '.join(names)}.")


def encoder_words(encoder: str | Mapping[str, str] | Sequence[str] | None) -> list[str]:
    """The Python forms of the same wish as the words above: a name for all, one per model, or the words themselves."""
    if encoder is None:
        return []
    if isinstance(encoder, Mapping):
        return [f"{model}={tensor}" for model, tensor in encoder.items()]
    return [encoder] if isinstance(encoder, str) else list(encoder)
