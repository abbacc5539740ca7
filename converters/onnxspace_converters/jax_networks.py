"""Adapt networks of Flax (nnx, linen) and Equinox to functions of a batch, with their layers and weights by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from onnxspace.errors import ModelError
from onnxspace_converters.loaded_network import Array

#: Keyword arguments that put networks into inference mode.
_AT_REST = {"train": False, "training": False, "deterministic": True, "use_running_average": True, "inference": True}


@dataclass(frozen=True)
class JaxNetwork:
    """A JAX network: `call` runs it on a batch; `layers` is as in LoadedNetwork; `package` is its distribution."""

    framework: str
    package: str
    call: Callable[[Any], Any]
    layers: Callable[[Array], Iterator[tuple[str, Array]]] | None


def adapt_network(
    made: Any, shape: tuple[int, ...], weights: Mapping[str, Array] | None, seed: int | None, source: str
) -> JaxNetwork:
    """Adapt the network `made` for images of `shape`, after setting `weights` by name, or random ones with `seed`, if any.

    `source` names it in errors. Raises ModelError for a network without weights, and for weights that do not fit.
    """
    roots = {kind.__module__.partition(".")[0] for kind in type(made).__mro__}
    if "equinox" in roots:
        return _adapt_equinox(_replace_weights(made, weights, source), shape)
    from flax import linen

    if isinstance(made, linen.Module):
        return _adapt_linen(made, shape, weights, seed, source)
    return _adapt_nnx(made, weights, source)


def output_arrays(found: Any) -> list[Any]:
    """All arrays in a network's output."""
    return [leaf for leaf in jax.tree.leaves(found) if hasattr(leaf, "shape")]


def _inference_options(call: Any) -> dict[str, bool]:
    """The arguments for inference mode that `call` takes."""
    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):
        return {}
    return {name: value for name, value in _AT_REST.items() if name in parameters}


def _adapt_linen(
    module: Any, shape: tuple[int, ...], weights: Mapping[str, Array] | None, seed: int | None, source: str
) -> JaxNetwork:
    options = _inference_options(type(module).__call__)
    example = jnp.zeros((1, *shape))
    if weights is not None or seed is not None:
        bare = module.unbind()[0] if module.scope is not None else module
        drawn = bare.init(jax.random.key(seed or 0), example, **options)
        module = bare.bind(_replace_weights(drawn, weights, source))
    if module.scope is None:
        raise ModelError(
            f"{source} returns a network without weights. Return it as module.bind(variables), or give --weights FILE or "
            "--random-weights SEED."
        )
    bare, variables = module.unbind()

    def layers(images: Array) -> Iterator[tuple[str, Array]]:
        _, seen = bare.apply(variables, images, capture_intermediates=True, mutable=["intermediates"], **options)
        for path, value in jax.tree_util.tree_flatten_with_path(seen["intermediates"])[0]:
            names = [str(step.key) for step in path if hasattr(step, "key") and step.key != "__call__"]
            if names:
                yield ".".join(names), np.asarray(value)

    return JaxNetwork("Flax linen", "flax", lambda x: bare.apply(variables, x, **options), layers)


def _adapt_nnx(module: Any, weights: Mapping[str, Array] | None, source: str) -> JaxNetwork:
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise ModelError(f"{source} returns a {type(module).__module__}.{type(module).__qualname__}, which is not a network.")
    module.eval()
    if weights is not None:
        nnx.update(module, _replace_weights(nnx.state(module), weights, source))
    graph, state = nnx.split(module)
    options = _inference_options(type(module).__call__)
    parts = {id(part): ".".join(map(str, path)) for path, part in nnx.iter_modules(module) if path}
    kinds = {type(part) for _, part in nnx.iter_modules(module)}
    return JaxNetwork(
        "Flax nnx", "flax", lambda x: nnx.merge(graph, state)(x, **options),
        lambda images: _record_calls(lambda: module(jnp.asarray(images), **options), parts, kinds),
    )  # fmt: skip


def _adapt_equinox(module: Any, shape: tuple[int, ...]) -> JaxNetwork:
    import equinox

    module = equinox.nn.inference_mode(module)
    options = _inference_options(type(module).__call__)
    single = _takes_single_image(module, shape, options)
    parts = dict(_module_paths(module, equinox))
    kinds = {type(part) for part in _list_modules(module, equinox)}

    def call(images: Any) -> Any:
        return jax.vmap(lambda x: module(x, **options))(images) if single else module(images, **options)

    def layers(images: Array) -> Iterator[tuple[str, Array]]:
        batches = [image if single else image[None] for image in jnp.asarray(images)]
        runs = [list(_record_calls(partial(module, x, **options), parts, kinds)) for x in batches]
        for steps in zip(*runs, strict=True):
            values = [value[None] if single else value for _, value in steps]
            yield steps[0][0], np.concatenate(values)

    return JaxNetwork("Equinox", "equinox", call, layers)


