"""Comparing every layer of one network with every layer of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Announce, Compute, Counter, Execution, Progress
from onnxspace.inputs.names import name_models
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.sandbox.limits import Limits
from onnxspace.scores.all_pairs import MOST_PREDICTED, sample_images
from onnxspace.scores.folds import FOLDS, assign_folds, hash_images, order_by_content
from onnxspace.scores.layer_matrix import LAYER_SCORES, ComparedLayer, LayerMatrix
from onnxspace.scores.layer_similarity import FEWEST, compute_cka, compute_predictivity, count_predictions
from onnxspace.storage.atomic import scratch_folder, write_array
from onnxspace.storage.json_fields import is_text, is_whole
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.array_forms import ArrayForm
from onnxspace.workflows.layers import refuse_fingerprints
from onnxspace.workflows.requests import DescribedModel, read_texts, wrong_answer
from onnxspace.workflows.session import READING_TASKS, ModelSession, find_file, open_session

LayerScore = Literal["cka", "predictivity"]
#: More than a worker finds: 64, and the tensors of the encoder.
_MOST_LAYERS = 256


def compare_layers(
    source: str | Path,
    target: str | Path,
    probes: Probes | None = None,
    *,
    by: Sequence[LayerScore] = ("cka",),
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
    announce: Announce | None = None,
    threads: int = 0,
) -> LayerMatrix:
    """Compare every layer of the model `source` with every layer of the model `target`, on the images `probes` (None: 64 generated ones).

    Layers are those of `layers`, at most 64 of each model. `by` names scores: `cka`, which is debiased and symmetric, and
    `predictivity`, R² of the target's layer predicted from the source's. Features of more than 16,384 values are averaged over windows;
    of more than 512 images, 512 are compared. Memory depends on the number of layers by one number per pair of images only; the
    features of all layers lie in temporary files. `config` is a configuration or its file, `pixels` a preset's name, names by model, or
    `StatedPixels`, `progress` the callback, `limits` those of the process that reads the models, `announce` is called with the
    records of both before anything is computed, `threads` is the number of threads of the process (0: as many as it may use). Raises ConfigError for fewer than 4 images, for other scores and for fingerprints,
    ModelError for models that can't be used.

    >>> found = ox.compare_layers("old.onnx", "new.onnx")  # doctest: +SKIP
    """
    probes = Probes.generate() if probes is None else probes
    paths = [Path(source), Path(target)]
    refuse_fingerprints(paths)
    _check(by, len(probes))
    configuration = resolve_config(config, paths, pixels)
    images = sample_images(probes.images, MOST_PREDICTED)
    names = name_models(paths[:1], configuration) * 2 if paths[0] == paths[1] else name_models(paths, configuration)
    with (
        open_session(Execution.on(Compute("cpu", threads=threads), progress=progress, limits=limits), READING_TASKS) as session,
        scratch_folder() as folder,
    ):
        turns = list(zip(paths, names, (None, None), strict=True))
        opened = session.open_models(configuration)
        opened.announce(turns, announce)
        models = [opened.take(turn) for turn in turns]
        write_array(file := folder / "images.npy", np.asarray(images))
        counter = Counter(2 * len(images), progress)
        sides = [_read_side(session, model, file, folder / str(place), counter) for place, model in enumerate(models)]
        scores = _compute(by, sides, images, progress)
    used = Probes(probes.name, images) if len(images) < len(probes) else probes
    facts = {"name": used.name, "images": len(used), "size": used.size, "sha256": used.sha256}
    notes = (*opened.warnings, *probes.remarks, *_describe(sides, scores, len(probes), len(images)))
    return LayerMatrix(
        models[0].record, models[1].record, sides[0].layers, sides[1].layers, scores, facts,
        (sides[0].skipped, sides[1].skipped), notes,
    )  # fmt: skip


@dataclass(frozen=True)
class _Side:
    """One model's layers, and their files of features."""

    name: str
    layers: tuple[ComparedLayer, ...]
    files: tuple[Path, ...]
    skipped: int
    pooled: int
    remarks: tuple[str, ...]

    @property
    def loads(self) -> list[Callable[[], NDArray[np.float32]]]:
        return [partial(map_array, file) for file in self.files]


