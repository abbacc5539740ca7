"""Every error a user can meet: one family, each member also the builtin a caller would catch.

A message is one sentence or two: what is wrong with which file, and the way out.
"""


class OnnxspaceError(Exception):
    """Base of every error that onnxspace raises on purpose."""


class ModelError(OnnxspaceError, ValueError):
    """An ONNX file that can't be read, described, cut or explained."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No file at the path that was given."""


class UnsupportedOperatorError(ModelError, NotImplementedError):
    """An operator below the encoder that has no differentiable counterpart here."""


class ConversionError(ModelError, ArithmeticError):
    """The converted graph does not compute what ONNX Runtime computes."""


class AttributionError(ModelError, FloatingPointError):
    """A map that is not finite, or a network that ignores its image."""


class ProbeError(OnnxspaceError, ValueError):
    """A probe set that is empty, broken, too large or unlike the one it is compared with."""


class ConfigError(OnnxspaceError, ValueError):
    """A configuration file or an option with a value that makes no sense."""


class TableError(OnnxspaceError, ValueError):
    """A table of results that can't be read, or that shares nothing with another."""


class SpaceError(OnnxspaceError, ValueError):
    """A model space that is none, is damaged, comes from a newer version, or does not fit what is added to it."""


class OutputError(OnnxspaceError, OSError):
    """A result that could not be written."""


class ClusterError(OnnxspaceError, ConnectionError):
    """A cluster that can't be reached, has no workers, or whose workers don't see what they are to work on."""
