"""The errors that onnxspace raises: subclasses of OnnxspaceError and of the built-in error that a caller would catch.

A message says in one or two sentences what is wrong with which file, and how to correct it.
"""

import re


class OnnxspaceError(Exception):
    """The base class of all errors that onnxspace raises on purpose."""


class ModelError(OnnxspaceError, ValueError):
    """An ONNX file that can't be read, described, cut or explained."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """There is no file at the given path."""


class UnsupportedOperatorError(ModelError, NotImplementedError):
    """An operator below the encoder without a differentiable implementation here."""


class ConversionError(ModelError, ArithmeticError):
    """A converted graph whose outputs are not those of ONNX Runtime."""


class AttributionError(ModelError, FloatingPointError):
    """A map that is not finite, or a network whose encoder does not depend on the image."""


class ProbeError(OnnxspaceError, ValueError):
    """A set of probe images that is empty, damaged, too large, or not the one it is compared with."""


class ConfigError(OnnxspaceError, ValueError):
    """A configuration file or an option with an invalid value."""


class TableError(OnnxspaceError, ValueError):
    """A table of results that can't be read, or that has no model in common with another."""


class SpaceError(OnnxspaceError, ValueError):
    """A model space that does not exist, is damaged, is of a newer version, or does not match what is added to it."""


class DamagedFileError(SpaceError):
    """A model's file in a space that is missing, truncated or damaged; `stems` are those of the models that it belongs to."""

    def __init__(self, message: str, *stems: str) -> None:
        super().__init__(message)
        self.stems = stems


class OutputError(OnnxspaceError, OSError):
    """A result that could not be written."""


class ClusterError(OnnxspaceError, ConnectionError):
    """A cluster that can't be reached, has no workers, or whose workers can't read the files."""


class MissingLibraryError(OnnxspaceError, ImportError):
    """A library that is not installed: one that reading models requires, or pandas for data frames."""


_OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "bad allocation", "out of memory", "unable to allocate", "cannot allocate")


def describe(error: BaseException) -> str:
    """The type of any exception and the first line of its message, up to 300 characters without the final full stop.

    >>> describe(ValueError("bad shape.\\nsecond line"))
    'ValueError: bad shape'
    """
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {_leave_out_source(' '.join(first.split()))[:300]}".rstrip(": .")


def quote_message(error: BaseException) -> str:
    """The first line of an exception's message, up to 300 characters without the final full stop; its type where there is none.

    >>> quote_message(RuntimeError("no kernel. \\nsecond line")), quote_message(KeyError())
    ('no kernel', 'KeyError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(". ")


def _leave_out_source(text: str) -> str:
    """A message of ONNX Runtime without its code, its line of source and its C++ signature, which hide the cause.

    >>> _leave_out_source("[ONNXRuntimeError] : 1 : FAIL : /core/model.cc:256 Model::Model(Proto&&, const Options&) Unsupported version: 14")
    'Unsupported version: 14'
    """
    plain = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text[:4000])
    return re.sub(r"^/\S+:\d+ [^()]*\(.*?\) (?=[A-Z\[])", "", plain)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory could not be allocated; libraries raise it under other names too.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    """
    text = str(error)[:2000].lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)


def describe_missing(error: ImportError) -> str:
    """The sentence for a library that can't be imported because it is not installed.

    >>> describe_missing(ModuleNotFoundError("No module named 'torch'", name="torch"))
    'This requires torch, which is not installed. Install all that reading models requires: pip install onnxspace'
    """
    library = (error.name or "a library").partition(".")[0]
    return f"This requires {library}, which is not installed. Install all that reading models requires: pip install onnxspace"


def unexpected(path: object, error: BaseException) -> str:
    """The sentence for an exception that no caller foresaw, such as a defect in a library; `path` is the file it concerns.

    >>> unexpected("model.onnx", IndexError("list index out of range"))
    'model.onnx failed unexpectedly (IndexError: list index out of range).'
    >>> unexpected("model.onnx", MemoryError())
    'model.onnx needs more memory than is available. Leave it out, or use a machine with more.'
    """
    if is_out_of_memory(error):
        return f"{path} needs more memory than is available. Leave it out, or use a machine with more."
    if isinstance(error, ModuleNotFoundError):
        return describe_missing(error)
    return f"{path} failed unexpectedly ({describe(error)})."
