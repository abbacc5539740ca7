"""Agreement on a common protocol (images, method and options) where fingerprints are among the compared models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import starmap
from pathlib import Path

from onnxspace.errors import ConfigError, OnnxspaceError, ProbeError
from onnxspace.inputs.methods import BASELINES, DEFAULT_METHOD, METHODS, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import is_fingerprint
from onnxspace.inputs.precision import PRECISION, KeptPrecision, Precision, read_precision
from onnxspace.inputs.probes import DEFAULT_IMAGES, MAX_IMAGES, Probes
from onnxspace.inputs.protocol import GENERATED, KEPT_BYTES, MAX_SIZE, TARGET, Protocol, Setup, describe_method, read_target
from onnxspace.inputs.rule_names import Rules, find_problem
from onnxspace.inputs.targets import Target
from onnxspace.similarity.fingerprints.file import Fingerprint, check_comparable, read_fingerprint
from onnxspace.similarity.records import ModelRecord
from onnxspace.storage.short_text import count

#: The fingerprint of each `.fp` file, or the error that prevents its comparison.
Prints = Mapping[Path, Fingerprint | OnnxspaceError]
_USUAL = "generated-0", DEFAULT_IMAGES


@dataclass(frozen=True)
class ProtocolRequest:
    """The images, method, options, target and precision that a caller requested (None: not specified). `rules` come from a configuration.

    The precision `auto` is chosen for each model; beside fingerprints it is theirs.
    """

    probes: Probes | None
    method: Method | None
    options: Options | None
    rules: Rules = field(default_factory=dict)
    target: Target | None = None
    precision: Precision | None = None

    @property
    def empty(self) -> bool:
        """Whether neither images nor a method nor options are requested."""
        return self.probes is None and self.leaves_method_open and self.stated_precision is None

    @property
    def leaves_method_open(self) -> bool:
        """Whether neither a method nor options are requested."""
        return self.method is None and self.options in (None, Options())

    @property
    def stated_precision(self) -> KeptPrecision | None:
        """The precision of all maps, if it is requested; None where it is open, or chosen for each model."""
        return None if self.precision == "auto" else self.precision


@dataclass(frozen=True)
class Agreement:
    """The `setup` with which all models are explained, the contents of the `.fp` files, and `remarks` on the choice.

    `pictures` are the images of features and outputs (None: those of `setup`, on which maps are computed).
    """

    setup: Setup
    prints: Prints = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    pictures: Probes | None = None


def read_prints(paths: Sequence[Path]) -> Prints:
    """Read the `.fp` files among `paths`; errors are returned in place of fingerprints."""
    return {path: _read(path) for path in dict.fromkeys(paths) if is_fingerprint(path)}


def _read(path: Path) -> Fingerprint | OnnxspaceError:
    try:
        return replace(read_fingerprint(path), name=str(path))
    except OnnxspaceError as error:
        return error


def record_of(one: Fingerprint | OnnxspaceError, path: Path, name: str) -> tuple[ModelRecord, Fingerprint]:
    """Return a fingerprint as a compared model called `name`. Raises the error, if `one` is an error."""
    if isinstance(one, OnnxspaceError):
        raise one
    return ModelRecord(name, str(path), one.sha256, one.encoder, "", 0, "", pixels=one.pixels), one


def list_records(prints: Prints) -> list[ModelRecord]:
    """The records of the fingerprints that can be compared."""
    return [record_of(one, path, str(path))[0] for path, one in prints.items() if isinstance(one, Fingerprint)]


def mark_incomparable(prints: Prints) -> Prints:
    """Replace fingerprints that can't be compared with the first one by errors."""
    readable = [one for one in prints.values() if isinstance(one, Fingerprint)]
    firsts = [*readable[:1], *[one for one in readable if one.reduced is not None][:1]]
    return {path: _compare_with_firsts(firsts, one) for path, one in prints.items()}


def _compare_with_firsts(firsts: Sequence[Fingerprint], one: Fingerprint | OnnxspaceError) -> Fingerprint | OnnxspaceError:
    """The fingerprint, or the error of comparing it with the first one, and with the first that holds features."""
    for first in firsts:
        one = _compare_with_first(first, one)
    return one


def _compare_with_first(first: Fingerprint, one: Fingerprint | OnnxspaceError) -> Fingerprint | OnnxspaceError:
    try:
        if isinstance(one, Fingerprint):
            check_comparable(first, one)
    except OnnxspaceError as error:
        return error
    return one


