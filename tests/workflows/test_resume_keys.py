"""Which changes of a command or of its surroundings make kept maps useless."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.attribution import cache_key
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.protocol import Setup
from tests.helpers.commands import exit_code as run
from tests.helpers.nets import classifier, save
from tests.helpers.stopped_runs import BATCH, IMAGES, SCORE, interrupt

CLASSIFIERS = "ab"


def picture(value: int, path: str = "base.png") -> None:
    Image.fromarray(np.full((30, 30, 3), value, np.uint8)).save(path)


Setting = Callable[[pytest.MonkeyPatch], tuple[str, ...]]


def says(*arguments: str) -> Setting:
    return lambda patch: arguments


def config(text: str) -> Setting:
    def write(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
        Path("onnxspace.toml").write_text(text)
        return ()

    return write


def patched(name: str, value: object) -> Setting:
    def patch_it(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
        patch.setattr(name, value)
        return ()

    return patch_it


def new_file(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    save(classifier(seed=9), Path("a.onnx"))
    return ()


def new_picture(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    picture(9)
    return ()


def moved_picture(patch: pytest.MonkeyPatch) -> tuple[str, ...]:
    picture(5, "moved.png")
    return ("--baseline", "moved.png")


#: What is different in the second command → whether maps of the first can be used.
CHANGES: dict[str, tuple[Setting, bool]] = {
    "nothing": (says(), True),
    "the place of the baseline": (moved_picture, True),
    "the name of a model": (config('[models.a]\nname = "first"\n'), True),
    "the baseline's pixels": (new_picture, False),
    "baseline": (says("--baseline", "zero"), False),
    "method": (says("--method", "gradient-x-input"), False),
    "rule": (config('[rules.elrp]\nRelu = "gradient"\n'), False),
    "epsilon": (config("[rules.elrp]\nepsilon = 1e-2\n"), False),
    "encoder": (says("--encoder", "t1"), False),
    "preprocessing": (config('[models.a]\nscale = "1/255"\n'), False),
    "file": (new_file, False),
    "images": (says("--images", "3"), False),
    "probe": (says("--seed", "1"), False),
    "batch size": (says("--batch-size", "1"), False),
    "library": (patched("onnxspace.attribution.cache_key.installed_versions", lambda name: "0"), False),
    "code": (patched("onnxspace.attribution.cache_key._hash_code", lambda: "other"), False),
    "threads": (patched("torch.get_num_threads", lambda: 99), False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_maps_of_another_command_are_not_used(
    place: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int], name: str
) -> None:
    picture(5)
    command = (*SCORE, "--baseline", "base.png")
    interrupt(1, *command)
    change, fits = CHANGES[name]
    with monkeypatch.context() as patch:
        extra = change(patch)
        computed.clear()
        assert run(*command, *extra) == 0
    images = 3 if name == "images" else IMAGES
    assert sum(computed) == 2 * images - (BATCH if fits else 0)
    assert not Path(".kept.unfinished").exists()


def test_a_rule_from_python_is_never_taken_for_the_same(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    from onnxspace.attribution.lrp import RULES

    probes = ox.Probes.generate(1, size=16)
    first = cache_key.run_key(Setup(probes), Execution.on("cpu"))
    assert first == cache_key.run_key(Setup(probes), Execution.on("cpu"))
    monkeypatch.setitem(RULES, "ratio", lambda site: site.module)
    assert len({first, *(cache_key.run_key(Setup(probes), Execution.on("cpu")) for _ in range(2))}) == 3
