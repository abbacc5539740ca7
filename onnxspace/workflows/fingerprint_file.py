"""Fingerprint files: a model is explained and written in little, without a space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Announce, Compute, Device, Execution, Progress, require_one_precision
from onnxspace.inputs.labels import Labels
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options, check_target, configure_options, resolve_settings
from onnxspace.inputs.names import list_encoders
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import MOST_REDUCED, Detail, Setup
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.inputs.targets import Target, to_target
from onnxspace.sandbox.limits import Limits
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.similarity.reliability import find_evidence

#: The labels of a fingerprint are those that are written with its model.
_AS_WRITTEN = Labels()
#: A fingerprint, the assumptions about its model, and warnings.
Explained = tuple[Fingerprint, tuple[str, ...], tuple[str, ...]]


def fingerprint_file(
    model: str | Path, output: str | Path, probes: Probes, method: Method = DEFAULT_METHOD, *, options: Options | None = None,
    encoder: str | Sequence[str] | None = None, config: Config | str | Path | None = None, device: Compute | Device = "auto",
    batch_size: int | None = None, progress: Progress | None = None, limits: Limits | str | None = None, pixels: Pixels = None,
    announce: Announce | None = None, detail: Detail | None = None, outputs: bool = True, labels: Labels | None = _AS_WRITTEN,
    explained: Target | str | int | None = None,
) -> Explained:  # fmt: skip
    """Explain a model on probe images and write its fingerprint to the file `output`, as `Space.fingerprint` does for a space.

    `detail` is what it holds beside the sketch of maps: `maps` (nothing), `images` (features and outputs in little, enough to rank
    by answers per image) or `pictures` (enough for outputs that are pictures too); None is `pictures`, and `maps` for generated
    images, which no source is ranked on. Without `outputs` it holds nothing of what the model answers; `labels` are stated beside those that are written with the model, and
    with None it holds none. `method`, `options` and `explained` are those of `onnxspace.score`, the precision of a `Compute` is kept in the file, the other arguments as in `Space.add`. Returns the fingerprint, the
    assumptions about the model, and warnings. Raises ConfigError, ModelError, OutputError.
    """
    from onnxspace.workflows.fingerprint import fingerprint

    encoders, configuration = list_encoders(encoder), resolve_config(config, [Path(model)], pixels)
    resolve_settings([method], options)
    asked = to_target(explained)
    check_target(method, asked)
    execution = Execution.on(device, batch_size, progress, limits=limits, announce=announce)
    precision = require_one_precision(execution)
    setup = Setup(probes, method, configure_options(method, options, configuration.rules), asked, precision)
    protocol = setup.protocol(detail=choose_detail(probes, detail))
    made = fingerprint(Path(model), protocol, setup, encoders, configuration, execution.with_precision(precision))
    found = choose_labels(drop_outputs(made, keep=outputs), labels)
    write_fingerprint(Path(output), found[0])
    return found


def choose_detail(probes: Probes, requested: Detail | None = None) -> Detail:
    """What is kept beside maps: what is `requested`, else nothing on generated images, which rank no sources.

    Raises ConfigError where more than maps is requested of too many images.
    """
    many = len(probes) > MOST_REDUCED
    if requested not in (None, "maps") and many:
        raise ConfigError(
            f"Features and outputs are kept of up to {MOST_REDUCED} images, not {len(probes)}. Give fewer, or the detail maps."
        )
    return requested or ("pictures" if find_evidence(probes.name) == "pictures" and not many else "maps")


def drop_outputs(found: Explained, *, keep: bool) -> Explained:
    """The fingerprint without what the model answers, unless that is to be kept."""
    one, assumed, warnings = found
    if keep or one.reduced is None:
        return found
    return replace(one, reduced=one.reduced.without_outputs()), assumed, warnings


def choose_labels(found: Explained, labels: Labels | None) -> Explained:
    """The fingerprint with `labels` beside those that are written with the model; without any where it is None."""
    one, assumed, warnings = found
    return replace(one, labels=Labels() if labels is None else labels.over(one.labels)), assumed, warnings
