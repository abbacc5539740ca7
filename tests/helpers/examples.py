"""How many random examples a test takes."""

from __future__ import annotations

import os


def examples(most: int) -> int:
    """A quarter of `most` in the main suite, all of them in the stage of all cases, which sets ONNXSPACE_EXAMPLES=all."""
    return most if os.environ.get("ONNXSPACE_EXAMPLES") == "all" else -(-most // 4)
