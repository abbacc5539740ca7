"""PyTorch: callables that build a network, exported programs (.pt2), TorchScript files (.pt), and pickles if allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxspace.errors import ConfigError, ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source
from onnxspace.inputs.config import ModelOptions

if TYPE_CHECKING:
    import torch

    from onnxspace_converters.loaded_network import Array, LoadedNetwork

_SUFFIXES = frozenset({".pt2", ".pt", ".pth", ".ts", ".torchscript", ".ckpt", ".bin"})


def accepts(source: Source) -> bool:
    """Whether this is a file with a suffix of PyTorch."""
    return source.path.suffix.lower() in _SUFFIXES and not source.is_callable and not source.path.is_dir()


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a PyTorch network. Raises ModelError and its subclasses."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(source, request), source.text, destination, request)


def load_network(source: Source, request: Request) -> LoadedNetwork:
    """Load the network of a source. Raises ModelError, ConfigError."""
    if source.made is not None:
        return _network_from_callable(source, request)
    from onnxspace_converters.torch_files import kind_of, read_pickle, read_program, read_script

    kind, trusted = kind_of(source.path), is_trusted(request, source.path)
    if kind == "program":
        program, module = read_program(source.path, trusted=trusted, allow_code=request.allow_code)
        return _network_from_program(program, module, source, request)
    if kind == "script":
        return _network_from_script(read_script(source.path, allow_code=request.allow_code), source, request)
    return network_from_module(read_pickle(source.path, trusted=trusted), source, request, Origin(files=(source.path,)))


def is_trusted(request: Request, path: Path) -> bool:
    """Whether the user allowed this very file to be unpickled."""
    if request.allow_pickle is None:
        return False
    allowed = Path(request.allow_pickle)
    return allowed.exists() and path.exists() and allowed.samefile(path)


def _network_from_callable(source: Source, request: Request) -> LoadedNetwork:
    import torch

    if not isinstance(source.made, torch.nn.Module):
        kind = type(source.made)
        raise ModelError(f"{source.text} returns a {kind.__module__}.{kind.__qualname__}, not a torch.nn.Module.")
    remarks = () if request.weights or request.random_weights is not None else ("its weights are those that its code set",)
    return network_from_module(source.made, source, request, Origin(remarks=remarks))


@dataclass(frozen=True)
class Origin:
    """Where a module came from: the options `said` and image `shape` that are stated there, `packages`, `remarks`, `files`."""

    framework: str = "PyTorch"
    packages: tuple[str, ...] = ()
    said: ModelOptions | None = None
    shape: tuple[int, ...] | None = None
    files: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()


def network_from_module(
    module: torch.nn.Module, source: Source, request: Request, origin: Origin | None = None
) -> LoadedNetwork:
    """Adapt a module, after loading the weights of the request, if any.

    `origin` says where the module came from. Raises ModelError where the weights don't fit or the size of images is unknown.
    """
    from onnxspace_converters.files import hash_files
    from onnxspace_converters.torch_files import load_weights, read_weights
    from onnxspace_converters.torch_routes import adapt_module, read_model_options

    origin = origin or Origin()
    files = origin.files
    if request.weights is not None:
        path = Path(request.weights)
        load_weights(module, read_weights(path, trusted=is_trusted(request, path)), path, source.text)
        files = (*files, path)
    own, known = read_model_options(module)
    size = request.input or origin.shape or own
    if size is None:
        raise ModelError(f"{source.text} does not state the size of its images. Give it as --input, such as --input 3x224x224.")
    options = _set_size(origin.said or known, size)
    digest = hash_files(files) if files else None
    return adapt_module(
        module, size, options, packages=origin.packages, sha256=digest, remarks=origin.remarks, framework=origin.framework
    )


def _set_size(said: ModelOptions, shape: tuple[int, ...]) -> ModelOptions:
    """The options for images of the size that the user gave."""
    return ModelOptions(layout="NCHW", size=(shape[1], shape[2])).over(said) if said.size is not None else said


def _network_from_program(
    program: torch.export.ExportedProgram, module: torch.nn.Module, source: Source, request: Request
) -> LoadedNetwork:
    from onnxspace_converters.files import hash_files
    from onnxspace_converters.loaded_network import LoadedNetwork
    from onnxspace_converters.torch_routes import PACKAGES, program_route, run_module

    batch, shape = _program_input(program, source)
    _check_shape(source, request.input, shape)
    return LoadedNetwork(
        "PyTorch", PACKAGES, shape, lambda x: run_module(module, x), [program_route(program)], ModelOptions(), batch=batch,
        layers=lambda x: _trace_layers(module, x), sha256=hash_files([source.path]),
    )  # fmt: skip


def _check_shape(source: Source, asked: tuple[int, ...] | None, shape: tuple[int, ...]) -> None:
    if asked is not None and asked != shape:
        has, wants = ("×".join(map(str, size)) for size in (shape, asked))
        raise ConfigError(f"{source.text} takes images of {has}, not of {wants}. Leave out --input.")


def _program_input(program: torch.export.ExportedProgram, source: Source) -> tuple[int | None, tuple[int, ...]]:
    """The batch of an exported program (None: any), and the shape of one image."""
    import torch

    signature = program.graph_signature
    nodes = {node.name: node for node in program.graph.nodes}
    values = [nodes[name].meta.get("val") for name in signature.user_inputs if name in nodes]
    images = [value for value in values if isinstance(value, torch.Tensor)]
    if len(images) != 1 or images[0].dim() != 4 or len(values) != 1:
        raise ModelError(f"{source.text} must have one batch of images as its only input. Export it again so.")
    batch, *shape = images[0].shape
    if any(not isinstance(size, int) for size in shape):
        raise ModelError(f"{source.text} has images of open size. Export it again with a fixed one.")
    if isinstance(batch, int) and batch != 1:
        raise ModelError(f"{source.text} takes batches of {batch} only. Export it again with one image, or with an open batch.")
    return (1 if isinstance(batch, int) else None), tuple(shape)


def _trace_layers(module: Any, images: Array) -> Iterator[tuple[str, Array]]:
    """What an exported graph computes, step by step, under the names of its original modules."""
    import torch

    from onnxspace_converters.torch_routes import collect_arrays

    seen: list[tuple[str, Array]] = []

    class Watching(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            found = super().run_node(n)
            if n.op == "call_function":
                stack = [path for path, _ in (n.meta.get("nn_module_stack") or {}).values()]
                seen.extend((stack[-1] if stack and stack[-1] else n.name, array) for array in collect_arrays(found)[:1])
            return found

    with torch.no_grad():
        Watching(module).run(torch.from_numpy(images))
    yield from seen


def _network_from_script(module: torch.jit.ScriptModule, source: Source, request: Request) -> LoadedNetwork:
    from onnxspace_converters.files import hash_files
    from onnxspace_converters.loaded_network import LoadedNetwork
    from onnxspace_converters.torch_routes import PACKAGES, retraced_route, run_module, script_route

    if request.input is None:
        raise ModelError(f"{source.text} does not state the size of its images. Give it as --input, such as --input 3x224x224.")
    shape = request.input
    return LoadedNetwork(
        "TorchScript", PACKAGES, shape, lambda x: run_module(module, x),
        [script_route(module, shape), retraced_route(module, shape)],
        sha256=hash_files([source.path]),
    )  # fmt: skip


TORCH = Exporter(
    "torch", accepts, export, "PyTorch (.pt2, TorchScript .pt, PACKAGE.MODULE:FACTORY)", ("torch", "onnxscript"),
    "pip install onnxspace", ("torch",),
)  # fmt: skip
