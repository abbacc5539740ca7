"""The precision in which maps are computed: what can be asked for, and what is recorded of each model, in spaces and in fingerprints.

Free of NumPy, so that the command line lists precisions without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from onnxspace.storage.json_fields import is_text, is_whole, require

#: What maps are computed in.
KeptPrecision = Literal["float32", "tf32", "bf16", "fp16"]
KEPT_PRECISIONS: tuple[KeptPrecision, ...] = get_args(KeptPrecision)
#: What can be asked for.
Precision = Literal["float32", "tf32", "bf16", "fp16", "auto"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
#: The option under which spaces and fingerprints keep it, unless it is float32: versions without it refuse an option that they do not
#: have, so that none compares maps of two precisions.
PRECISION = "precision"
_MOST_TEXT = 1000


def state_precision(precision: KeptPrecision) -> dict[str, str]:
    """What is stored of a precision among the options of a space or a fingerprint.

    >>> state_precision("bf16"), state_precision("float32")
    ({'precision': 'bf16'}, {})
    """
    return {} if precision == "float32" else {PRECISION: precision}


def read_precision(options: Mapping[str, Any]) -> KeptPrecision:
    """The precision of maps, from the options of a space or a fingerprint, which `is_stated_well` has checked."""
    return cast(KeptPrecision, options.get(PRECISION, "float32"))


def is_stated_well(options: Mapping[str, Any]) -> bool:
    """Whether untrusted options state a precision as `state_precision` does."""
    return PRECISION not in options or options[PRECISION] in KEPT_PRECISIONS[1:]


@dataclass(frozen=True)
class ModelPrecision:
    """The precision in which a model's maps are: the one `used`, and the one that was `asked` for (None: none was).

    Where `auto` measured bf16, `cosine` is the least cosine of its maps with those of float32 over `images` images, and `speed` how
    many times as fast it was. `reason` is a sentence for what was not stated.
    """

    used: KeptPrecision
    asked: Precision | None = None
    cosine: float | None = None
    speed: float | None = None
    images: int | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON: without what was not measured.

        >>> ModelPrecision("bf16", "bf16").to_dict()
        {'used': 'bf16', 'asked': 'bf16'}
        """
        facts = asdict(self)
        return {name: facts[name] for name in facts if name in ("used", "asked") or facts[name] not in (None, "")}


def parse_precision(found: Any) -> ModelPrecision:
    """The record that `to_dict` has written, from an untrusted file or process. Raises ValueError."""
    require(isinstance(found, dict), "precision")
    given = {name: found[name] for name in asdict(ModelPrecision("float32")) if name in found}
    require(given.get("used") in KEPT_PRECISIONS and given.get("asked") in (None, *PRECISIONS), "precision")
    require(all(_is_finite(given.get(name)) for name in ("cosine", "speed")), "cosine or speed")
    require("images" not in given or is_whole(given["images"], 1, 2**31), "images")
    require(is_text(given.get("reason", ""), _MOST_TEXT), "reason")
    return ModelPrecision(**given)


def _is_finite(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))
