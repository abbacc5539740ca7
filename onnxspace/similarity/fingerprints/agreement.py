"""What a comparison is made with where fingerprints are among the models: images, method and options that all share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import starmap
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError, OnnxspaceError, ProbeError
from onnxspace.inputs.methods import BASELINES, DEFAULT_METHOD, METHODS, Method, Options, configured, in_words, resolve_settings
from onnxspace.inputs.names import is_print
from onnxspace.inputs.probes import DEFAULT_IMAGES, MAX_IMAGES, Probes
from onnxspace.inputs.protocol import GENERATED, KEPT_BYTES, MAX_SIZE, Protocol, protocol_of
from onnxspace.inputs.rule_names import problem
from onnxspace.similarity.fingerprints.file import Fingerprint, check_comparable, read_fingerprint
from onnxspace.similarity.records import ModelRecord

Rules = Mapping[str, Mapping[str, str | float]]
#: What each `.fp` file holds, or why it can't be compared.
Prints = Mapping[Path, Fingerprint | OnnxspaceError]
_USUAL = "generated-0", DEFAULT_IMAGES
_LONGEST = 200  # letters of what a file says that an error repeats


@dataclass(frozen=True)
class ProtocolRequest:
    """What a caller said of images, method and options; None is nothing. `rules` come from a configuration."""

    probes: Probes | None
    method: Method | None
    options: Options | None
    rules: Rules = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return self.probes is None and self.method is None and self.options in (None, Options())


@dataclass(frozen=True)
class Agreement:
    """How all models are explained, what the `.fp` files hold, and what a reader should know of the choice."""

    probes: Probes
    method: Method
    options: Options | None
    prints: Prints = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def read_prints(paths: Sequence[Path]) -> Prints:
    """The `.fp` files among `paths`."""
    return {path: _read(path) for path in dict.fromkeys(paths) if is_print(path)}


def _read(path: Path) -> Fingerprint | OnnxspaceError:
    try:
        return replace(read_fingerprint(path), name=str(path))
    except OnnxspaceError as error:
        return error


def record_of(one: Fingerprint | OnnxspaceError, path: Path, name: str) -> tuple[ModelRecord, Fingerprint]:
    """A fingerprint as a compared model. Raises what is wrong with it."""
    if isinstance(one, OnnxspaceError):
        raise one
    return ModelRecord(name, str(path), one.sha256, one.encoder, "", 0, ""), one


def alike(prints: Prints) -> Prints:
    """The same, but that those which can't be compared with the first are errors."""
    first = next((one for one in prints.values() if isinstance(one, Fingerprint)), None)
    return {path: one if first is None else _like(first, one) for path, one in prints.items()}


def _like(first: Fingerprint, one: Fingerprint | OnnxspaceError) -> Fingerprint | OnnxspaceError:
    try:
        if isinstance(one, Fingerprint):
            check_comparable(first, one)
    except OnnxspaceError as error:
        return error
    return one


def agree(prints: Prints, wish: ProtocolRequest) -> Agreement:
    """What models are explained with: what the wish says, and of the rest what the first fingerprint says that can be met.

    A fingerprint made otherwise becomes an error that says what to ask for. Raises ConfigError for impossible options.
    """
    readable = [one for one in prints.values() if isinstance(one, Fingerprint)]
    found = next((met for one in readable if (met := _met(one, wish)) is not None), None) or _default(wish)
    protocol = protocol_of(found.probes, found.method, found.options)
    fitting = {path: one if isinstance(one, OnnxspaceError) else _fitting(one, protocol) for path, one in prints.items()}
    return replace(found, prints=alike(fitting))


def _default(wish: ProtocolRequest) -> Agreement:
    method = wish.method or DEFAULT_METHOD
    probes = Probes.generate() if wish.probes is None else wish.probes
    return Agreement(probes, method, configured(method, wish.options, wish.rules))


def _met(one: Fingerprint, wish: ProtocolRequest) -> Agreement | None:
    """How to explain models as this fingerprint was made; None where the wish says otherwise, or that can't be done here."""
    told = _stated_options(one) if wish.method is None and wish.options in (None, Options()) else (wish.method, wish.options)
    if told is None or one.method != (told[0] or DEFAULT_METHOD):
        return None
    probes = _drawn_again(one) if wish.probes is None else wish.probes
    if probes is None:
        return None
    method = told[0] or DEFAULT_METHOD
    options = configured(method, told[1], wish.rules)
    if isinstance(_fitting(one, protocol_of(probes, method, options)), OnnxspaceError):
        return None
    return Agreement(probes, method, options, remarks=_remarks(one, wish))


