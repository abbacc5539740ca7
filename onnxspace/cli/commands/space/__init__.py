"""The group of commands `onnxspace space`. Importing the package defines all of them.

A module per kind of command: what changes the contents, what relates all models, what searches, what tends the files.
"""

from onnxspace.cli.commands.space import contents, labels, probes, rankings, search, upkeep
from onnxspace.cli.commands.space.group import space

__all__ = ["contents", "labels", "probes", "rankings", "search", "space", "upkeep"]
