"""Rating models by how well their features suit labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, OutputError, unexpected
from onnxspace.evaluation.static_baseline import mean_ranks
from onnxspace.evaluation.table import Table
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.execution import Progress
from onnxspace.inputs.names import encoders_for, list_encoders, name_models
from onnxspace.inputs.photos import Photos
from onnxspace.inputs.probes import DEFAULT_SIZE, Probes
from onnxspace.model.encoder import Encoder
from onnxspace.model.features import Pool, features_key, find_class_output, write_features
from onnxspace.scores.prepared import Prepared
from onnxspace.scores.ratings import EnsembleChoice, Ratings
from onnxspace.scores.registry import SCORES, ScoreSpec, find_spec
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.storage.atomic import scratch_folder
from onnxspace.workflows.open import PreparedModel, prepare_model

#: The default scores by kind of labels: fast, and of different types.
DEFAULT_SCORES: Mapping[str, tuple[str, ...]] = {
    "classes": ("sfda", "logme", "h_score", "knn", "linear_probe"),
    "multilabel": ("logme", "linear_probe"),
    "regression": ("logme", "linear_probe"),
}
_MOST_BYTES = 2**32  # of one model's features in double precision


def rate(
    models: Sequence[str | Path],
    data: Photos | str | Path,
    by: Sequence[str] = (),
    *,
    encoder: str | Mapping[str, str] | Sequence[str] | None = None,
    config: Config | str | Path | None = None,
    pool: Pool = "mean",
    size: int = DEFAULT_SIZE,
    ensemble: int = 0,
    features: str | Path | None = None,
    known: Table | str | Path | None = None,
    progress: Progress | None = None,
) -> Ratings:
    """Score how well the features of each of `models` at its encoder suit labelled images; larger is better.

    `data` is a folder with a folder per class, a CSV of paths and labels, or `Photos`. `by` names scores of
    `onnxspace.scores.registry` that take labels (empty: defaults for the kind of labels). `encoder` is a tensor or node name for all
    models, or a mapping from model to name; `config` a configuration or its file; `pool` is `mean` (over positions) or `none`; `size`
    is the side in pixels at which images are decoded. `ensemble` is the largest number of models of an ensemble selected by SFDA, 0
    for none. With `features`, decoded images and features are kept in that folder, and the same call resumes after an interruption.
    `known` is a table of the models' results on other datasets (datasets × models, larger is better): their mean rank there is
    returned beside the scores. `progress` is the callback. A model that fails is listed in `failed`, a score that fails in `why`.
    Raises ConfigError for scores that don't suit the labels, ProbeError for data that can't be read, TableError for `known`,
    OutputError where files can't be written.

    >>> ratings = ox.rate(["a.onnx", "b.onnx"], "flowers", by=["sfda"])  # doctest: +SKIP
    """
    photos = data if isinstance(data, Photos) else Photos.open(data)
    scores = _select_scores(by or DEFAULT_SCORES[photos.kind], photos, ensemble)
    configuration = config if isinstance(config, Config) else find_config(config)
    known_results = known if known is None or isinstance(known, Table) else Table.read(known)
    paths = [Path(path) for path in models]
    names = name_models(paths, configuration)
    encoders = encoders_for(paths, names, list_encoders(encoder))
    with _open_folder(features) as folder:
        run = _RatingRun(
            photos, scores, configuration, pool, folder, (len(paths) + 1) * len(photos), progress, ensemble, known_results
        )
        run.decode(size)
        for path, name, requested in zip(paths, names, encoders, strict=True):
            run.rate(path, name, requested)
        return run.result()


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

    photos: Photos
    scores: Mapping[str, ScoreSpec]
    config: Config
    pool: Pool
    folder: Path
    total: int
    progress: Progress | None
    ensemble: int
    known_results: Table | None
    done: int = 0
    records: list[ModelRecord] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    why: dict[tuple[str, str], str] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def decode(self, size: int) -> None:
        """Decode all images, once for all models; those of an earlier run are reused where no file has changed."""
        file = self.folder / f"images-{self.photos.fingerprint(size)}.npy"
        if not file.exists():
            self.photos.decode(file, size, lambda images: self._advance("decoding", images))
        self.images: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
        self.sha256 = Probes(self.photos.name, self.images).sha256
        self._advance("decoding", len(self.photos) - self.done)

    def rate(self, path: Path, name: str, encoder: str | None) -> None:
        start = self.done
        try:
            found = prepare_model(path, name, encoder, self.config)
            file = self._write_features(found, found.encoder, self.pool)
            row = dict(self._compute_values(found, file, name))
        except OutputError:
            raise
        except OnnxspaceError as error:
            self.failed.append(Failure(str(path), str(error)))
        except Exception as error:  # a defect in a library below must not lose the other models' work
            self.failed.append(Failure(str(path), unexpected(path, error)))
        else:
            self.records.append(found.record)
            self.rows.append(row)
            self.files.append(file)
            self.warnings += found.remarks
        self._advance(name, start + len(self.photos) - self.done)

    def _write_features(self, found: PreparedModel, encoder: Encoder, pool: Pool) -> Path:
        """Return the file of the features at an encoder, computed unless it exists."""
        file = self.folder / f"{features_key(found.model, encoder.tensors, pool, self.sha256)}.npy"
        if not file.exists():
            write_features(
                found.model, encoder, self.images, file, pool, lambda images: self._advance(found.record.name, images)
            )
        return file

    def _compute_values(self, found: PreparedModel, file: Path, name: str) -> Iterator[tuple[str, float]]:
        ready = self._prepare_features(file, name) if any(s.needs == "features" for s in self.scores.values()) else None
        for score, one in self.scores.items():
            try:
                if one.needs == "features":
                    value = (
                        one.load()(ready) if score in SCORES else one.load()(np.load(file, mmap_mode="r"), self.photos.labels)
                    )
                else:
                    value = one.load()(self._predict_source(found, one.needs == "source labels"), self.photos.labels)
            except OnnxspaceError as error:
                self.why[score, name] = str(error)
                value = np.nan
            yield score, float(value)

    def _prepare_features(self, file: Path, name: str) -> Prepared:
        values = np.load(file, mmap_mode="r", allow_pickle=False)
        if 8 * values.size > _MOST_BYTES:
            raise ConfigError(
                f"{name} has {values.shape[1]:,} features per image, {8 * values.size / 2**30:.1f} GiB in all. Use --pool mean, or "
                "name an --encoder with fewer."
            )
        return Prepared(values, self.photos.labels, self.photos.kind)

    def _predict_source(self, found: PreparedModel, labels: bool) -> NDArray[np.float64] | NDArray[np.intp]:
        """Compute the prediction of the model's own classifier for each image: probabilities, or with `labels` the class."""
        output = find_class_output(found.model)
        if output is None:
            raise ModelError(f"{found.record.name} has no output with a value per class, so it has no source classes.")
        numbers: NDArray[np.float64] = np.load(
            self._write_features(found, output, "none"), mmap_mode="r", allow_pickle=False
        ).astype(np.float64)
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

    def result(self) -> Ratings:
        values = {score: tuple(row[score] for row in self.rows) for score in self.scores}
        return Ratings(
            tuple(self.records), values, self.photos.describe(self.sha256), self.why, tuple(self.failed), tuple(self.warnings),
            self._choose_ensemble(), self._mean_ranks(),
        )  # fmt: skip

    def _mean_ranks(self) -> tuple[float, ...] | None:
        """Mean rank of each model on the datasets of the table of known results, 1 the best; NaN for a model that is not in it."""
        if self.known_results is None:
            return None
        ranks = dict(zip(self.known_results.sources, mean_ranks(self.known_results.values).tolist(), strict=True))
        return tuple(ranks.get(record.name, ranks.get(Path(record.path).name, np.nan)) for record in self.records)

    def _choose_ensemble(self) -> EnsembleChoice | None:
        if not self.ensemble or not self.records:
            return None
        from onnxspace.scores import sfda_ensemble

        features = [np.load(file, mmap_mode="r", allow_pickle=False) for file in self.files]
        found = sfda_ensemble(features, self.photos.labels, self.ensemble)
        return EnsembleChoice(tuple(self.records[i].name for i in found.members), found.scores)
