"""Rating models by how well their features suit labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, OutputError, ProbeError, unexpected
from onnxspace.evaluation.static_baseline import mean_ranks
from onnxspace.evaluation.table import Table
from onnxspace.inputs.config import Config
from onnxspace.inputs.decoded import DecodedPhotos
from onnxspace.inputs.execution import Announce, Compute, Execution, Progress
from onnxspace.inputs.names import EncoderNames, encoders_for, list_encoders, list_paths, name_models
from onnxspace.inputs.photos import Photos
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.sandbox.limits import Limits, resolve_limits
from onnxspace.scores.folds import order_by_content
from onnxspace.scores.held_out import HeldOut
from onnxspace.scores.image_results import ImageResults
from onnxspace.scores.prepared import Prepared
from onnxspace.scores.ratings import EnsembleChoice, Ratings
from onnxspace.scores.registry import SCORES, ScoreSpec, find_spec
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.described import DescribedModels, Turn
from onnxspace.workflows.requests import DescribedModel
from onnxspace.workflows.session import READING_TASKS, ModelSession, open_session

#: The default scores by kind of labels: fast, and of different types.
DEFAULT_SCORES: Mapping[str, tuple[str, ...]] = {
    "classes": ("sfda", "logme", "h_score", "knn", "linear_probe"),
    "multilabel": ("logme", "linear_probe"),
    "regression": ("logme", "linear_probe"),
}
#: Without `by`, their mean rank ranks: the combination of these ranks better than any of them (docs/scores.md).
RANKING_SCORES: Mapping[str, tuple[str, ...]] = {
    "classes": ("knn", "linear_probe", "logme"),
    "multilabel": ("logme", "linear_probe"),
    "regression": ("logme", "linear_probe"),
}
#: How positions are pooled, see `onnxspace.model.features`.
Pool = Literal["mean", "none", "fit"]
_MOST_BYTES = 2**32  # of one model's features in double precision


def rate(
    models: Sequence[str | Path],
    data: Photos | str | Path,
    by: Sequence[str] = (),
    *,
    encoder: EncoderNames = None,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    pool: Pool = "mean",
    size: int | None = None,
    ensemble: int = 0,
    features: str | Path | None = None,
    known: Table | str | Path | None = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
    announce: Announce | None = None,
    threads: int = 0,
) -> Ratings:
    """Rank `models` by how well their features at the encoder suit labelled images.

    `data` is a folder with a folder per class, a CSV of paths and labels, or `Photos`. `by` names scores of
    `onnxspace.scores.registry` that take labels, the first of which ranks; without it, models are ranked by the mean rank of
    `RANKING_SCORES`, beside the other defaults for the kind of labels. `encoder` is a tensor or node name for all models, a
    sequence of names that are taken together, or a mapping from model to either; `config` a configuration or its file; `pixels` a preset's name, names by model, or `StatedPixels`; `pool` is `mean` (over positions) or `none`; `size` is the
    side in pixels at which images are decoded (None: the larger side of each model's input). `ensemble` is the largest number
    of models of an ensemble selected by SFDA, 0 for none. With `features`, decoded images and features are kept in that folder,
    and the same call resumes after an interruption. `known` is a table of the models' results on other datasets (datasets ×
    models, larger is better): the ranking is then by the mean of the rank by labels and the rank there. `progress` is the
    callback, `limits` are those of the process that reads models, `announce` is called with the records of the models before anything is computed; `threads` is the number of threads that compute features (0: as many as may be used). A model that fails is listed in `failed`, a score that fails in `why`.

    Raises ConfigError for scores that don't suit the labels, ProbeError for data that can't be read, TableError for `known`,
    OutputError where files can't be written.

    >>> ox.rate(["a.onnx", "b.onnx"], "flowers").ranked[0].source  # doctest: +SKIP
    'b'
    """
    paths = list_paths(models)
    photos = data if isinstance(data, Photos) else Photos.open(data)
    scores = _select_scores(by or DEFAULT_SCORES[photos.kind], photos, ensemble)
    configuration = resolve_config(config, paths, pixels)
    known_results = known if known is None or isinstance(known, Table) else Table.read(known)
    names = name_models(paths, configuration)
    encoders = encoders_for(paths, names, list_encoders(encoder))
    execution = Execution(Compute("cpu", threads=threads), limits=resolve_limits(limits))
    with _open_folder(features) as folder, open_session(execution, READING_TASKS) as session:
        run = _RatingRun(session, photos, scores, configuration, pool, folder, size, progress, (len(paths) + 1) * len(photos))
        turns = list(zip(paths, names, encoders, strict=True))
        run.described.announce(turns, announce)
        run.warnings += run.described.warnings
        for turn in turns:
            run.rate(turn)
        return run.result(tuple(by[:1]) or RANKING_SCORES[photos.kind], ensemble, known_results)


def _select_scores(by: Sequence[str], photos: Photos, ensemble: int) -> dict[str, ScoreSpec]:
    """Find the scores by name. Raises ConfigError, before any work is done, for scores that don't take such labels."""
    found = {name: find_spec(name) for name in dict.fromkeys(by)}
    for name, one in found.items():
        if one.needs == "pair":
            raise ConfigError(f"{name} compares two models without labels. Use onnxspace score --by {name}.")
        if photos.kind not in one.labels:
            fit = ", ".join(n for n, s in SCORES.items() if photos.kind in s.labels)
            raise ConfigError(f"{name} takes {' or '.join(one.labels)}, but {photos.name} has {photos.kind}. Use {fit}.")
    if ensemble and photos.kind != "classes":
        raise ConfigError(f"An ensemble is selected by SFDA, which takes classes, but {photos.name} has {photos.kind}.")
    return found


