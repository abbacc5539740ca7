"""Check Keras files for code before Keras loads them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from onnxspace.errors import ModelError
from onnxspace_converters.archives import list_members
from onnxspace_converters.files import describe_error, require_file
from onnxspace_converters.keras_objects import is_known_function, is_known_object

_CONFIG_BYTES = 64 * 2**20
_CODE = frozenset({"Lambda", "__lambda__", "function"})


def check_layers(path: Path, *, allow_code: bool) -> None:
    """Check the layers that a `.keras` or `.h5` file describes, without Keras.

    Raises ModelError for a damaged file, one without a network, and, unless `allow_code`, one with other layers than those that
    only compute.
    """
    config = _read_archive_config(path) if path.suffix.lower() == ".keras" else _read_hdf5_config(path)
    for found in _iterate_objects(config) if not allow_code else ():
        _check_object(found, path)


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


def _check_object(found: dict[str, Any], path: Path) -> None:
    kind, module, config = found.get("class_name"), found.get("module"), found.get("config")
    if not isinstance(kind, str) or "config" not in found:
        return
    if kind == "function" and is_known_function(config, module):
        return
    if kind in _CODE:
        name = config.get("name") if isinstance(config, dict) else None
        what = f"the Lambda layer {name!r}" if kind == "Lambda" and name else "a function"
        raise ModelError(f"{path} contains {what}, which is code. If you trust it, add --allow-code.")
    if isinstance(module, str) and module.partition(".")[0] not in ("keras", "builtins"):
        raise ModelError(f"{path} has a layer of another package ({module}.{kind}). {unknown_layer_advice(path)}")
    if not is_known_object(kind, module if isinstance(module, str) else None):
        raise ModelError(
            f"{path} has {kind[:60]!r} of {module or 'keras'}, which is none of the layers that only compute. If you trust it, add "
            "--allow-code."
        )


def check_weights(path: Path) -> None:
    """Check that stored weights lie in the file itself. Raises ModelError for a link to another file.

    `path` is a `.keras` archive or an HDF5 file.
    """
    import h5py

    try:
        with _open_weights(path) as stored, h5py.File(stored, "r") as file:
            _check_group(file, path)
    except OSError as error:
        raise ModelError(
            f"{path} has weights that are not HDF5, or are damaged ({describe_error(error)}). Save or copy it again."
        ) from error


@contextmanager
def _open_weights(path: Path) -> Iterator[IO[bytes]]:
    if path.suffix.lower() != ".keras":
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        name = next((name for name in archive.namelist() if name.endswith(".h5")), None)
        if name is None:
            raise ModelError(f"{path} has no weights as HDF5. Save it again.")
        yield BytesIO(archive.read(name))


def _check_group(file: Any, path: Path) -> None:
    """Look at every link and data set once, and follow none out of the file."""
    import h5py

    waiting, seen = [file], set[Any]()
    while waiting:
        group = waiting.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelError(f"{path} keeps weights outside its file ({name[:60]!r} is a link). Save it again.")
            inner = group[name]
            if isinstance(inner, h5py.Group) and inner.id not in seen:
                seen.add(inner.id)
                waiting.append(inner)
            elif isinstance(inner, h5py.Dataset) and (inner.external or inner.is_virtual):
                raise ModelError(f"{path} keeps weights outside its file ({name[:60]!r}). Save it again.")


def unknown_layer_advice(path: Path) -> str:
    """Advice for a network with layers that Keras does not know."""
    return f"Write a function that builds it and loads {path.name}, and give that as PACKAGE.MODULE:FACTORY."
