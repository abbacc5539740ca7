"""One family of errors, and the sentence for what no caller foresaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace import errors
from onnxspace.errors import OnnxspaceError, describe, unexpected


def test_every_error_is_of_one_family_and_a_builtin() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OnnxspaceError)]
    assert len(kinds) > 10
    for kind in set(kinds) - {OnnxspaceError}:
        assert any(base.__module__ == "builtins" and base not in (Exception, BaseException, object) for base in kind.__mro__)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IndexError("list index out of range"), "IndexError: list index out of range"),
        (ValueError("bad\n  shape."), "ValueError: bad shape"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 1000), f"ValueError: {'x' * 300}"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
)
def test_an_unforeseen_error_is_one_sentence_that_names_the_file(error: Exception, words: str) -> None:
    assert describe(error) == words
    assert unexpected(Path("a.onnx"), error) == f"a.onnx failed unexpectedly ({words})."
