"""Tell PyTorch's files apart by their archive, and read them without running code in them."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch

from onnxspace.errors import ModelError
from onnxspace_converters.files import describe_error, require_file
from onnxspace_converters.pickle_guard import PickleError, forbid_pickle
from onnxspace_converters.program_files import check_program
from onnxspace_converters.script_files import check_operators, check_script

Kind = Literal["program", "script", "pickle"]
_WRAPPED = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema", "module", "net")
_CONFIG_BYTES = 64 * 2**20
_AGAIN = "Export or copy it again."


def kind_of(path: Path) -> Kind:
    """The kind of a PyTorch file: an exported program, a TorchScript network, or a plain pickle.

    Raises ModelError for an archive that is damaged, or would expand to far more than its own size.
    """
    require_file(path, "")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = file.read(2)
        if start[:1] == b"\x80":  # the first byte of every pickle since protocol 2
            return "pickle"
        raise ModelError(f"{path} is not a PyTorch archive, or is truncated. {_AGAIN}")
    names = _member_names(path)
    inner = {name.partition("/")[2] for name in names} | names
    if any(name.startswith(("models/", "serialized_exported_program")) and name.endswith(".json") for name in inner):
        return "program"
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "script"
    if "data.pkl" in inner:
        return "pickle"
    raise ModelError(f"{path} is an archive, but not one of PyTorch. {_AGAIN}")


def _member_names(path: Path) -> set[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            if not archive.infolist() or min(entry.header_offset for entry in archive.infolist()) > 0:
                raise ModelError(f"{path} is a truncated archive. {_AGAIN}")  # zipfile found an archive inside it
            if len(set(archive.namelist())) < len(archive.infolist()):
                raise ModelError(f"{path} is a damaged archive: two of its members have the same name. {_AGAIN}")
            size = sum(entry.file_size for entry in archive.infolist())
            if size > 4 * path.stat().st_size + _CONFIG_BYTES:
                raise ModelError(f"{path} would expand to {size:,} bytes. {_AGAIN}")
            if (damaged := archive.testzip()) is not None:
                raise ModelError(f"{path} is damaged: the checksum of {damaged!r} is wrong. {_AGAIN}")
            return set(archive.namelist())
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path} is a damaged archive ({describe_error(error)}). {_AGAIN}") from error


@contextmanager
def _restrict_unpickling() -> Iterator[None]:
    """Force Torch to use its restricted reader, even where its own code asks for the other."""
    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with forbid_pickle():
            yield
    finally:
        if before is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def read_program(
    path: Path, *, trusted: bool, allow_code: bool = False
) -> tuple[torch.export.ExportedProgram, torch.nn.Module]:
    """Read an exported program: itself, and the module that it is run by.

    Raises ModelError for a damaged one, and, unless `trusted`, for one with pickled objects, and, unless `trusted` or
    `allow_code`, for one with text that Torch would run as code.
    """
    if not trusted and (pickled := _find_pickle(path)):
        raise ModelError(f"{path} contains pickled objects ({pickled}), which can run any code. {_trust_advice(path)}")
    if not (trusted or allow_code):
        check_program(path)
    try:
        with nullcontext() if trusted else _restrict_unpickling():
            program = torch.export.load(path)
            return program, program.module()
    except PickleError as error:
        raise ModelError(f"{path}: {describe_error(error)}. {_trust_advice(path)}") from error
    except Exception as error:  # the reader may raise anything for a damaged archive
        raise ModelError(f"{path} can't be read as an exported program ({describe_error(error)}). {_AGAIN}") from error


def _trust_advice(path: Path) -> str:
    return f"If you trust it, add --allow-pickle {path}."


def _find_pickle(path: Path) -> str:
    """A member of the archive that Torch would unpickle; empty where there is none."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            base = entry.filename.rpartition("/")[2]
            if base.startswith("custom_obj_"):
                return base
            if base.endswith("_config.json") and entry.file_size <= _CONFIG_BYTES and _uses_pickle(archive.read(entry)):
                return base
    return ""


def _uses_pickle(content: bytes) -> bool:
    try:
        config = json.loads(content).get("config", {})
        return any(
            bool(item.get("use_pickle")) and not item.get("path_name", "").startswith("tensor_") for item in config.values()
        )
    except (ValueError, AttributeError, RecursionError):
        return False  # invalid, which Torch's reader refuses itself


