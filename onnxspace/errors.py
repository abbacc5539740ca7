"""The errors that users can meet: one family, each member also a subclass of the builtin that a caller would catch.

A message is one sentence or two: what is wrong with which file, and how to correct it.
"""


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


class OutputError(OnnxspaceError, OSError):
    """A result that could not be written."""


class ClusterError(OnnxspaceError, ConnectionError):
    """A cluster that can't be reached, has no workers, or whose workers can't read the files."""


def describe(error: BaseException) -> str:
    """The type and message of any exception on one line, as in `ValueError: bad shape`.

    White space in the message is collapsed, what follows its 300th character is dropped, and so is a full stop at its end.

    >>> describe(ValueError("bad shape."))
    'ValueError: bad shape'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": .")


def unexpected(path: object, error: BaseException) -> str:
    """The sentence for an exception that no caller foresaw, such as a defect in a library; `path` is the file it concerns.

    >>> unexpected("model.onnx", IndexError("list index out of range"))
    'model.onnx failed unexpectedly (IndexError: list index out of range).'
    """
    return f"{path} failed unexpectedly ({describe(error)})."
