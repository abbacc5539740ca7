"""What the tests of the heavy frameworks share."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def keras() -> Any:
    from tests.helpers import kerasnets  # TensorFlow takes seconds, and other tests must not need it

    return kerasnets


@pytest.fixture
def flax() -> Any:
    from tests.helpers import flaxnets

    return flaxnets
