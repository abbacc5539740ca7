"""Our own converters, one family of operators per file; importing this package registers them all."""

from onnxspace.convert.operators import common, quantised

__all__ = ["common", "quantised"]
