"""Networks of Flax and Equinox: the same outputs, the same maps as the framework's own."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxspace.exporters import Request, run
from tests.helpers.framework_files import SHAPE, agree
from tests.helpers.slopes import along, last

pytestmark = pytest.mark.frameworks

FLAX = {
    "flaxnets:plain": "norm", "flaxnets:residual": "blocks.1", "flaxnets:painter": "deep", "flaxnets:attending": "norm",
    "flaxnets:bound": "Conv_1", "linennets:residual": "stem", "linennets:painter": "down", "linennets:attending": "patches",
}  # fmt: skip


@pytest.mark.parametrize("name", FLAX)
def test_networks_of_flax_give_its_outputs_and_maps(name: str, flax: Any, tmp_path: Path) -> None:
    """A CNN, a residual network, an encoder–decoder and a ViT, of nnx and of linen."""
    module, _, short = name.partition(":")
    network, target = getattr(importlib.import_module(f"tests.helpers.{module}"), short)(), tmp_path / "out.onnx"
    run(f"tests.helpers.{name}", target, Request(input=SHAPE, encoder=FLAX[name]))
    if isinstance(network, flax.nnx.Module):
        network.eval()
    trains = "train" in inspect.signature(type(network).__call__).parameters
    call = (lambda x: network(x, train=False)) if trains else network
    agree(target, call)
    along(target, last(target), lambda x: flax.slopes(call, x))


def test_a_layer_of_flax_is_found_and_has_its_maps(flax: Any, tmp_path: Path) -> None:
    network, target = flax.plain(), tmp_path / "out.onnx"
    facts = run("tests.helpers.flaxnets:plain", target, Request(input=SHAPE, encoder="norm"))
    network.eval()
    along(target, facts.encoder, lambda x: flax.slopes(lambda image: network.norm(network.conv(image)), x))


@pytest.mark.parametrize("name", ["single", "steps", "drawing", "looking"])
def test_networks_of_equinox_give_its_outputs_and_maps(name: str, flax: Any, tmp_path: Path) -> None:
    """A CNN, a residual network, an encoder–decoder and a ViT."""
    network, target = flax.eqx.nn.inference_mode(getattr(flax, name)()), tmp_path / "out.onnx"
    layer = {"single": "second", "steps": "convs.1", "drawing": "down", "looking": "patches"}[name]
    facts = run(f"tests.helpers.flaxnets:{name}", target, Request(input=(3, 16, 16), encoder=layer))
    agree(target, flax.jax.vmap(network), (3, 16, 16))
    along(target, last(target), lambda x: flax.slopes(flax.jax.vmap(network), x))
    if name == "drawing":
        along(target, facts.encoder, lambda x: flax.slopes(flax.jax.vmap(network.down), x))


def test_weights_of_flax_come_from_safetensors(flax: Any, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    from onnxspace_converters.jax_networks import named_arrays

    network = flax.plain(seed=9)
    kept = {name.removesuffix(".value"): np.asarray(value) for name, value in named_arrays(flax.nnx.state(network)).items()}
    save_file(kept, tmp_path / "own.safetensors")
    facts = run(
        "tests.helpers.flaxnets:plain", tmp_path / "out.onnx", Request(input=SHAPE, weights=str(tmp_path / "own.safetensors"))
    )
    network.eval()
    agree(tmp_path / "out.onnx", network)
    assert facts.remarks == ()
