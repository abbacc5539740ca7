"""Models + probes → affinity: the one module in which computing and comparing meet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxspace.affinity import Affinity, Failure, ModelRecord
from onnxspace.attribution import VERIFIED_IMAGES, map_batches
from onnxspace.compute import chosen
from onnxspace.config import Config, find_config
from onnxspace.convert import Converted, convert
from onnxspace.cut import ENOUGH_BELOW, Encoder, Trunk, find_encoder
from onnxspace.distance import affinity_matrix
from onnxspace.errors import AttributionError, OnnxspaceError, OutputError
from onnxspace.explainer import check
from onnxspace.journal import Journal
from onnxspace.methods import DEFAULT_METHOD, Compute, Device, Method, Options, configured, settle
from onnxspace.model import Model, open_model, renamed
from onnxspace.naming import encoder_words, encoders_for, model_names
from onnxspace.probes import Probes
from onnxspace.recipe import model_recipe, recipe
from onnxspace.report.folder import place_maps, result_folder, write_results
from onnxspace.report.unfinished import JOURNAL, Workplace
from onnxspace.store import MapWriter, unit

#: Called with what is being done, and how many of how many map computations are behind.
Progress = Callable[[str, int, int], None]


def score(
    models: Sequence[str | Path],
    probes: Probes | None = None,
    *,
    method: Method = DEFAULT_METHOD,
    options: Options | None = None,
    encoder: str | Mapping[str, str] | Sequence[str] | None = None,
    config: Config | str | Path | None = None,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> Affinity:
    """Explain every model on the same probe images and compare their maps.

    `encoder` is a tensor or node name for all models, or a mapping from model to name. A model that can't be read or
    converted is listed in `failed`; the others are compared. `options` are the baseline and the numbers of the method; what
    `config` says of its rules holds too. With `output`, maps, matrix, rankings and a picture are kept in that folder, which
    appears whole or not at all; a run that is stopped leaves its maps in a hidden folder beside it, where the same call goes
    on. Raises ConfigError for impossible options, OutputError where results can't be written.
    """
    settle([method], options)
    chosen(device)
    probes = Probes.generate() if probes is None else probes
    known = config if isinstance(config, Config) else find_config(config)
    check([method], options, probes, known.rules)
    options = configured(method, options, known.rules)
    wishes = list(encoder) if isinstance(encoder, (list, tuple)) else encoder_words(encoder)  # type: ignore[arg-type]
    command = None if output is None else recipe(method, options, probes, device, batch_size)
    with _workspace(output, command, len(probes)) as work:
        run = Run(
            probes, method, options, device, batch_size, known, work.maps, output is not None, len(models) * len(probes), progress
        )  # fmt: skip
        run.explain_all([Path(path) for path in models], wishes)
        result = run.compare()
        if output is not None and result.models:
            place_maps(work.result / "maps", zip((model.sha256 for model in result.models), run.files, strict=True))
            write_results(work.result, result)
    return result


@contextmanager
def _workspace(output: str | Path | None, command: str | None, images: int) -> Iterator[Workplace]:
    """The folders for maps and for the result: beside the result, or temporary ones."""
    if output is not None and command is not None:
        with result_folder(Path(output), command, images) as work:
            yield work
        return
    with tempfile.TemporaryDirectory(prefix="onnxspace-", ignore_cleanup_errors=True) as name:
        yield Workplace(Path(name), Path(name), Path(name))


@dataclass(frozen=True)
class Opened:
    """A model that is ready to be explained; `remarks` are what its users should know."""

    model: Model
    encoder: Encoder
    record: ModelRecord
    remarks: tuple[str, ...]


def opened(path: Path, name: str, encoder: str | None, config: Config) -> Opened:
    """Open a model and find where to cut it. Raises ModelError and its kin."""
    model = renamed(open_model(path, encoder, config.options(path)), name)
    trunk = Trunk(model)
    found = find_encoder(model, trunk)
    assumed = (*model.assumed, *([f"encoder {found} ({found.why})"] if model.encoder == "auto" else []))
    record = ModelRecord(name, str(path), model.sha256, str(found), model.image.name, model.opset, model.producer, assumed)
    below = trunk.share_below(list(found.tensors))
    few = model.encoder == "auto" and below < ENOUGH_BELOW
    remark = f"{name}: only {below:.0%} of the network lies below its encoder {found}; --encoder names another."
    return Opened(model, found, record, (remark,) if few else ())


@dataclass
class Run:
    """One comparison in progress. Its maps lie in `folder`, where they are `kept` if it is interrupted."""

    probes: Probes
    method: Method
    options: Options | None
    device: Compute | Device
    batch_size: int | None
    config: Config
    folder: Path
    kept: bool
    total: int
    progress: Progress | None
    done: int = 0
    records: list[ModelRecord] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    known: dict[str, Path] = field(default_factory=dict)

    def explain_all(self, paths: Sequence[Path], encoders: Sequence[str]) -> None:
        names = model_names(paths, self.config)
        wanted = encoders_for(paths, names, encoders)
        for index, (path, name, encoder) in enumerate(zip(paths, names, wanted, strict=True)):
            try:
                self._explain(path, name, encoder)
            except OutputError:
                raise
            except OnnxspaceError as error:
                self._fail(path, error, str(error))
            except Exception as error:  # a defect in a library below must not lose the other models' work
                reason = (str(error).splitlines() or [""])[0][:300]
                self._fail(path, error, f"{path} failed unexpectedly ({type(error).__name__}: {reason}).")
            self._advance((index + 1) * len(self.probes) - self.done, name)

    def _fail(self, path: Path, _error: Exception, words: str) -> None:
        self.failed.append(Failure(str(path), words))

    def _explain(self, path: Path, name: str, encoder: str | None) -> None:
        self._advance(0, name)
        found = opened(path, name, encoder, self.config)
        key = model_recipe(found.model, found.encoder.tensors)
        if key not in self.known:
            self.known[key] = self.maps_of(found, key)
        else:
            self.warnings += found.remarks
        self.files.append(self.known[key])
        self.records.append(found.record)

    def maps_of(self, found: Opened, key: str) -> Path:
        """The file of a model's unit maps, named after `key`; what is to be said of them is among the warnings."""
        path = self._maps(found.model, found.encoder, key)
        self.warnings += found.remarks
        return path

    def _maps(self, model: Model, found: Encoder, key: str) -> Path:
        """The file of the model's maps, finished from where an earlier run left it."""
        path, before = self.folder / f"{key}.npy", self.done
        journal = Journal(path.with_suffix(JOURNAL), len(self.probes)) if self.kept else None
        with MapWriter(path, len(self.probes), self.probes.size**2, journal) as writer:
            self._advance(writer.rows, model.name)
            remarks = writer.remarks
            if remarks is None:
                remarks = self._write(model, convert(model, self.probes.images[:VERIFIED_IMAGES], found), writer)
            if writer.zeros == len(self.probes):
                self.done = before
                raise AttributionError(
                    f"{model.path}: every map is zero, so its encoder ignores the image. Name another --encoder."
                )
            if writer.remarks is None:
                writer.finish(remarks)
        self.warnings += [f"{model.name}: {remark}" for remark in remarks]
        if writer.zeros:
            self.warnings.append(f"{model.name}: {writer.zeros} of {len(self.probes)} maps are zero; their cosines count as 0.")
        return path

    def _write(self, model: Model, converted: Converted, writer: MapWriter) -> tuple[str, ...]:
        """Append the maps that are not there yet, in batches of the size of those that are; gives the engine's remarks."""
        remarks: list[str] = []
        errors = list(writer.errors)
        for maps in map_batches(
            model, converted, self.probes, self.method, self.device, writer.batch or self.batch_size,
            options=self.options, warn=remarks.append, first=writer.rows, errors=errors,
        ):  # fmt: skip
            writer.append(unit(maps)[0], errors[writer.rows : writer.rows + len(maps)])
            self._advance(len(maps), model.name)
        return tuple(remark.removeprefix(f"{model.name}: ") for remark in remarks)

    def _advance(self, images: int, name: str) -> None:
        self.done += images
        if self.progress is not None:
            self.progress(name, self.done, self.total)

    def compare(self) -> Affinity:
        matrix = affinity_matrix(self.files) if self.files else np.zeros((0, 0))
        probe = {"name": self.probes.name, "images": len(self.probes), "size": self.probes.size, "sha256": self.probes.sha256}
        told = settle([self.method], self.options).used_by(self.method)
        return Affinity(tuple(self.records), matrix, self.method, probe, tuple(self.failed), tuple(self.warnings), told)
