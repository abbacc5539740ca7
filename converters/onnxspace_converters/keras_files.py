"""Check Keras files for code before Keras loads them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError
from onnxspace_converters.archives import list_members
from onnxspace_converters.files import describe_error, require_file

_CONFIG_BYTES = 64 * 2**20
_CODE = frozenset({"Lambda", "__lambda__", "function"})
#: Parts of Keras whose objects a configuration may name; others, such as its download helper, could be called.
_PARTS = frozenset({
    "activations", "applications", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics", "models",
    "optimizers", "random", "regularizers", "saving", "src",
})  # fmt: skip


def check_layers(path: Path, *, allow_code: bool) -> None:
    """Check the layers that a `.keras` or `.h5` file describes, without Keras.

    Raises ModelError for a damaged file, one without a network, and, unless `allow_code`, one whose layers are code or are of
    other packages.
    """
    config = _read_archive_config(path) if path.suffix.lower() == ".keras" else _read_hdf5_config(path)
    for found in _iterate_objects(config):
        _check_object(found, path, allow_code=allow_code)


def _read_archive_config(path: Path) -> Any:
    if "config.json" not in list_members(path, "Keras"):
        raise ModelError(f"{path} is not a Keras archive: it has no config.json. Save it again.")
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("config.json").file_size > _CONFIG_BYTES:
            raise ModelError(f"{path} has a configuration of more than {_CONFIG_BYTES:,} bytes. Save it again.")
        return _parse_json(archive.read("config.json"), path)


def _read_hdf5_config(path: Path) -> Any:
    import h5py

    require_file(path, "")
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except OSError as error:
        raise ModelError(
            f"{path} is not an HDF5 file, or is damaged ({describe_error(error)}). Save or copy it again."
        ) from error
    if config is None:
        raise ModelError(f"{path} contains weights only, and no network. Give it as --weights to PACKAGE.MODULE:FACTORY.")
    return _parse_json(config, path)


def _parse_json(text: str | bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} has a configuration that is not JSON ({describe_error(error)}). Save it again.") from error


def _iterate_objects(config: Any) -> Iterator[dict[str, Any]]:
    """All objects that a configuration describes, at any depth."""
    waiting = [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
        waiting.extend(found.values() if isinstance(found, dict) else found if isinstance(found, list) else ())


def _check_object(found: dict[str, Any], path: Path, *, allow_code: bool) -> None:
    kind, module = found.get("class_name"), found.get("module")
    if not isinstance(kind, str) or "config" not in found or allow_code:
        return
    name = found["config"].get("name") if isinstance(found["config"], dict) else None
    if kind in _CODE and not _is_keras_function(found):
        what = f"the Lambda layer {name!r}" if kind == "Lambda" and name else "a function"
        raise ModelError(f"{path} contains {what}, which is code. If you trust it, add --allow-code.")
    if isinstance(module, str) and not _is_keras_module(module):
        raise ModelError(f"{path} has a layer of another package ({module}.{kind}). {unknown_layer_advice(path)}")


def _is_keras_function(found: dict[str, Any]) -> bool:
    """Whether a function is one of Keras's own, referred to by name."""
    return found["class_name"] == "function" and isinstance(found["config"], str) and ">" not in found["config"]


def _is_keras_module(module: str) -> bool:
    root, _, rest = module.partition(".")
    return module in ("builtins", "keras") or (root == "keras" and rest.partition(".")[0] in _PARTS)


def unknown_layer_advice(path: Path) -> str:
    """Advice for a network with layers that Keras does not know."""
    return f"Write a function that builds it and loads {path.name}, and give that as PACKAGE.MODULE:FACTORY."
