"""One family of errors, and the sentence for what no caller foresaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace import errors
from onnxspace.errors import OnnxspaceError, describe, is_out_of_memory, unexpected


def test_every_error_is_of_one_family_and_a_builtin() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OnnxspaceError)]
    assert len(kinds) > 10
    for kind in set(kinds) - {OnnxspaceError}:
        assert any(base.__module__ == "builtins" and base not in (Exception, BaseException, object) for base in kind.__mro__)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IndexError("list index out of range"), "IndexError: list index out of range"),
        (ValueError("\nbad   shape.\nsecond line"), "ValueError: bad shape"),
        (ValueError(), "ValueError"),
        (ValueError("x" * 1000), f"ValueError: {'x' * 300}"),
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
    ],
)
def test_an_unforeseen_error_is_one_sentence_that_names_the_file(error: Exception, words: str) -> None:
    assert describe(error) == words
    assert unexpected(Path("a.onnx"), error) == f"a.onnx failed unexpectedly ({words})."


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
        ValueError("Unable to allocate 8.00 EiB for an array with shape (1,)"),
    ],
)
def test_a_lack_of_memory_is_a_sentence(error: Exception) -> None:
    assert (
        unexpected("a.onnx", error) == "a.onnx needs more memory than is available. Leave it out, or use a machine with more."
    )
    assert is_out_of_memory(error)
    assert not is_out_of_memory(ValueError("bad shape"))
