"""Maps of one network in two spellings: from the colour that the baseline's input holds as 0.

Relevance of a pixel is counted from zero of the network's input. Where a normalisation has moved into the graph or out of it,
that zero is another colour, and maps differ although the networks are one. Then the artifact's maps are computed again from the
old colour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnxspace.checking.explain import Case
from onnxspace.checking.measure import Measures, measure
from onnxspace.checking.observation import Observation
from onnxspace.inputs.methods import METHODS
from onnxspace.inputs.protocol import SKETCH_NUMBERS, Setup
from onnxspace.similarity.fingerprints.file import project_file

Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None]
#: Cosine at the encoder from which on two networks give the same.
_SAME = 0.999
_HALF = 0.51  # colours are whole numbers: the middle grey, 127.5, becomes 127 or 128


def compare_from_same_zero(case: Case, distinct: float | None, setup: Setup, folder: Path, ask: Ask) -> Case:
    """The case with maps from the baseline's zero, where these agree better; `folder` holds the answers of `ask`."""
    if not _may_help(case, distinct, setup):
        return case
    picture = folder / "zero.png"
    colour = np.rint(np.clip(np.broadcast_to(case.old.facts.zero, 3), 0, 255)).astype(np.uint8)
    Image.fromarray(np.broadcast_to(colour, (setup.probes.size, setup.probes.size, 3)).copy()).save(picture)
    rules = {} if setup.options is None or setup.options.rules is None else {"rules": dict(setup.options.rules)}
    if ask("maps", {"options": {"baseline": str(picture), **rules}}) is None:
        return case
    file = folder / "maps" / "maps.npy"
    new = replace(case.new, maps=np.load(file, mmap_mode="r"), prints=project_file(file, SKETCH_NUMBERS, 0))
    found = measure(new, case.old)
    better = found.values["affinity"] > case.found.values["affinity"]
    return replace(case, new=new, found=_add_remark(found, case.new, case.old)) if better else case


def _may_help(case: Case, distinct: float | None, setup: Setup) -> bool:
    """Whether maps differ, the encoder's outputs don't, and zero is another colour."""
    values, new, old = case.found.values, case.new.facts.zero, case.old.facts.zero
    limits = {name: case.limits[name] for name in ("affinity", "affinity_p5") if name in case.limits}
    differ = any(values[name] < limit for name, limit in limits.items()) if distinct is None else values["affinity"] < distinct
    counted = "baseline" in METHODS[setup.method].uses and setup.settings.baseline == "zero"
    if not (differ and counted and values.get("encoder_cosine", 0) >= _SAME and new and old):
        return False
    inside = all(-_HALF <= colour <= 255 + _HALF for colour in old)
    return inside and bool(np.abs(np.broadcast_to(new, 3) - np.broadcast_to(old, 3)).max() > _HALF)


def _add_remark(found: Measures, new: Observation, old: Observation) -> Measures:
    words = (
        f"the input's zero is the colour {_describe(new.facts.zero)} instead of {_describe(old.facts.zero)}, as where a "
        "normalisation has moved into or out of the network; maps are compared from the old one"
    )
    return replace(found, changes=(*found.changes, words))


def _describe(colour: tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:.4g}' for number in colour)})"
