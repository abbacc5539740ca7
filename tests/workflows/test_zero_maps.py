"""What is said where all maps of a model are zero."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import make_targets
from onnxspace.workflows.files import _describe_zeros


@pytest.mark.parametrize(
    ("given", "words"), [([], "does not depend on the image"), (["3"], "every map of class 3 by grad-cam is zero")]
)
def test_maps_of_a_class_may_be_zero_although_the_encoder_depends_on_the_image(given: list[str], words: str) -> None:
    setup = replace(Setup(Probes.generate(1, 32), "grad-cam"), target=next(iter(make_targets(given)), None))
    assert words in _describe_zeros(setup, "a.onnx")