def read_script(path: Path, *, allow_code: bool = False) -> torch.jit.ScriptModule:
    """Read a TorchScript network. Raises ModelError, unless `allow_code` also for one that does more than compute tensors."""
    if not allow_code:
        check_script(path)
    library: Any = torch._C
    try:
        with forbid_pickle():
            functions = library.CompilationUnit()
            read = library.import_ir_module(functions, str(path), torch.device("cpu"), {}, False)
            module: torch.jit.ScriptModule = torch.jit._recursive.wrap_cpp_module(read)  # type: ignore[no-untyped-call]
        if not allow_code:
            check_operators(functions.get_functions(), path)
        return module.eval()
    except PickleError as error:
        raise ModelError(f"{path}: {describe_error(error)}. {_AGAIN}") from error
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path} can't be read as a TorchScript network ({describe_error(error)}). {_AGAIN}") from error


def read_pickle(path: Path, *, trusted: bool) -> torch.nn.Module:
    """Read a pickled network, if `trusted`. Raises ModelError otherwise, with what to do instead."""
    if trusted:
        return _unpickle(path)
    try:
        with _restrict_unpickling():
            held = torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # it contains more than tensors in plain containers
        raise ModelError(
            f"{path} is a pickled network, and reading it runs any code in it. Save it with torch.export.save as .pt2, give "
            f"its weights to PACKAGE.MODULE:FACTORY with --weights, or, if you trust it, add --allow-pickle {path}."
        ) from None
    what = f"weights only ({len(held)} entries)" if isinstance(held, Mapping) else f"a {type(held).__name__}"
    raise ModelError(
        f"{path} contains {what}, and no network. Name the code that builds it: PACKAGE.MODULE:FACTORY --weights {path}."
    )


def _unpickle(path: Path) -> torch.nn.Module:
    try:
        made = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # it runs the file's own code
        raise ModelError(
            f"{path} can't be unpickled ({describe_error(error)}). Run this where its classes can be imported."
        ) from error
    if not isinstance(made, torch.nn.Module):
        raise ModelError(
            f"{path} contains a {type(made).__name__}, not a network. Name the code that builds it, with --weights."
        )
    return made


def read_weights(path: Path, *, trusted: bool) -> dict[str, torch.Tensor]:
    """Read tensors by name from safetensors, or from a checkpoint that contains only tensors, unless it is `trusted`.

    Raises ModelError for any other file.
    """
    require_file(path, "--weights")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    try:
        if trusted:
            return _find_state_dict(torch.load(path, map_location="cpu", weights_only=False), path)
        with _restrict_unpickling():
            return _find_state_dict(torch.load(path, map_location="cpu", weights_only=True), path)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path} is not a checkpoint of tensors only ({describe_error(error)[:160]}). Save its state_dict alone, or as "
            f"safetensors; if you trust it, add --allow-pickle {path}."
        ) from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ModelError(
            f"{path} needs safetensors, which is not installed. Install it with: pip install safetensors"
        ) from error
    try:
        return load_file(path)
    except Exception as error:  # the reader has exceptions of its own
        raise ModelError(f"{path} can't be read as safetensors ({describe_error(error)}). Copy it again.") from error


def _find_state_dict(held: Any, path: Path) -> dict[str, torch.Tensor]:
    """The table of tensors in a checkpoint, at the top or under a usual key."""
    for _ in range(2):
        if isinstance(held, Mapping) and held and all(isinstance(value, torch.Tensor) for value in held.values()):
            return {str(name).removeprefix("module."): value for name, value in held.items()}
        inner = [held[name] for name in _WRAPPED if isinstance(held, Mapping) and isinstance(held.get(name), Mapping)]
        held = inner[0] if inner else held
    raise ModelError(f"{path} does not contain a table of tensors. Save the network's state_dict.")


def load_weights(module: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, source: str) -> None:
    """Load `state`, read from `path`, into a network. Raises ModelError naming the first tensor that does not match."""
    own = module.state_dict()
    lacking = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    strange = [name for name in state if name not in own]
    unlike = [name for name, value in state.items() if name in own and value.shape != own[name].shape]
    for names, what in ((lacking, "lacks"), (strange, "has, unlike the network,"), (unlike, "has in another shape")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelError(f"{path} does not fit {source}: it {what} {names[0]}{more}. Give the weights of this network.")
    module.load_state_dict(dict(state), strict=False)