def _stated_options(one: Fingerprint) -> tuple[Method, Options] | None:
    """Method and options as a fingerprint states them, which comes from anyone: never a file, and nothing out of range."""
    method = next((name for name in METHODS if name == one.method), None)
    known = {f.name for f in fields(Options)}
    if method is None or not known.issuperset(one.options) or one.options.get("baseline", "zero") not in BASELINES:
        return None
    try:
        options = Options(**one.options)
        wrong = [*starmap(problem, (options.rules or {}).items())]
        sound = not any(wrong) and resolve_settings([method], options).used_by(method) == one.options
    except (OnnxspaceError, AttributeError):  # rules that are no table
        return None
    return (method, options) if sound else None


def _drawn_again(one: Fingerprint) -> Probes | None:
    """The generated images of a fingerprint; None for others, and for more than a space would keep."""
    found = GENERATED.fullmatch(one.probe_name)
    if found is None or one.images > MAX_IMAGES or one.probe_size > MAX_SIZE or 3 * one.images * one.probe_size**2 > KEPT_BYTES:
        return None
    try:
        return Probes.generate(one.images, one.probe_size, int(found[1]))
    except ProbeError:
        return None


def _remarks(one: Fingerprint, wish: ProtocolRequest) -> tuple[str, ...]:
    """What was taken from a fingerprint although the defaults say otherwise."""
    free = wish.method is None and wish.options in (None, Options())
    other = one.method != DEFAULT_METHOD or bool(one.options)
    way = [f"by {_way(one.method, one.options)}"] if free and other else []
    drawn = wish.probes is None and (one.probe_name, one.images) != _USUAL
    taken = [*way, f"on {one.images} images ({one.probe_name})"] if drawn else way
    return (f"models are explained {' '.join(taken)}, as {one.name} was.",) if taken else ()


def _fitting(one: Fingerprint, protocol: Protocol) -> Fingerprint | OnnxspaceError:
    """The fingerprint, or what is wrong with comparing it to models that are explained as `protocol` says."""
    ways = (one.method, one.options) == (protocol.method, protocol.print_options())
    images = (one.probe_sha256, one.images) == (protocol.sha256, protocol.images)
    if ways and images:
        return one
    way = _way(one.method, one.options) + ("" if ways else f" (here: {_way(protocol.method, protocol.print_options())})")
    here = "" if images else f" (here: {protocol.images} of {protocol.probe})"
    shown = f"{one.images} images of {one.probe_name[:_LONGEST]}{here}"
    advice = " ".join([*([] if ways else _method_flags(one, protocol)), *([] if images else _image_flags(one, protocol))])
    kind = ConfigError if images else ProbeError
    return kind(f"{one.name} was made by {way} on {shown}, so it can't be compared; give {advice}, or make it again.")


def _way(method: str, options: Mapping[str, Any]) -> str:
    return (f"{method} with {in_words(options)}" if options else method)[:_LONGEST]


def _method_flags(one: Fingerprint, protocol: Protocol) -> list[str]:
    """How to ask for the method of a fingerprint."""
    flags = [f"--method {one.method[:_LONGEST]}"]
    for name, value in one.options.items():
        picture = name == "baseline" and value not in BASELINES
        flags.append("--baseline with its picture" if picture else f"--{name} {value}"[:_LONGEST])
    surplus = [f"no --{name}" for name in protocol.options if name not in one.options]
    return [*flags, *surplus]


def _image_flags(one: Fingerprint, protocol: Protocol) -> list[str]:
    """How to ask for the images of a fingerprint."""
    drawn = GENERATED.fullmatch(one.probe_name)
    if drawn is None or (one.probe_name, one.images) == (protocol.probe, protocol.images):
        return [f"--images {one.images} --probe with its pictures"]
    return [f"--images {one.images}", *([f"--seed {drawn[1]}"] if int(drawn[1]) else [])]
