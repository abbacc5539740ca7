"""Probe images of six bands through the commands: results, pages, spaces, fingerprints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import nets
from tests.helpers.sentences import Cli, parsed, refused

PROBE = ("--probe", "six.npy")


@pytest.fixture
def six(cli: Cli) -> Cli:
    """Two networks of six channels, and images of six bands."""
    for seed in range(2):
        nets.save(nets.classifier(("N", 6, 16, 16), seed), Path(f"six{seed}.onnx"))
    np.save("six.npy", np.random.default_rng(0).integers(0, 256, (4, 16, 16, 6), np.uint8))
    return cli


def test_result_and_page(six: Cli) -> None:
    found = six("score", "six0.onnx", "six1.onnx", "good.onnx", *PROBE, "--output", "out", "--json")
    assert found.code == 2
    assert [model["name"] for model in parsed(found.out)["models"]] == ["six0", "six1"]
    assert (
        "good.onnx takes RGB images, but the probe images have 6 band(s). State which of them it takes as `bands`" in found.err
    )
    assert np.load("out/probes.npy").shape == (4, 16, 16, 6)
    assert six("report", "out", "-o", "page.html").code == 0
    assert "data:image/webp" in Path("page.html").read_text()


def test_bands_in_the_configuration(six: Cli) -> None:
    Path("onnxspace.toml").write_text('bands = ["b", "g", "r", "n", "s", "t"]\n[models.good]\nbands = ["r", "g", "b"]\n')
    found = six("score", "six0.onnx", "good.onnx", *PROBE, "--json", "--quiet")
    assert (found.code, len(parsed(found.out)["models"])) == (0, 2)
    Path("onnxspace.toml").write_text("[models.good]\nbands = [0, 1, 7]\n")
    found = six("score", "good.onnx", "six0.onnx", "six1.onnx", *PROBE, "--quiet")
    assert found.code == 2
    assert "good.onnx takes band 7 of the probe images, but they have 6" in found.err


def test_space(six: Cli) -> None:
    assert six("space", "create", "z.space", *PROBE).code == 0
    assert six("space", "add", "z.space", "six0.onnx", "six1.onnx", "--quiet").code == 0
    assert six("space", "verify", "z.space").code == 0
    refused(six("space", "add", "z.space", "good.onnx", "--quiet"), "good.onnx takes RGB images")
    refused(six("space", "add", "z.space", "six0.onnx", "--probe", "other.npy"), "other.npy")


def test_fingerprints_of_other_bands_are_not_compared(six: Cli) -> None:
    assert six("fingerprint", "six0.onnx", *PROBE, "-o", "six0.fp", "--quiet").code == 0
    assert six("fingerprint", "good.onnx", "--images", "4", "-o", "good.fp", "--quiet").code == 0
    found = six("score", "six0.fp", "six1.onnx", "good.fp", *PROBE, "--quiet")
    assert found.code == 2
    assert "good.fp was made by elrp on 4 images of generated-0 (here: 4 of six), so it can't be compared" in found.err