def agree(prints: Prints, request: ProtocolRequest) -> Agreement:
    """Determine the setup with which models are explained.

    It is what `request` specifies, with the rest as in the first fingerprint that is compatible with it, or else the defaults.
    Fingerprints made with another protocol are replaced by errors that name the options to use. Raises ConfigError for invalid
    options.
    """
    readable = [one for one in prints.values() if isinstance(one, Fingerprint)]
    followed = (_follow_fingerprint(one, request) for one in readable)
    found = next((one for one in followed if one is not None), None) or _use_defaults(request)
    protocol = found.setup.protocol()
    fitting = {path: one if isinstance(one, OnnxspaceError) else _check_protocol(one, protocol) for path, one in prints.items()}
    return replace(found, prints=mark_incomparable(fitting))


def _use_defaults(request: ProtocolRequest) -> Agreement:
    method = request.method or DEFAULT_METHOD
    probes = Probes.generate() if request.probes is None else request.probes
    options = configure_options(method, request.options, request.rules)
    return Agreement(Setup(probes, method, options, request.target, request.stated_precision or "float32"))


def _follow_fingerprint(one: Fingerprint, request: ProtocolRequest) -> Agreement | None:
    """The setup with which this fingerprint was made; None where the request differs, or it can't be reproduced here."""
    chosen = _stated_options(one) if request.leaves_method_open else (request.method, request.options)
    if chosen is None or one.method != (chosen[0] or DEFAULT_METHOD):
        return None
    probes = _regenerate_images(one) if request.probes is None else request.probes
    if probes is None:
        return None
    method = chosen[0] or DEFAULT_METHOD
    target, precision = request.target or read_target(one.options), request.stated_precision or read_precision(one.options)
    setup = Setup(probes, method, configure_options(method, chosen[1], request.rules), target, precision)
    if isinstance(_check_protocol(one, setup.protocol()), OnnxspaceError):
        return None
    return Agreement(setup, remarks=_remarks(one, request))


def _stated_options(one: Fingerprint) -> tuple[Method, Options] | None:
    """Method and options of an untrusted fingerprint; None where they name a file or are out of range."""
    method = next((name for name in METHODS if name == one.method), None)
    known = {f.name for f in fields(Options)}
    stated = {name: value for name, value in one.options.items() if name not in (TARGET, PRECISION)}
    if method is None or not known.issuperset(stated) or stated.get("baseline", "zero") not in BASELINES:
        return None
    try:
        options = Options(**stated)
        wrong = [*starmap(find_problem, (options.rules or {}).items())]
        sound = not any(wrong) and resolve_settings([method], options).used_by(method) == stated
    except (OnnxspaceError, AttributeError):  # rules that are not a table
        return None
    return (method, options) if sound else None


def _regenerate_images(one: Fingerprint) -> Probes | None:
    """The generated images of a fingerprint; None for other images, and for more than a space would store."""
    found = GENERATED.fullmatch(one.probe_name)
    if found is None or one.images > MAX_IMAGES or one.probe_size > MAX_SIZE or 3 * one.images * one.probe_size**2 > KEPT_BYTES:
        return None
    try:
        return Probes.generate(one.images, one.probe_size, int(found[1]))
    except ProbeError:
        return None


def _remarks(one: Fingerprint, request: ProtocolRequest) -> tuple[str, ...]:
    """A remark on what was adopted from a fingerprint and differs from the defaults."""
    other = one.method != DEFAULT_METHOD or bool(one.options)
    precision = read_precision(one.options)
    followed = request.precision == "auto" or (request.precision is None and precision != "float32")
    way = [f"by {describe_method(one.method, one.options)}"] if request.leaves_method_open and other else []
    way += [f"in {precision}"] if followed and not (way and PRECISION in one.options) else []
    drawn = request.probes is None and (one.probe_name, one.images) != _USUAL
    taken = [*way, f"on {count(one.images, 'image')} ({one.probe_name})"] if drawn else way
    return (f"models are explained {' '.join(taken)}, as {one.name} was.",) if taken else ()


def _check_protocol(one: Fingerprint, protocol: Protocol) -> Fingerprint | OnnxspaceError:
    """The fingerprint, or the error of comparing it to models that are explained by `protocol`."""
    if (difference := protocol.difference(one.protocol)) is None:
        return one
    kind = ConfigError if protocol.has_images_of(one.protocol) else ProbeError
    return kind(f"{one.name} was made {difference}, or make it again.")
