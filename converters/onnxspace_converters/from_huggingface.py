"""Hugging Face: a local folder with ONNX files, or with a vision model's config and safetensors; `hf:ORG/NAME` from the hub."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxspace.errors import ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.nearest_names import find_nearest

if TYPE_CHECKING:
    import torch

    from onnxspace_converters.loaded_network import LoadedNetwork

_JSON_BYTES = 2**20
#: Names as the hub allows them, and models that its search is asked for.
_HUB_NAME, _MOST_FOUND = re.compile(r"([\w.-]{1,96}/)?[\w.-]{1,96}", re.ASCII), 100
_FILES = ("README.md", "*.json", "*.safetensors", "*.onnx", "onnx/*.onnx")
INSTALL = "pip install 'onnxspace[huggingface]'"


def accepts(source: Source) -> bool:
    """Whether this is `hf:ORG/NAME`, or a folder with ONNX files, or with a config and weights."""
    if source.scheme == "hf":
        return True
    folder = source.path
    if not source.exists or not folder.is_dir():
        return False
    held = {"*.safetensors", "*.bin", "preprocessor_config.json"} if (folder / "config.json").is_file() else set[str]()
    return any(any(folder.glob(pattern)) for pattern in held | {"onnx/*.onnx", "*.onnx"})


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert the model of a folder. Raises ModelError and its subclasses."""
    folder = _download(source) if source.scheme == "hf" else source.path
    files = sorted([*folder.glob("*.onnx"), *folder.glob("onnx/*.onnx")])
    if files:
        from onnxspace_converters.copy_model import copy_model

        return copy_model(_choose_file(files, folder), folder.name, destination, request, _read_options(folder))
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(folder, source, request), source.text, destination, request)


def _read_options(folder: Path) -> ModelOptions:
    """What the folder states of pixels, and the licence that its model card or configuration states."""
    from onnxspace.model.labels import read_labels

    word = read_labels(folder / "model.onnx", {}, "").license
    return replace(read_preprocessing(folder), license=word or None)


def _choose_file(files: list[Path], folder: Path) -> Path:
    """`model.onnx`, else the only file. Raises ModelError where there are several."""
    named = [file for file in files if file.name == "model.onnx"]
    if len(files) > 1 and not named:
        names = [file.relative_to(folder).as_posix() for file in files]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ModelError(
            f"{folder} contains several ONNX files ({', '.join(names[:3])}{more}). Give one of them, or their list ({folder}/*.onnx)."
        )
    return (named or files)[0]


def _download(source: Source) -> Path:
    if not _HUB_NAME.fullmatch(source.name):
        raise ModelError(f"{source.text} names no model of the hub. Write hf:ORG/NAME, such as hf:google/vit-base-patch16-224.")
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelError(f"{source.text} needs huggingface_hub, which is not installed. Install it with: {INSTALL}") from error
    from onnxspace_converters.files import describe_error

    try:
        return Path(huggingface_hub.snapshot_download(source.name, allow_patterns=list(_FILES)))
    except Exception as error:  # network, name, licence: the hub has several families of errors
        if type(error).__name__ == "RepositoryNotFoundError":
            raise ModelError(_describe_unknown_name(source, huggingface_hub)) from error
        raise ModelError(
            f"{source.text} can't be downloaded from the hub ({describe_error(error)[:200]}). Check the name and the network, "
            "or give a folder."
        ) from error


def _describe_unknown_name(source: Source, hub: Any) -> str:
    """The sentence for a name that the hub does not show, with the nearest names that its search finds."""
    organisation, _, name = source.name.rpartition("/")
    known: dict[str, str] = {}
    with suppress(Exception):  # the search is a service for the message alone
        word = re.split(r"[-_.]", name)[0]
        found = hub.list_models(author=organisation or None, search=word, limit=_MOST_FOUND)
        known = {one.id.rpartition("/")[2]: one.id for one in found}
    near = " or ".join(known[one] for one in find_nearest(name, known))
    meant = f"; did you mean {near}?" if near else "."
    return f"{source.text}: the hub shows no model of this name{meant} A private one needs `hf auth login`."


def load_network(folder: Path, source: Source, request: Request) -> LoadedNetwork:
    """Load the vision model of a folder, built by transformers from its config and safetensors. Raises ModelError."""
    config = read_json(folder / "config.json")
    _refuse_unsafe(folder, config, request)
    _architecture(config, folder)
    from onnxspace.torchgraph.onnx2torch import import_torchvision

    with suppress(ImportError):  # optional; but transformers fails on a broken torchvision
        import_torchvision()
    try:
        import transformers
    except ImportError as error:
        raise ModelError(f"{source.text} needs transformers, which is not installed. Install it with: {INSTALL}") from error
    from onnxspace_converters.files import hash_files
    from onnxspace_converters.torch_routes import adapt_module

    shape = request.input or _image_shape(config, folder, source)
    module = _build_module(transformers, config, folder, source, request)
    files = [*sorted(folder.glob("*.safetensors")), folder / "config.json"]
    options = ModelOptions(layout="NCHW", size=(shape[1], shape[2])).over(_read_options(folder))
    return adapt_module(
        _PixelNetwork.wrap(module),
        shape,
        options,
        packages=("transformers",),
        sha256=hash_files(files),
        framework="PyTorch (transformers)",
    )


def _refuse_unsafe(folder: Path, config: Mapping[str, Any], request: Request) -> None:
    if config.get("auto_map") and not request.allow_code:
        raise ModelError(f"{folder} contains code ({_join_values(config['auto_map'])}). If you trust it, add --allow-code.")
    if not any(folder.glob("*.safetensors")) and request.random_weights is None:
        raise ModelError(f"{folder} has no weights as .safetensors. Download them; pickled ones (.bin) are not read.")


