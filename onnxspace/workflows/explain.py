"""A few images, what some models look at in them, and the picture of both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from onnxspace.attribution.devices import chosen
from onnxspace.attribution.explainer import check
from onnxspace.attribution.maps import VERIFIED_IMAGES, map_batches
from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, ProbeError
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, Compute, Device, Method, Options, configured, resolve_settings
from onnxspace.inputs.names import encoder_words, encoders_for, model_names
from onnxspace.inputs.probes import DEFAULT_SIZE, Probes, read_square
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import Model, open_model, renamed
from onnxspace.report.explanation import Column, Explanation
from onnxspace.torchgraph.encoder_graph import convert

MAX_IMAGES = 32
MAX_COLUMNS = 32
MAX_MAPS = 256
Progress = Callable[[str, int, int], None]


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
    chosen(device)
    if output is not None:
        from onnxspace.storage.atomic import refuse_unfit

        refuse_unfit(Path(output), [Path(path) for path in (*models, *images, settings.baseline)])
    known = config if isinstance(config, Config) else find_config(config)
    paths = [Path(path) for path in models]
    names = model_names(paths, known)
    wishes = encoder_words(encoder)
    probes = _probes([Path(path) for path in images])
    check(methods, options, probes, known.rules)
    told = {method: configured(method, options, known.rules) for method in methods}
    run = _Run(probes, tuple(methods), told, device, len(models) * len(methods) * len(probes), progress)
    columns: list[Column] = []
    for path, name, wish in zip(paths, names, encoders_for(paths, names, wishes), strict=True):
        with _foreseen(path):
            columns += run.columns(renamed(open_model(path, wish, known.options(path)), name))
    pictures = tuple(Path(image).stem.encode("utf-8", "backslashreplace").decode("utf-8") for image in images)
    said = {key: v for method in methods for key, v in resolve_settings([method], told[method]).used_by(method).items()}
    found = Explanation(pictures, probes.images, tuple(columns), said, tuple(run.assumed), tuple(run.warnings))
    if output is not None:
        _draw(found, Path(output))
    return found


@contextmanager
def _foreseen(path: Path) -> Iterator[None]:
    """A defect in a library below becomes an error that names the model."""
    try:
        yield
    except OnnxspaceError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:300]
        raise ModelError(f"{path} failed unexpectedly ({type(error).__name__}: {reason}).") from error


def _check_counts(images: int, columns: int) -> None:
    if not images or not columns:
        raise ConfigError("There is nothing to explain: give at least one model, one image and one method.")
    if images > MAX_IMAGES or columns > MAX_COLUMNS or images * columns > MAX_MAPS:
        raise ConfigError(
            f"{images} images × {columns} models and methods make too large a picture: at most {MAX_IMAGES}, {MAX_COLUMNS} "
            f"and {MAX_MAPS} maps in all. Draw several."
        )


def _probes(paths: Sequence[Path]) -> Probes:
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
class _Run:
    """One explanation in progress."""

    probes: Probes
    methods: tuple[Method, ...]
    options: Mapping[Method, Options | None]
    device: Compute | Device
    total: int
    progress: Progress | None
    done: int = 0
    assumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def columns(self, model: Model) -> Iterator[Column]:
        self._advance(model.name, 0)
        encoder = find_encoder(model)
        converted = convert(model, self.probes.images[:VERIFIED_IMAGES], encoder)
        taken = (f"encoder {encoder} ({encoder.why})",) if model.encoder == "auto" else ()
        if model.assumed or taken:
            self.assumed.append(f"{model.name}: {'; '.join((*model.assumed, *taken))}")
        known: defaultdict[str | None, dict[bytes, Tensor]] = defaultdict(dict)
        for method in self.methods:
            batches = map_batches(
                model, converted, self.probes, method, self.device,
                progress=lambda images: self._advance(model.name, images),
                options=self.options[method], warn=self.warnings.append, known=known[METHODS[method].rules],
            )  # fmt: skip
            maps = np.concatenate(list(batches))
            zero = int(np.count_nonzero(~maps.any(axis=(1, 2))))
            if zero:
                self.warnings.append(f"{model.name}: {zero} of {len(maps)} maps by {method} are zero.")
            yield Column(model.name, method, METHODS[method].signed, maps)

    def _advance(self, name: str, images: int) -> None:
        self.done += images
        if self.progress is not None:
            self.progress(name, self.done, self.total)
