"""The notes file beside a fingerprint: facts of the model and its signals per image, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from onnxspace.checking.file_facts import FileFacts, facts_dict, read_facts
from onnxspace.checking.observation import Observation
from onnxspace.checking.values import Signal
from onnxspace.errors import ConfigError, ModelError
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.storage.atomic import whole_file
from onnxspace.storage.regular_files import read_regular

SCHEMA, FIRST_SCHEMA = "onnxspace/baseline/2", "onnxspace/baseline/1"
#: `NAME.fp.onnxspace.json`, which no other program writes; the first version wrote `NAME.json`.
NOTES, FIRST_NOTES = ".onnxspace.json", ".json"
_MOST_BYTES = 2**26
_AGAIN = "make it again with --update"


def notes_of(path: Path) -> Path:
    """The notes file beside the fingerprint at `path`: `NAME.fp.onnxspace.json` for `NAME.fp`."""
    return path.with_name(path.name + NOTES)


def _first_notes_of(path: Path) -> Path:
    """The notes file as the first version named it: `NAME.json` for `NAME.fp`."""
    return path.with_suffix(FIRST_NOTES)


def write_notes(path: Path, found: Observation) -> None:
    """Write the notes of `found` beside the fingerprint `path`; notes of the first version are removed. Raises OutputError."""
    notes: dict[str, Any] = {"schema": SCHEMA, "facts": {**facts_dict(found.facts), "path": Path(found.facts.path).name}}
    if found.encoder is not None:
        notes["encoder"] = found.encoder.to_dict()
    notes["outputs"] = {name: signal.to_dict() for name, signal in found.outputs.items()}
    notes["unmeasured"] = dict(found.unmeasured)
    with whole_file(notes_of(path)) as partial:
        partial.write_text(json.dumps(notes, indent=1, allow_nan=False) + "\n", "utf-8")
    first = _first_notes_of(path)
    if is_notes(first):
        with suppress(OSError):
            first.unlink()


def refuse_to_replace(path: Path) -> None:
    """Raise ConfigError where the notes file of the fingerprint `path` exists and holds something else."""
    notes = notes_of(path)
    if (notes.exists() or notes.is_symlink()) and not is_notes(notes):
        raise ConfigError(
            f"{notes} exists and is not the notes file of a baseline, so --update does not replace it. Move it away."
        )


def is_notes(file: Path) -> bool:
    """Whether a file holds the notes of a baseline."""
    try:
        return _read_json(file).get("schema") in (SCHEMA, FIRST_SCHEMA)
    except (OSError, ValueError, RecursionError):
        return False


def _read_json(file: Path) -> dict[str, Any]:
    """The object in an untrusted JSON file. Raises OSError, ValueError, RecursionError."""
    text = read_regular(file, _MOST_BYTES)
    if len(text) > _MOST_BYTES:
        raise ValueError("it is too large")
    content = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(content, dict):
        raise ValueError("it is not an object")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def read_notes(path: Path, one: Fingerprint) -> tuple[Observation | None, str]:
    """The observation in the notes of the fingerprint `one` at `path`; None and the reason where there are none.

    Raises ModelError for a damaged notes file.
    """
    notes = next((file for file in (notes_of(path), _first_notes_of(path)) if file.exists()), None)
    if notes is None or (notes != notes_of(path) and not _may_be_notes(notes)):
        return None, f"{path} has no notes file beside it"
    content = _read_versioned(notes)
    facts = read_facts(content.get("facts", {}), notes)
    if facts.sha256 != one.sha256:
        return None, f"{notes} describes another model than {path}"
    try:
        return _observation(content, facts, one), ""
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise ModelError(f"{notes} is damaged ({error}); {_AGAIN}.") from error


def _may_be_notes(file: Path) -> bool:
    """Whether a file called as the first version called its notes is one, or was: another program's JSON has no such schema."""
    try:
        return "schema" in _read_json(file)
    except (OSError, ValueError, RecursionError):
        return True


def _read_versioned(file: Path) -> dict[str, Any]:
    try:
        content = _read_json(file)
        if content.get("schema") not in (SCHEMA, FIRST_SCHEMA):
            raise ValueError(f"its schema is not {SCHEMA}")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not the notes file of a baseline ({error}); {_AGAIN}.") from error
    return content


def _observation(content: Mapping[str, Any], facts: FileFacts, one: Fingerprint) -> Observation:
    """The observation in notes. Raises ValueError, TypeError, KeyError or AttributeError for anything else."""
    encoder = Signal.read(content["encoder"]) if "encoder" in content else None
    outputs = {str(name): Signal.read(signal) for name, signal in content["outputs"].items()}
    if any(signal.images != one.images for signal in (*outputs.values(), *([encoder] if encoder else []))):
        raise ValueError("its numbers of images differ")
    if encoder is None or not facts.of_file:
        raise ValueError("it lacks values of the encoder, or facts of the file")
    return Observation(facts, one.prints, encoder, outputs, unmeasured=_unmeasured(content, facts, outputs))


def _unmeasured(content: Mapping[str, Any], facts: FileFacts, outputs: Mapping[str, Signal]) -> dict[str, str]:
    """Outputs of the file that the notes hold no values of, with the reasons."""
    reasons = {str(name): str(reason) for name, reason in content.get("unmeasured", {}).items()}
    lost = [name for name in facts.outputs if name not in outputs and name not in reasons]
    return {**reasons, **dict.fromkeys(lost, f"has no values in the baseline; {_AGAIN}")}
