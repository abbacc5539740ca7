"""JAX: callables that build a network of Flax (nnx, linen) or Equinox."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxspace.errors import ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source
from onnxspace.inputs.config import ModelOptions

if TYPE_CHECKING:
    import onnx

    from onnxspace_converters.loaded_network import Array, LoadedNetwork, Route


def accepts(_source: Source) -> bool:
    """False: JAX has no file format for networks; its objects come from callables."""
    return False


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a JAX network. Raises ModelError and its subclasses."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(source, request), source.text, destination, request)


def load_network(source: Source, request: Request) -> LoadedNetwork:
    """Adapt the network that a callable returned. Raises ModelError."""
    if source.made is None:
        raise ModelError(f"{source.text} is not a JAX network. Give a callable as PACKAGE.MODULE:FACTORY.")
    shape = _image_shape(source, request)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    import numpy as np

    from onnxspace_converters.files import hash_files
    from onnxspace_converters.jax_networks import adapt_network, output_arrays
    from onnxspace_converters.loaded_network import LoadedNetwork

    weights = None if request.weights is None else _read_weights(Path(request.weights))
    found = adapt_network(source.made, shape, weights, request.random_weights, source.text)
    run = jax.jit(lambda x: output_arrays(found.call(x)))
    kept = ("its weights are those that its code set",) if weights is None and request.random_weights is None else ()
    return LoadedNetwork(
        found.framework, (found.package, "jax", "jax2onnx", "onnx"), shape, lambda x: [np.asarray(each) for each in run(x)],
        [_route("jax2onnx", run, shape, traced=False), _route("traced, jax2onnx", run, shape, traced=True)], _image_options(shape),
        layers=found.layers, sha256=None if request.weights is None else hash_files([Path(request.weights)]), remarks=kept,
    )  # fmt: skip


def _image_shape(source: Source, request: Request) -> tuple[int, ...]:
    """The shape of an image by the user's options; Flax has channels last, Equinox first."""
    said, roots = request.said, {kind.__module__.partition(".")[0] for kind in type(source.made).__mro__}
    if request.input is not None:
        return request.input
    if said.size is None:
        raise ModelError(f"{source.text} does not state the size of its images. Give it as --input, such as --input 224x224x3.")
    channels = 1 if said.color == "GREY" else 3
    first = (said.layout or ("NCHW" if "equinox" in roots else "NHWC")) == "NCHW"
    return (channels, *said.size) if first else (*said.size, channels)


def _image_options(shape: tuple[int, ...]) -> ModelOptions:
    """Size and layout; JAX does not state how pixels are scaled."""
    height, width = shape[1:] if shape[0] in (1, 3) and shape[2] not in (1, 3) else shape[:2]
    return ModelOptions(size=(height, width), layout="NCHW" if (height, width) == shape[1:] else "NHWC")


def _read_weights(path: Path) -> Mapping[str, Array]:
    """Read the arrays of a safetensors file by their dotted names."""
    from safetensors.numpy import load_file

    from onnxspace_converters.files import describe_error, require_file

    try:
        found: Mapping[str, Array] = load_file(require_file(path, "--weights"))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{path} can't be read as safetensors ({describe_error(error)}). Save the arrays as safetensors, by their dotted names."
        ) from error
    return found


def _route(name: str, call: Callable[[Any], Any], shape: tuple[int, ...], *, traced: bool) -> Route:
    """The route by jax2onnx. It recognises layers by patching them; `traced` to plain operators, it supports more networks."""
    from onnxspace_converters.loaded_network import Route

    def export(opset: int, dynamic: bool) -> onnx.ModelProto:
        import jax
        from jax2onnx import to_onnx

        from onnxspace_converters.jax_graph import reduce_pool_axes

        jax.clear_caches()  # traces from before the layers were patched would be reused
        size = ("B" if dynamic else 1, *shape)
        function = _trace_to_operators(call, size) if traced else (lambda x: call.__wrapped__(x))  # type: ignore[attr-defined]
        with _skip_antialiasing():
            made: onnx.ModelProto = to_onnx(function, [size], opset=opset, model_name="network")
        return reduce_pool_axes(made)

    return Route(name, export, range(17, 24), 17)


def _trace_to_operators(call: Callable[[Any], Any], size: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Trace a function to its operators, for a batch of any size where `size` has a name for it."""
    import jax
    import jax.numpy as jnp
    from jax import export
    from jax.extend.core import jaxpr_as_fun

    shape = export.symbolic_shape(", ".join(map(str, size)))
    closed = jax.make_jaxpr(call)(jax.ShapeDtypeStruct(shape, jnp.float32))
    return lambda x: jaxpr_as_fun(closed)(x)


@contextmanager
def _skip_antialiasing() -> Iterator[None]:
    """Resize without antialiasing where images grow, which changes nothing, since jax2onnx does not support antialiasing."""
    import jax

    before = jax.image.resize

    def resize(image: Any, shape: Any, method: Any, antialias: bool = True, **options: Any) -> Any:
        grows = all(_is_at_least(new, old) for new, old in zip(shape, image.shape, strict=True))
        return before(image, shape, method, antialias=antialias and not grows, **options)

    jax.image.resize = resize
    try:
        yield
    finally:
        jax.image.resize = before


def _is_at_least(new: Any, old: Any) -> bool:
    return new is old or bool(new == old) or (isinstance(new, int) and isinstance(old, int) and new >= old)


JAX = Exporter(
    "jax", accepts, export, "Flax and Equinox (PACKAGE.MODULE:FACTORY)", ("jax", "jax2onnx"), "pip install 'onnxspace[jax]'",
    ("flax", "equinox"),
)  # fmt: skip