def _join_values(value: object) -> str:
    return ", ".join(map(str, value.values())) if isinstance(value, Mapping) else str(value)


def _build_module(
    transformers: Any, config: Mapping[str, Any], folder: Path, source: Source, request: Request
) -> torch.nn.Module:
    from onnxspace_converters.files import describe_error

    name = _architecture(config, folder)
    kind = getattr(transformers, name, None)
    if not _is_network(transformers, kind) and not request.allow_code:
        raise ModelError(f"{source.text}: transformers {transformers.__version__} has no network {name}. Update transformers.")
    trusted = request.allow_code
    try:
        if request.random_weights is not None:
            return _build_random(transformers, kind, folder, request.random_weights)
        module: torch.nn.Module = (kind or transformers.AutoModel).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=trusted, attn_implementation="eager"
        )
    except Exception as error:  # config, weights and versions may not match
        raise ModelError(
            f"{source.text} can't be loaded by transformers ({describe_error(error)}). Download the folder again."
        ) from error
    return module


def _architecture(config: Mapping[str, Any], folder: Path) -> str:
    """The name of the network's class, `AutoModel` where the configuration has none. Raises ModelError for anything but a name."""
    stated = config.get("architectures") or ["AutoModel"]
    name = stated[0] if isinstance(stated, list) else None
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise ModelError(
            f"{folder / 'config.json'} does not name its network in `architectures` ({str(stated)[:80]}). Download it again."
        )
    return name


def _is_network(transformers: Any, kind: object) -> bool:
    """Whether a member of transformers is a class of networks, or one that selects among them."""
    return isinstance(kind, type) and (kind is transformers.AutoModel or issubclass(kind, transformers.PreTrainedModel))


def _build_random(transformers: Any, kind: Any, folder: Path, seed: int) -> torch.nn.Module:
    import torch

    torch.manual_seed(seed)
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, attn_implementation="eager")
    made: torch.nn.Module = kind(config)
    return made


class _PixelNetwork:
    """A transformers model as a network from pixels to its main output."""

    @staticmethod
    def wrap(module: torch.nn.Module) -> torch.nn.Module:
        import torch

        class Pixels(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = module

            def forward(self, pixels: torch.Tensor) -> torch.Tensor:
                found = self.model(pixel_values=pixels)
                first = getattr(found, "logits", None)
                made: torch.Tensor = first if isinstance(first, torch.Tensor) else found[0]
                return made

        return Pixels()


def _image_shape(config: Mapping[str, Any], folder: Path, source: Source) -> tuple[int, ...]:
    vision = config.get("vision_config") if isinstance(config.get("vision_config"), Mapping) else config
    side = (vision or {}).get("image_size")
    size = tuple(side) if isinstance(side, list) and len(side) == 2 else (side, side) if isinstance(side, int) else None
    size = size or read_preprocessing(folder).size
    if size is None or not all(isinstance(n, int) and 1 <= n <= 8192 for n in size):
        raise ModelError(f"{source.text} does not state the size of its images. Give it as --input, such as --input 3x224x224.")
    channels = (vision or {}).get("num_channels", 3)
    return (channels if isinstance(channels, int) else 3, *size)


def read_preprocessing(folder: Path) -> ModelOptions:
    """The options that `preprocessor_config.json` of a folder states; empty where there is no such file."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return ModelOptions()
    values = read_json(path)
    size = _image_size(values.get("crop_size") if values.get("do_center_crop") else values.get("size"))
    factor = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    if not _is_number(factor):
        raise ModelError(f"{path} states a rescale_factor that is not a number ({str(factor)[:80]}). Download it again.")
    plain = not values.get("do_normalize", True)
    mean, std = ((0.0,), (1.0,)) if plain else (_numbers(values, "image_mean", 0.0), _numbers(values, "image_std", 1.0))
    return ModelOptions(
        size=size, layout="NCHW", color="BGR" if values.get("do_flip_channel_order") else "RGB", scale=float(factor), mean=mean,
        std=std,
        resize="crop" if values.get("do_center_crop") else "squash",
    )  # fmt: skip


def _image_size(values: object) -> tuple[int, int] | None:
    """Height and width in any of the forms they are written in."""
    if isinstance(values, Mapping):
        pair = values.get("height", values.get("shortest_edge")), values.get("width", values.get("shortest_edge"))
    else:
        pair = values, values
    high, wide = pair
    return (
        (high, wide)
        if isinstance(high, int) and isinstance(wide, int) and min(high, wide) >= 1 and max(high, wide) <= 8192
        else None
    )


def _numbers(config: Mapping[str, Any], name: str, usual: float) -> tuple[float, ...]:
    found = config.get(name)
    values = tuple(float(value) for value in found) if isinstance(found, list) and all(map(_is_number, found)) else ()
    return values if len(values) in (1, 3) else (usual,)


def _is_number(value: object) -> bool:
    """Whether a value of JSON is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a small file. Raises ModelError."""
    try:
        if path.stat().st_size > _JSON_BYTES:
            raise ModelError(f"{path} is too large for a configuration. Download it again.")
        found = json.loads(path.read_bytes())
    except ModelError:  # a ModelError is a ValueError too
        raise
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing. Download the whole folder.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a JSON file. Download it again.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} does not contain a JSON object. Download it again.")
    return found


HUGGINGFACE = Exporter(
    "huggingface", accepts, export, "a Hugging Face folder, hf:ORG/NAME", ("torch", "onnxscript"), INSTALL
)  # fmt: skip
