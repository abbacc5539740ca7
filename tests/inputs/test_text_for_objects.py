"""Text where Python takes a list of models or images: one sentence, before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onnxspace as ox
from onnxspace.errors import ConfigError


@pytest.mark.parametrize("call", [ox.score, lambda one: ox.rate(one, "photos"), lambda one: ox.explain(one, ["a.png"])])
@pytest.mark.parametrize("given", ["models/*.onnx", Path("a.onnx")])
def test_one_path_is_no_list_of_models(call: Callable[[Any], Any], given: str | Path) -> None:
    with pytest.raises(
        ConfigError, match=r"\.onnx is not a list of models\. Give a list of paths, such as \['a\.onnx', 'b\.onnx'\]\."
    ):
        call(given)


def test_one_path_is_no_list_of_images() -> None:
    with pytest.raises(ConfigError, match=r"a\.png is not a list of images\. Give a list of paths, such as \['a\.png'\]\."):
        ox.explain(["a.onnx"], "a.png")


def test_limits_of_processes_are_not_those_of_metrics() -> None:
    with pytest.raises(
        ConfigError, match=r"limits are those of a process, as text such as 'memory=4G,cpu=600', and not dict\."
    ):
        ox.check("a.onnx", against="b.onnx", limits={"affinity": 0.9})  # type: ignore[arg-type]


@pytest.mark.parametrize("call", [ox.attribute, lambda model, images: ox.layers(model, model, images)])
def test_the_name_of_a_folder_is_no_probe_images(call: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(ConfigError, match=r"photos is not Probes\. Give onnxspace\.Probes\.from_folder\('photos'\)\."):
        call("a.onnx", "photos")
