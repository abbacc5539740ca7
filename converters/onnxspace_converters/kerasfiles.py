"""Files of Keras, looked into before Keras loads them: their layers, and whether they bring code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError
from onnxspace_converters.archives import members
from onnxspace_converters.words import reason, there

_CONFIG_BYTES = 64 * 2**20
_CODE = frozenset({"Lambda", "__lambda__", "function"})
#: Parts of Keras whose objects a configuration may name; others, such as its download helper, are functions to be called.
_PARTS = frozenset({
    "activations", "applications", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics", "models",
    "optimizers", "random", "regularizers", "saving", "src",
})  # fmt: skip


def look(path: Path, *, allow_code: bool) -> None:
    """Read what a `.keras` or `.h5` file says of its layers, without Keras.

    Raises ModelError for a damaged file, one without a network, and one whose layers are code or are of other packages.
    """
    config = _archived(path) if path.suffix.lower() == ".keras" else _stored(path)
    for found in _objects(config):
        _one(found, path, allow_code=allow_code)


def _archived(path: Path) -> Any:
    if "config.json" not in members(path, "Keras"):
        raise ModelError(f"{path} is an archive, but none of Keras: it has no config.json. Save it again.")
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("config.json").file_size > _CONFIG_BYTES:
            raise ModelError(f"{path} describes its layers in more than {_CONFIG_BYTES:,} bytes. Save it again.")
        return _parsed(archive.read("config.json"), path)


def _stored(path: Path) -> Any:
    import h5py

    there(path, "")
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except OSError as error:
        raise ModelError(f"{path} is no HDF5 file, or a damaged one ({reason(error)}). Save or copy it again.") from error
    if config is None:
        raise ModelError(f"{path} holds weights alone, and no network. Give them as --weights to PACKAGE.MODULE:FACTORY.")
    return _parsed(config, path)


def _parsed(text: str | bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} describes its layers in no JSON ({reason(error)}). Save it again.") from error


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every object that a configuration describes, however deep."""
    waiting = [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
        waiting.extend(found.values() if isinstance(found, dict) else found if isinstance(found, list) else ())


def _one(found: dict[str, Any], path: Path, *, allow_code: bool) -> None:
    kind, module = found.get("class_name"), found.get("module")
    if not isinstance(kind, str) or "config" not in found or allow_code:
        return
    name = found["config"].get("name") if isinstance(found["config"], dict) else None
    if kind in _CODE and not _own_function(found):
        what = f"the Lambda layer {name!r}" if kind == "Lambda" and name else "a function"
        raise ModelError(f"{path} holds {what}, which is code. If you trust it, add --allow-code.")
    if isinstance(module, str) and not _of_keras(module):
        raise ModelError(f"{path} has a layer of another package ({module}.{kind}). {other_layers(path)}")


def _own_function(found: dict[str, Any]) -> bool:
    """Whether a function is one that Keras knows by name."""
    return found["class_name"] == "function" and isinstance(found["config"], str) and ">" not in found["config"]


def _of_keras(module: str) -> bool:
    root, _, rest = module.partition(".")
    return module in ("builtins", "keras") or (root == "keras" and rest.partition(".")[0] in _PARTS)


def other_layers(path: Path) -> str:
    """The way out for a network with layers that Keras does not know."""
    return f"Write a function that builds it and loads {path.name}, and give that as PACKAGE.MODULE:FACTORY."