def _check(by: Sequence[str], images: int) -> None:
    for name in by:
        if name not in get_args(LayerScore):
            raise ConfigError(f"{name!r} is no score of layers. Use one of {', '.join(LAYER_SCORES)}.")
    if not by:
        raise ConfigError(f"No score of layers is named. Use one of {', '.join(LAYER_SCORES)}.")
    if images < FEWEST:
        raise ConfigError(f"Layers are compared on at least {FEWEST} images, not {images}. Give more.")


def _read_side(session: ModelSession, model: DescribedModel, images: Path, folder: Path, counter: Counter) -> _Side:
    """Have the features of a model's layers written, and check what a worker has answered. Raises ModelError."""
    folder.mkdir()
    name = model.record.name
    counter.advance(0, name)
    found = session.compute("layer features", model, folder, lambda n: counter.advance(n, name), images=str(images.absolute()))
    try:
        form = ArrayForm("float32", len(map_array(images)))
        if not 0 < len(found["layers"]) <= _MOST_LAYERS:
            raise ValueError("it has another number of layers")
        files = tuple(find_file(folder, layer["file"]) for layer in found["layers"])
        for file in files:
            form.check(file)
        layers = tuple(_parse_layer(layer) for layer in found["layers"])
        numbers = [found[name] for name in ("skipped", "pooled")]
        if not all(is_whole(number, 0, 2**31) for number in numbers):
            raise ValueError("it has other fields")
        return _Side(name, layers, files, numbers[0], numbers[1], tuple(read_texts(found["warnings"])))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise wrong_answer(model.record.path) from error


def _parse_layer(found: Mapping[str, Any]) -> ComparedLayer:
    layer = ComparedLayer(found["tensor"], tuple(found["shape"]), found["trained_below"], found["share_below"])
    sizes = is_whole(layer.trained_below, 0, 2**31) and all(is_whole(size, 0, 2**62) for size in layer.shape)
    if not (is_text(layer.tensor, 2**16) and sizes and isinstance(layer.share_below, float) and isfinite(layer.share_below)):
        raise ValueError("a layer has other fields")
    return layer


def _compute(
    by: Sequence[LayerScore], sides: Sequence[_Side], images: NDArray[np.uint8], progress: Progress | None
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    first, second = (side.loads for side in sides)
    steps = {"cka": len(first) + len(second), "predictivity": count_predictions(len(first), len(second), len(images))}
    counter = Counter(sum(steps[name] for name in set(by)), progress)
    folds = assign_folds(order_by_content(hash_images(images)), FOLDS)
    found: dict[str, NDArray[np.float64]] = {}
    for name in dict.fromkeys(by):
        advance = partial(counter.advance, 1, name)
        computed = compute_cka(first, second, advance) if name == "cka" else compute_predictivity(first, second, folds, advance)
        found[name] = computed
    return found


def _describe(sides: Sequence[_Side], scores: Mapping[str, NDArray[np.float64]], given: int, images: int) -> list[str]:
    """Sentences on what is left out."""
    notes = list(dict.fromkeys(remark for side in sides for remark in side.remarks))
    notes += [
        f"{side.name}: {side.skipped} of {len(side.layers) + side.skipped} layers are skipped, evenly spaced."
        for side in sides
        if side.skipped
    ]
    notes += [
        f"{side.name}: {side.pooled} of {len(side.layers)} layers have more than 16,384 values per image, and are averaged over windows."
        for side in sides
        if side.pooled
    ]
    notes += [f"{images} of the {given:,} images are compared, evenly spaced."] if images < given else []
    matrix = next(iter(scores.values()))
    for side, rows in zip(sides, (matrix, matrix.T), strict=True):
        names = [layer.tensor for layer, row in zip(side.layers, rows, strict=True) if np.isnan(row).all()]
        if 0 < len(names) < len(rows):
            notes.append(
                f"{side.name}: {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}: the same for every image."
            )
    return notes