def _takes_single_image(module: Any, shape: tuple[int, ...], options: Mapping[str, bool]) -> bool:
    """Whether it takes a single image, as Equinox's own layers do, rather than a batch."""
    try:
        jax.eval_shape(lambda x: module(x, **options), jax.ShapeDtypeStruct(shape, jnp.float32))
    except Exception:  # layers may raise anything for an input of three axes
        return False
    return True


def _module_paths(module: Any, equinox: Any) -> Iterator[tuple[int, str]]:
    """The identity and path of every module within one."""
    waiting = [("", module)]
    while waiting:
        path, found = waiting.pop()
        if isinstance(found, equinox.Module):
            if path:
                yield id(found), path.lstrip(".")
            waiting.extend((f"{path}.{name}", value) for name, value in vars(found).items())
        elif isinstance(found, (list, tuple)):
            waiting.extend((f"{path}.{k}", value) for k, value in enumerate(found))
        elif isinstance(found, dict):
            waiting.extend((f"{path}.{name}", value) for name, value in found.items())


def _list_modules(module: Any, equinox: Any) -> list[Any]:
    found = jax.tree.leaves(module, is_leaf=lambda x: isinstance(x, equinox.Module) and x is not module)
    inner = [each for each in found if isinstance(each, equinox.Module) and each is not module]
    return [module, *(part for each in inner for part in _list_modules(each, equinox))]


def _record_calls(run: Callable[[], Any], parts: Mapping[int, str], kinds: set[type]) -> Iterator[tuple[str, Array]]:
    """The outputs of modules while a network runs, in the order in which they finish."""
    seen: list[tuple[str, Array]] = []
    with _patch_calls(kinds, parts, seen):
        run()
    yield from seen


@contextmanager
def _patch_calls(kinds: set[type], parts: Mapping[int, str], seen: list[tuple[str, Array]]) -> Iterator[None]:
    """Make each class's `__call__` record its output; Python looks that up in the class, so it is patched there."""
    owners = {owner for kind in kinds for owner in kind.__mro__[:-1] if "__call__" in owner.__dict__}
    before = {owner: owner.__dict__["__call__"] for owner in owners}

    def noting(call: Any) -> Any:
        def called(self: Any, *arguments: Any, **options: Any) -> Any:
            found = call(self, *arguments, **options)
            arrays = output_arrays(found)
            if id(self) in parts and arrays and not isinstance(arrays[0], jax.core.Tracer):
                seen.append((parts[id(self)], np.asarray(arrays[0])))
            return found

        return called

    try:
        for kind, call in before.items():
            type.__setattr__(kind, "__call__", noting(call if callable(call) else call.__get__(None, kind)))
        yield
    finally:
        for kind, call in before.items():
            type.__setattr__(kind, "__call__", call)


def named_arrays(tree: Any) -> dict[str, Any]:
    """The arrays of a network by dotted names, such as `params.Dense_0.kernel`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(map(_key_name, path)): leaf for path, leaf in leaves if hasattr(leaf, "shape")}


def _key_name(step: Any) -> str:
    return str(next(getattr(step, name) for name in ("key", "name", "idx") if hasattr(step, name)))


def _replace_weights(tree: Any, weights: Mapping[str, Array] | None, source: str) -> Any:
    """The tree with the arrays of a file in place of its own of the same names."""
    if weights is None:
        return tree
    own = {
        name.removesuffix(".value"): leaf
        for name, leaf in named_arrays(tree).items()
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
    }
    wrong = [name for name, leaf in own.items() if name not in weights or weights[name].shape != leaf.shape]
    more = sorted(set(weights) - set(own))
    if wrong or more:
        what = f"{wrong[0]} is missing or has another shape" if wrong else f"the network has no {more[0]}"
        raise ModelError(f"The weights do not fit {source}: {what}. Its names are: {', '.join(own)[:500]}.")

    def place(path: Any, leaf: Any) -> Any:
        name = ".".join(map(_key_name, path)).removesuffix(".value")
        return jnp.asarray(weights[name]) if name in own else leaf

    return jax.tree_util.tree_map_with_path(place, tree)