@contextmanager
def _open_folder(kept: str | Path | None) -> Iterator[Path]:
    if kept is None:
        with scratch_folder() as folder:
            yield folder
        return
    try:
        Path(kept).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.errno, f"{kept} can't be created ({error.strerror}). Name another folder.") from error
    yield Path(kept)


@dataclass
class _RatingRun:
    """The state of one rating."""

    session: ModelSession
    photos: Photos
    scores: Mapping[str, ScoreSpec]
    config: Config
    pool: Pool
    folder: Path
    size: int | None
    progress: Progress | None
    total: int
    done: int = 0
    due: int = 0
    records: list[ModelRecord] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)
    held_out: list[dict[str, HeldOut]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    why: dict[tuple[str, str], str] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @cached_property
    def described(self) -> DescribedModels:
        return self.session.open_models(self.config)

    @cached_property
    def decoded(self) -> DecodedPhotos:
        return DecodedPhotos(self.photos, self.folder, lambda images: self._advance("decoding", images))

    @cached_property
    def content(self) -> NDArray[np.intp]:
        return order_by_content(self.decoded.hashes)

    def rate(self, turn: Turn) -> None:
        path, name, _ = turn
        self.due += len(self.photos)
        held_out: dict[str, HeldOut] = {}
        try:
            found = self.described.take(turn)
            file = self._write_features(found)
            row = dict(self._compute_values(found, file, held_out))
        except (OutputError, ProbeError):
            raise
        except OnnxspaceError as error:
            self.failed.append(Failure(str(path), str(error)))
        except Exception as error:  # a defect in a library below must not lose the other models' work
            self.failed.append(Failure(str(path), unexpected(path, error)))
        else:
            self.records.append(found.record)
            self.rows.append(row)
            self.held_out.append(held_out)
            self.files.append(file)
            self.warnings += found.remarks
        self._advance(name, self.due - self.done)

    def _images_for(self, model: DescribedModel) -> Probes:
        """The images at the size that the model takes: a detour over another size would lose what a small network looks at."""
        size = self.size or model.side
        if size not in self.decoded.sizes:
            self.due += len(self.photos)
            self.total += len(self.photos) if self.decoded.sizes else 0
        return self.decoded.at_size(size)

    def _write_features(self, found: DescribedModel) -> Path:
        """Return the file of the features at a model's encoder, computed unless it exists."""
        file = self._write(found, self.pool, "encoder")
        assert file is not None
        return file

    def _write(self, found: DescribedModel, pool: Pool, of: Literal["encoder", "classes"]) -> Path | None:
        images, name = self._images_for(found), found.record.name
        return self.session.write_features(
            found, self.decoded.file_at_size(images.size), images.sha256, pool, self.folder,
            lambda count: self._advance(name, count), of,
        )  # fmt: skip

    def _compute_values(self, found: DescribedModel, file: Path, held_out: dict[str, HeldOut]) -> Iterator[tuple[str, float]]:
        """Values by score; the results of single images, where a score has them, are entered in `held_out`."""
        name = found.record.name
        ready = self._prepare_features(file, name) if any(s.needs == "features" for s in self.scores.values()) else None
        for score, one in self.scores.items():
            try:
                if (judge := one.load_held_out()) is not None:
                    held_out[score] = judge(ready)
                    value = held_out[score].mean
                elif one.needs == "features":
                    value = one.load()(ready) if score in SCORES else one.load()(map_array(file), self.photos.labels)
                else:
                    value = one.load()(self._predict_source(found, one.needs == "source labels"), self.photos.labels)
            except OnnxspaceError as error:
                self.why[score, name] = str(error)
                value = np.nan
            yield score, float(value)

    def _prepare_features(self, file: Path, name: str) -> Prepared:
        values = map_array(file)
        if 8 * values.size > _MOST_BYTES:
            raise ConfigError(
                f"{name} has {values.shape[1]:,} features per image, {8 * values.size / 2**30:.1f} GiB in all. Use --pool mean, or "
                "name an --encoder with fewer."
            )
        try:
            return Prepared(values, self.photos.labels, self.photos.kind, self.content)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error

    def _predict_source(self, found: DescribedModel, labels: bool) -> NDArray[np.float64] | NDArray[np.intp]:
        """Compute the prediction of the model's own classifier for each image: probabilities, or with `labels` the class."""
        file = self._write(found, "none", "classes")
        if file is None:
            raise ModelError(f"{found.record.name} has no output with a value per class, so it has no source classes.")
        numbers: NDArray[np.float64] = map_array(file).astype(np.float64)
        if labels:
            return np.asarray(numbers.argmax(axis=1))
        if numbers.min() >= 0 and np.abs(numbers.sum(axis=1) - 1).max() < 1e-2:
            return numbers
        exponentials = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def _advance(self, what: str, images: int) -> None:
        self.done += images
        if self.progress is not None:
            self.progress(what, self.done, self.total)

    def result(self, by: tuple[str, ...], ensemble: int, known: Table | None) -> Ratings:
        values = {score: tuple(row[score] for row in self.rows) for score in self.scores}
        results = {
            score: tuple(row.get(score) for row in self.held_out)
            for score, one in self.scores.items() if one.held_out is not None
        }  # fmt: skip
        return Ratings(
            tuple(self.records), values, self.photos.describe(self.decoded.sha256), self.why, tuple(self.failed),
            tuple(self.warnings), self._choose_ensemble(ensemble), self._mean_ranks(known), by, ImageResults(results),
        )  # fmt: skip

    def _mean_ranks(self, known: Table | None) -> tuple[float, ...] | None:
        """Mean rank of each model on the datasets of the table of known results, 1 the best; NaN for a model that is not in it."""
        if known is None:
            return None
        ranks = dict(zip(known.sources, mean_ranks(known.values).tolist(), strict=True))
        return tuple(ranks.get(record.name, ranks.get(Path(record.path).name, np.nan)) for record in self.records)

    def _choose_ensemble(self, most: int) -> EnsembleChoice | None:
        if not most or not self.records:
            return None
        from onnxspace.scores import sfda_ensemble

        features = [map_array(file) for file in self.files]
        found = sfda_ensemble(features, self.photos.labels, most)
        return EnsembleChoice(tuple(self.records[i].name for i in found.members), found.scores)
