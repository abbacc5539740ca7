"""What the tests of images share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def drawn_probes() -> None:
    """Images are drawn each time they are asked for."""
