"""timm networks by name, as `timm:resnet18`, with weights that are cached locally, from a file, or random."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxspace.errors import ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source
from onnxspace.inputs.nearest_names import describe_unknown

if TYPE_CHECKING:
    from onnxspace_converters.loaded_network import LoadedNetwork


def accepts(source: Source) -> bool:
    """Whether this is `timm:NAME`."""
    return source.scheme == "timm"


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a timm network. Raises ModelError for an unknown name, or weights that are not cached locally."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(source, request), source.text, destination, request)


def load_network(source: Source, request: Request) -> LoadedNetwork:
    """Load the network of that name. Raises ModelError."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is imported: use cached weights, download none
    import torch

    from onnxspace.torchgraph.onnx2torch import import_torchvision

    import_torchvision()
    import timm

    from onnxspace_converters.from_torch import Origin, network_from_module

    if not timm.is_model(source.name):
        unknown = describe_unknown("network", source.name.partition(".")[0], timm.list_models(), listed=False)
        raise ModelError(f"{source.text}: {unknown} timm.list_models() gives all.")
    own = request.weights is None and request.random_weights is None
    torch.manual_seed(request.random_weights or 0)
    try:
        module = timm.create_model(source.name, pretrained=own, **request.arguments)
    except TypeError as error:
        raise ModelError(f"{source.text} can't be built ({error}). Correct --arg.") from error
    except Exception as error:
        if not own:
            raise
        raise ModelError(missing_weights_message(source)) from error
    origin = Origin("PyTorch (timm)", ("timm",), remarks=random_weights_remark(request))
    loaded = network_from_module(module, source, request, origin)
    return replace(loaded, said=replace(loaded.said, license=_find_license(module) if own else None))


def _find_license(module: object) -> str | None:
    """The licence of trained weights, which timm's configuration states."""
    config = getattr(module, "pretrained_cfg", None)
    word = config.get("license") if isinstance(config, dict) else None
    return word if isinstance(word, str) and 0 < len(word) <= 200 else None


def missing_weights_message(source: Source) -> str:
    """The error message for a network whose trained weights are not cached locally."""
    return (
        f"The trained weights of {source.text} are not on this machine. Download them once with {source.scheme}, give a file "
        "as --weights, or use random ones with --random-weights SEED."
    )


def random_weights_remark(request: Request) -> tuple[str, ...]:
    """The remark on random weights, if they are random."""
    drawn = request.random_weights is not None and request.weights is None
    return (f"its weights are random (seed {request.random_weights})",) if drawn else ()


TIMM = Exporter("timm", accepts, export, "timm:NAME", ("timm", "torch", "onnxscript"), "pip install 'onnxspace[timm]'")
