"""The extension of mkdocstrings that shows examples of docstrings as blocks of code, without the marks of doctest."""

from __future__ import annotations

from typing import Any

import griffe

from docs.hooks.examples import fence_examples


class FencedExamples(griffe.Extension):  # type: ignore[misc, unused-ignore]
    """Rewrites the docstring of every object that is read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Fence the examples of one object."""
        if obj.docstring is not None:
            obj.docstring.value = fence_examples(obj.docstring.value)
