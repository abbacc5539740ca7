"""Examples of docstrings as blocks of code."""

from __future__ import annotations

import re

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!$).*)*", re.M)


def fence_examples(text: str) -> str:
    """A docstring with its examples, up to the next blank line, in blocks of code.

    >>> fence_examples("Adds.\\n\\n>>> add(1)  # doctest: +SKIP\\n1")
    'Adds.\\n\\n```python\\n>>> add(1)\\n1\\n```'
    """
    return _EXAMPLE.sub(lambda found: f"```python\n{re.sub(r'  # doctest: .*', '', found[0])}\n```", text)
