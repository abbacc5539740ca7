"""Names of models in results, and the models that `--encoder` and `--target` refer to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import JOINT, Config
from onnxspace.inputs.nearest_names import describe_unknown, find_nearest
from onnxspace.storage.printable import escape_surrogates

#: The argument `encoder` of functions that take several models.
EncoderNames = str | Mapping[str, str | Sequence[str]] | Sequence[str] | None


def list_paths(files: Sequence[str | Path], kind: str = "models", such: str = "['a.onnx', 'b.onnx']") -> list[Path]:
    """The paths of several files, such as models. Raises ConfigError for a single one, whose letters would be taken for names."""
    if isinstance(files, str | Path):
        raise ConfigError(f"{files} is not a list of {kind}. Give a list of paths, such as {such}.")
    return [Path(path) for path in files]


def name_models(paths: Sequence[Path], config: Config) -> list[str]:
    """Return a unique name for each model file: its configured name, or the file's stem.

    Equal names are preceded by their folder, and numbered where they are still equal. A fingerprint with the name of a network
    keeps its suffix: `resnet50.fp` beside `resnet50`.
    """
    names = [
        _find_configured_name(path, config) or escape_surrogates(path.name if _is_factory(path) else path.stem)
        for path in paths
    ]
    networks = {name for path, name in zip(paths, names, strict=True) if not is_fingerprint(path)}
    names = [escape_surrogates(p.name) if is_fingerprint(p) and n in networks else n for p, n in zip(paths, names, strict=True)]
    twice = {name for name, count in Counter(names).items() if count > 1}
    names = [
        f"{escape_surrogates(p.parent.name)}/{n}" if n in twice and p.parent.name else n
        for p, n in zip(paths, names, strict=True)
    ]
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique


def _is_factory(path: Path) -> bool:
    """Whether this is a name such as `package.module:factory`, in which a dot does not start a suffix."""
    return ":" in path.name and path.suffix.lower() not in (".onnx", ".fp")


def is_fingerprint(path: Path) -> bool:
    """Whether the file's suffix is that of a fingerprint, `.fp`."""
    return path.suffix.lower() == ".fp"


def _find_configured_name(path: Path, config: Config) -> str | None:
    try:
        return config.options(path).name
    except ConfigError:
        return None  # a broken sidecar is reported when the model itself is opened


def encoders_for(paths: Sequence[Path], names: Sequence[str], wanted: Sequence[str]) -> list[str | None]:
    """Return the encoder that `--encoder` selects for each model (None: none), given the models' paths and names.

    Each value in `wanted` is `NAME` for all models or `model=NAME` for one, which takes precedence; several of either kind name
    several tensors that are explained together. Raises ConfigError for `model=NAME` where a model has nearly that name.
    """
    general: list[str] = []
    special: dict[int, list[str]] = {}
    for word in wanted:
        model, _, tensor = word.partition("=")
        rows = [i for i, (p, n) in enumerate(zip(paths, names, strict=True)) if model in {n, p.stem, p.name, str(p)}]
        if tensor and not rows and find_nearest(model, names):
            raise ConfigError(f"--encoder {word}: {describe_unknown('model', model, names)}")
        for row in rows if tensor else ():
            special.setdefault(row, []).append(tensor)
        general += [] if tensor and rows else [word]
    return [join_tensors(special.get(i, general)) for i in range(len(paths))]


def join_tensors(encoder: str | Sequence[str] | None) -> str | None:
    """Return the name of an encoder of one tensor or several, in the form in which encoders are printed; None for none.

    >>> join_tensors(["p3", "p4"])
    'p3 + p4'
    """
    return encoder if encoder is None or isinstance(encoder, str) else JOINT.join(encoder) or None


def find_target_name(target: str, paths: Sequence[Path], names: Sequence[str]) -> str:
    """Return the name of the model that `target` refers to by name or path. Raises ConfigError where there is none."""
    for path, name in zip(paths, names, strict=True):
        if target in (name, str(path)):
            return name
    raise ConfigError(f"--target: {describe_unknown('model', target, names)}")


def list_encoders(encoder: EncoderNames) -> list[str]:
    """Convert the argument `encoder` of Python functions to values of `--encoder`.

    It is a name, names that are explained together, either of them by model, or such values.

    >>> list_encoders({"resnet50": "pool", "yolo": ["p3", "p4"]})
    ['resnet50=pool', 'yolo=p3 + p4']
    """
    if encoder is None:
        return []
    if isinstance(encoder, Mapping):
        return [f"{model}={join_tensors(tensors)}" for model, tensors in encoder.items() if tensors]
    return [encoder] if isinstance(encoder, str) else list(encoder)
