"""What a comparison is made with where fingerprints are among the models: images, method and options that all share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import starmap
from pathlib import Path

from onnxspace.errors import ConfigError, OnnxspaceError, ProbeError
from onnxspace.inputs.methods import BASELINES, DEFAULT_METHOD, METHODS, Method, Options, configured, resolve_settings
from onnxspace.inputs.names import is_print
from onnxspace.inputs.probes import DEFAULT_IMAGES, MAX_IMAGES, Probes
from onnxspace.inputs.protocol import GENERATED, KEPT_BYTES, MAX_SIZE, Protocol, Setup, way_of
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

    setup: Setup
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
    protocol = found.setup.protocol()
    fitting = {path: one if isinstance(one, OnnxspaceError) else _fitting(one, protocol) for path, one in prints.items()}
    return replace(found, prints=alike(fitting))


def _default(wish: ProtocolRequest) -> Agreement:
    method = wish.method or DEFAULT_METHOD
    probes = Probes.generate() if wish.probes is None else wish.probes
    return Agreement(Setup(probes, method, configured(method, wish.options, wish.rules)))


def _met(one: Fingerprint, wish: ProtocolRequest) -> Agreement | None:
    """How to explain models as this fingerprint was made; None where the wish says otherwise, or that can't be done here."""
    told = _stated_options(one) if wish.method is None and wish.options in (None, Options()) else (wish.method, wish.options)
    if told is None or one.method != (told[0] or DEFAULT_METHOD):
        return None
    probes = _drawn_again(one) if wish.probes is None else wish.probes
    if probes is None:
        return None
    method = told[0] or DEFAULT_METHOD
    setup = Setup(probes, method, configured(method, told[1], wish.rules))
    if isinstance(_fitting(one, setup.protocol()), OnnxspaceError):
        return None
    return Agreement(setup, remarks=_remarks(one, wish))


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
    way = [f"by {way_of(one.method, one.options)}"] if free and other else []
    drawn = wish.probes is None and (one.probe_name, one.images) != _USUAL
    taken = [*way, f"on {one.images} images ({one.probe_name})"] if drawn else way
    return (f"models are explained {' '.join(taken)}, as {one.name} was.",) if taken else ()


def _fitting(one: Fingerprint, protocol: Protocol) -> Fingerprint | OnnxspaceError:
    """The fingerprint, or the error of comparing it to models that are explained by `protocol`."""
    if (difference := protocol.difference(one.protocol)) is None:
        return one
    kind = ConfigError if protocol.has_images_of(one.protocol) else ProbeError
    return kind(f"{one.name} was made {difference}, or make it again.")
