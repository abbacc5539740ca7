"""A few images, what some models look at in them, and the picture of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.devices import resolve_compute
from onnxspace.attribution.explainer import check_options
from onnxspace.attribution.maps import VERIFIED_IMAGES, Engines, engines_for
from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, ProbeError, unexpected
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.execution import Compute, Counter, Device, Execution, Progress
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import encoders_for, list_encoders, name_models
from onnxspace.inputs.probes import DEFAULT_SIZE, Probes, read_square
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import Model, open_model, rename_model
from onnxspace.report.explanation import Column, Explanation, check_picture_path
from onnxspace.torchgraph.encoder_graph import convert

MAX_IMAGES = 32
MAX_COLUMNS = 32
MAX_MAPS = 256


def explain(
    models: Sequence[str | Path],
    images: Sequence[str | Path],
    *,
    methods: Sequence[Method] = (DEFAULT_METHOD,),
    options: Options | None = None,
    encoder: str | Mapping[str, str] | Sequence[str] | None = None,
    config: Config | str | Path | None = None,
    device: Compute | Device = "auto",
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """What each model looks at in each image, by each method; drawn to the PNG file `output` where one is named.

    Images are cut and resized to squares of 224 pixels as a probe set's are: at most 32 images, 32 models × methods and
    256 maps. All or nothing: the first model or image that can't be used raises ModelError, ProbeError or their kin, and
    no file is written. Raises ConfigError for impossible options and OutputError where the picture can't be written.
    """
    settings = resolve_settings(methods, options)
    _check_counts(len(images), len(models) * len(methods))
    resolve_compute(device)
    if output is not None:
        check_picture_path(Path(output), [Path(path) for path in (*models, *images, settings.baseline)])
    known = config if isinstance(config, Config) else find_config(config)
    paths = [Path(path) for path in models]
    names = name_models(paths, known)
    wishes = list_encoders(encoder)
    probes = _read_images([Path(path) for path in images])
    check_options(methods, options, probes, known.rules)
    setups = [Setup(probes, method, configure_options(method, options, known.rules)) for method in methods]
    counter = Counter(len(models) * len(setups) * len(probes), progress)
    run = _ExplanationRun(setups, Execution.on(device), counter)
    columns: list[Column] = []
    for path, name, wish in zip(paths, names, encoders_for(paths, names, wishes), strict=True):
        with _convert_defects(path):
            columns += run.columns(rename_model(open_model(path, wish, known.options(path)), name))
    pictures = tuple(Path(image).stem.encode("utf-8", "backslashreplace").decode("utf-8") for image in images)
    stated = {key: value for setup in setups for key, value in setup.stated_options.items()}
    found = Explanation(pictures, probes.images, tuple(columns), stated, tuple(run.assumed), tuple(run.warnings))
    if output is not None:
        _draw(found, Path(output))
    return found


@contextmanager
def _convert_defects(path: Path) -> Iterator[None]:
    """A defect in a library below becomes an error that names the model."""
    try:
        yield
    except OnnxspaceError:
        raise
    except Exception as error:
        raise ModelError(unexpected(path, error)) from error


def _check_counts(images: int, columns: int) -> None:
    if not images or not columns:
        raise ConfigError("There is nothing to explain: give at least one model, one image and one method.")
    if images > MAX_IMAGES or columns > MAX_COLUMNS or images * columns > MAX_MAPS:
        raise ConfigError(
            f"{images} images × {columns} models and methods make too large a picture: at most {MAX_IMAGES}, {MAX_COLUMNS} "
            f"and {MAX_MAPS} maps in all. Draw several."
        )


def _read_images(paths: Sequence[Path]) -> Probes:
    for path in paths:
        if not path.exists():
            raise ProbeError(f"{path}: no such file. Check the path.")
        if not path.is_file():
            raise ProbeError(f"{path} is not a regular file. Name image files one by one.")
    return Probes("images", np.stack([read_square(path, DEFAULT_SIZE) for path in paths]))


def _draw(found: Explanation, output: Path) -> None:
    from onnxspace.report.gallery import draw_explanation
    from onnxspace.storage.atomic import whole_file

    with whole_file(output) as partial:
        draw_explanation(found, partial)


@dataclass
class _ExplanationRun:
    """One explanation in progress: a setup for each method, of the same images."""

    setups: Sequence[Setup]
    execution: Execution
    counter: Counter
    assumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def columns(self, model: Model) -> Iterator[Column]:
        self.counter.advance(0, model.name)
        encoder = find_encoder(model)
        converted = convert(model, self.setups[0].probes.images[:VERIFIED_IMAGES], encoder)
        assumed = (f"encoder {encoder} ({encoder.why})",) if model.encoder == "auto" else ()
        if model.assumed or assumed:
            self.assumed.append(f"{model.name}: {'; '.join((*model.assumed, *assumed))}")
        gradients: defaultdict[str | None, dict[bytes, Tensor]] = defaultdict(dict)
        for setup in self.setups:
            known = gradients[METHODS[setup.method].rules]
            yield self._make_column(engines_for(model, converted, setup, self.execution, known), model.name, setup.method)

    def _make_column(self, engines: Engines, name: str, method: Method) -> Column:
        maps: list[NDArray[np.float32]] = []
        errors: list[float] = []
        for found in engines.maps():
            maps.append(found.maps)
            errors += [] if found.errors is None else found.errors.tolist()
            self.counter.advance(len(found.maps), name)
        self.warnings += [f"{name}: {remark}" for remark in engines.remarks(errors)]
        whole = np.concatenate(maps)
        if zero := int(np.count_nonzero(~whole.any(axis=(1, 2)))):
            self.warnings.append(f"{name}: {zero} of {len(whole)} maps by {method} are zero.")
        return Column(name, method, METHODS[method].signed, whole)
