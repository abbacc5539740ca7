"""Exporters turn a model of another framework into an ONNX file. This package is public, so that others can add one.

An exporter is found through an entry point, so that this package depends on no framework; those of
`onnxspace_converters` are found in the same way as a third party's.
"""

from onnxspace.exporters.api import Exporter, Facts, Progress, Request, Source
from onnxspace.exporters.discovery import accepting, argument, broken, exporters, find, input_shape, is_source, run

__all__ = [
    "Exporter",
    "Facts",
    "Progress",
    "Request",
    "Source",
    "accepting",
    "argument",
    "broken",
    "exporters",
    "find",
    "input_shape",
    "is_source",
    "run",
]
