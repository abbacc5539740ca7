"""Routes by PyTorch's own exporters, and PyTorch modules as loaded networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from onnxspace.inputs.config import ModelOptions
from onnxspace_converters.loaded_network import Array, LoadedNetwork, Route
from onnxspace_converters.tidy import IMAGE

PACKAGES = ("torch", "onnx", "onnxscript")
#: Size of an open batch while tracing: a batch of one would become a constant in attention networks.
_OPEN_BATCH = 2


def adapt_module(
    module: torch.nn.Module, shape: tuple[int, ...], said: ModelOptions, *, packages: Sequence[str] = (),
    sha256: str | None = None, remarks: tuple[str, ...] = (), framework: str = "PyTorch",
) -> LoadedNetwork:  # fmt: skip
    """Adapt a module, in inference mode, on the CPU and in single precision, for images of `shape`."""
    module = module.cpu().eval()
    if any(tensor.dtype in (torch.float16, torch.bfloat16, torch.float64) for tensor in module.parameters()):
        module, remarks = module.float(), (*remarks, "its weights were converted to single precision")
    routes = [dynamo_route(module, shape), script_route(module, shape)]
    return LoadedNetwork(
        framework, (*packages, *PACKAGES), shape, lambda x: run_module(module, x), routes, said,
        layers=lambda x: module_outputs(module, x), sha256=sha256, remarks=remarks,
    )  # fmt: skip


def run_module(module: Any, images: Array) -> list[Array]:
    """Run a network on a batch, and return all its output tensors in the order of the exporters."""
    with torch.no_grad():
        return collect_arrays(module(torch.from_numpy(np.ascontiguousarray(images))))


def collect_arrays(found: Any) -> list[Array]:
    """The arrays in a network's output: a tensor, a tuple, a dictionary."""
    return [leaf.detach().cpu().numpy() for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]


def module_outputs(module: torch.nn.Module, images: Array) -> Iterator[tuple[str, Array]]:
    """The names and outputs of submodules for a batch, in the order of their calls."""
    seen: list[tuple[str, Array]] = []

    def note(name: str) -> Any:
        return lambda _module, _inputs, found: seen.extend((name, array.copy()) for array in collect_arrays(found)[:1])

    hooks = [part.register_forward_hook(note(name)) for name, part in module.named_modules() if name]
    try:
        run_module(module, images)
    finally:
        for hook in hooks:
            hook.remove()
    yield from seen


def dynamo_route(model: Any, shape: tuple[int, ...], name: str = "dynamo", batch: int | None = None) -> Route:
    """The route by `torch.export`; attention is exported as plain operators, which every opset has."""

    def export(opset: int, dynamic: bool) -> onnx.ModelProto:
        _clear_export_cache()
        example = torch.randn(_OPEN_BATCH if dynamic else batch or 1, *shape)
        axes = ({0: torch.export.Dim("batch")},) if dynamic else None
        with sdpa_kernel(SDPBackend.MATH):
            program = torch.onnx.export(model, (example,), dynamo=True, opset_version=opset, dynamic_shapes=axes, verbose=False)
        assert program is not None
        return program.model_proto

    return Route(name, export, range(18, 26), 18)


def program_route(program: torch.export.ExportedProgram) -> Route:
    """The route for an exported program, whose batch is fixed as it is."""

    def export(opset: int, _dynamic: bool) -> onnx.ModelProto:
        _clear_export_cache()
        made = torch.onnx.export(program, dynamo=True, opset_version=opset, verbose=False)
        assert made is not None
        return made.model_proto

    return Route("dynamo", export, range(18, 26), 18)


def script_route(model: Any, shape: tuple[int, ...]) -> Route:
    """The route by TorchScript, the only one below opset 18; attention needs opset 14."""

    def export(opset: int, dynamic: bool) -> onnx.ModelProto:
        example = torch.randn(_OPEN_BATCH if dynamic else 1, *shape)
        axes = {IMAGE: {0: "batch"}} if dynamic else None
        with sdpa_kernel(SDPBackend.MATH), TemporaryDirectory() as folder:
            path = Path(folder, "exported.onnx")
            torch.onnx.export(
                model, (example,), path, dynamo=False, opset_version=opset, input_names=[IMAGE], dynamic_axes=axes
            )
            return onnx.load(path)

    return Route("torchscript", export, range(9, 24), 17)


def retraced_route(model: Any, shape: tuple[int, ...]) -> Route:
    """The route for a TorchScript network that is traced to operators, and exported by `torch.export`."""

    def export(opset: int, dynamic: bool) -> onnx.ModelProto:
        from torch.fx.experimental.proxy_tensor import make_fx

        def run(x: torch.Tensor) -> Any:
            with _PlainOperators():  # type: ignore[no-untyped-call]
                return model(x)

        example = torch.randn(_OPEN_BATCH if dynamic else 1, *shape)
        with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            mode: Literal["symbolic", "real"] = "symbolic" if dynamic else "real"
            graph = make_fx(run, tracing_mode=mode, _allow_non_fake_inputs=True)(example)
        return dynamo_route(graph, shape).export(opset, dynamic)

    return Route("re-traced, dynamo", export, range(18, 26), 18)


class _PlainOperators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Replaces TorchScript's operators by ones that the exporter supports: sizes become numbers, convolutions the usual ones."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

        if func is torch.ops.aten._convolution.default:
            return torch.ops.aten.convolution.default(*args[:9])
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, torch.Tensor)]
        if all(tensor.dim() == 0 and not tensor.is_floating_point() for tensor in given):
            with disable_proxy_modes_tracing():
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _clear_export_cache() -> None:
    """Clear the exporter's cache, which an earlier attempt in this process would spoil."""
    with suppress(ImportError, AttributeError):
        from torch._subclasses.fake_tensor import FakeTensorMode

        FakeTensorMode.cache_clear()


def read_model_options(module: object) -> tuple[tuple[int, ...] | None, ModelOptions]:
    """The shape of images and the preprocessing that a module states, as those of timm do; None and empty where unknown."""
    known = getattr(module, "pretrained_cfg", None) or getattr(module, "default_cfg", None)
    if isinstance(known, Mapping) and known.get("input_size"):
        return tuple(known["input_size"]), options_from_timm(known)
    example = getattr(module, "example_input_array", None)
    return (tuple(example.shape[1:]) if isinstance(example, torch.Tensor) else None), ModelOptions()


def options_from_timm(known: Mapping[str, Any]) -> ModelOptions:
    """The options that timm's `pretrained_cfg` states."""
    channels, height, width = known["input_size"]
    numbers = {name: tuple(map(float, known[name])) for name in ("mean", "std") if known.get(name)}
    fitting: dict[str, Any] = {name: value for name, value in numbers.items() if len(value) in (1, channels)}
    return ModelOptions(
        size=(height, width), layout="NCHW", color="GREY" if channels == 1 else "RGB", scale=1 / 255,
        resize="squash" if known.get("crop_mode") == "squash" else "crop", **fitting,
    )  # fmt: skip
