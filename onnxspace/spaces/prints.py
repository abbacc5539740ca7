"""Fingerprint files and a space: whether they can be compared, and how one becomes a model without maps."""

from __future__ import annotations

from pathlib import Path

from onnxspace.errors import SpaceError
from onnxspace.sketch import Fingerprint, read_fingerprint
from onnxspace.spaces.facts import Entry, Made, identity
from onnxspace.spaces.files import write_array
from onnxspace.spaces.put import NO_STEM, NO_SUM, now, put
from onnxspace.spaces.work import workbench


def is_print(path: Path) -> bool:
    return path.suffix.lower() == ".fp"


def read_print(folder: Path, made: Made, given: str | Path | Fingerprint) -> Fingerprint:
    """A fingerprint, or its file, made as the models of the space were. Raises SpaceError for another, ModelError for a bad file."""
    found = given if isinstance(given, Fingerprint) else read_fingerprint(Path(given))
    for what, theirs, ours in (
        ("images", (found.probe_sha256, found.images), (made.sha256, made.images)),
        ("settings of the method", (found.method, found.options), (made.method, made.print_options())),
        ("numbers", (found.seed, found.numbers, found.version), (made.sketch, made.numbers, made.sketch_version)),
    ):
        if theirs != ours:
            raise SpaceError(
                f"{found.name if given is found else given} was made with other {what} than {folder}, so it can't be compared. Make it with "
                "`onnxspace fingerprint --space`."
            )
    return found


def add_print(folder: Path, made: Made, path: Path) -> tuple[Entry, bool]:
    """Enter a `.fp` file; gives the model as it is in the space, and whether it is new."""
    found = read_print(folder, made, path)
    content = identity(found.sha256, found.encoder, "")
    draft = Entry(found.name, NO_STEM, content, found.sha256, str(path), found.encoder, "", "", 0, "", NO_SUM, added=now())
    with workbench(folder) as bench:
        write_array(bench / "prints.npy", found.prints.astype("<f2"))
        return put(folder, draft, bench / "prints.npy", None)
