"""torchvision networks by name, as `torchvision:resnet50`, with weights that are cached locally, from a file, or random."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxspace.errors import ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace_converters.from_timm import missing_weights_message, random_weights_remark

if TYPE_CHECKING:
    import torch

    from onnxspace_converters.loaded_network import LoadedNetwork


def accepts(source: Source) -> bool:
    """Whether this is `torchvision:NAME`."""
    return source.scheme == "torchvision"


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a torchvision network. Raises ModelError for an unknown name, or weights that are not cached locally."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(source, request), source.text, destination, request)


def load_network(source: Source, request: Request) -> LoadedNetwork:
    """Load the network of that name. Raises ModelError."""
    import torch

    from onnxspace.torchgraph.onnx2torch import import_torchvision
    from onnxspace_converters.from_torch import Origin, network_from_module

    import_torchvision()
    from torchvision import models

    if source.name not in models.list_models():
        unknown = describe_unknown("network", source.name, models.list_models(), listed=False)
        raise ModelError(f"{source.text}: {unknown} torchvision.models.list_models() gives all.")
    best = getattr(models.get_model_weights(source.name), "DEFAULT", None)
    torch.manual_seed(request.random_weights or 0)
    try:
        module = models.get_model(source.name, weights=None, **request.arguments)
    except TypeError as error:
        raise ModelError(f"{source.text} can't be built ({error}). Correct --arg.") from error
    remarks, files = random_weights_remark(request), tuple[Path, ...]()
    if request.weights is None and request.random_weights is None:
        files = (_load_trained_weights(module, best, source),)
    options, shape = _image_options(best)
    origin = Origin("PyTorch (torchvision)", ("torchvision",), options, shape, files, remarks)
    return network_from_module(module, source, request, origin)


def _load_trained_weights(module: torch.nn.Module, best: Any, source: Source) -> Path:
    """Load the weights from Torch's folder of downloads, and return their file."""
    import torch

    from onnxspace_converters.torch_files import load_weights, read_weights

    path = Path(torch.hub.get_dir(), "checkpoints", str(getattr(best, "url", "")).rpartition("/")[2] or "none")
    if not path.is_file():
        raise ModelError(missing_weights_message(source))
    load_weights(module, read_weights(path, trusted=False), path, source.text)
    return path


def _image_options(best: Any) -> tuple[ModelOptions | None, tuple[int, ...] | None]:
    """Preprocessing and shape of images, as for the best trained weights of this architecture."""
    made = None if best is None else best.transforms()
    crop = getattr(made, "crop_size", None)
    if made is None or not crop or not getattr(made, "mean", None):
        return None, None
    side = int(crop[0])
    options = ModelOptions(
        size=(side, side), layout="NCHW", color="RGB", scale=1 / 255, mean=tuple(map(float, made.mean)),
        std=tuple(map(float, made.std)), resize="crop",
    )  # fmt: skip
    return options, (3, side, side)


TORCHVISION = Exporter(
    "torchvision", accepts, export, "torchvision:NAME", ("torchvision", "torch", "onnxscript"),
    "pip install torchvision",
)  # fmt: skip
