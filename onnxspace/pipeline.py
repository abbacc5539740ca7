"""Models + probes → affinity: the one module in which computing and comparing meet."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxspace.affinity import Affinity, Failure, ModelRecord
from onnxspace.attribution import METHODS, VERIFIED_IMAGES, Device, Method, choose_device, map_batches
from onnxspace.config import Config, find_config
from onnxspace.convert import Converted, convert
from onnxspace.cut import ENOUGH_BELOW, Trunk, find_encoder
from onnxspace.distance import affinity_matrix
from onnxspace.errors import AttributionError, ConfigError, OnnxspaceError, OutputError
from onnxspace.model import Model, open_model, renamed
from onnxspace.naming import encoder_words, encoders_for, model_names
from onnxspace.probes import Probes
from onnxspace.report.folder import result_folder, write_results
from onnxspace.store import MapWriter, unit

#: Called with what is being done, and how many of how many map computations are behind.
Progress = Callable[[str, int, int], None]


def score(
    models: Sequence[str | Path],
    probes: Probes | None = None,
    *,
    method: Method = "elrp",
    encoder: str | Mapping[str, str] | Sequence[str] | None = None,
    config: Config | str | Path | None = None,
    device: Device = "auto",
    batch_size: int | None = None,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> Affinity:
    """Explain every model on the same probe images and compare their maps.

    `encoder` is a tensor or node name for all models, or a mapping from model to name. A model that can't be read or
    converted is listed in `failed`; the others are compared. With `output`, maps, matrix, rankings and a picture are kept
    in that folder, which appears whole or not at all. Raises ConfigError for impossible options, OutputError where results
    can't be written.
    """
    if method not in METHODS:
        raise ConfigError(f"method {method!r} is none of {', '.join(METHODS)}.")
    choose_device(device)
    probes = Probes.generate() if probes is None else probes
    settings = config if isinstance(config, Config) else find_config(config)
    wishes = list(encoder) if isinstance(encoder, (list, tuple)) else encoder_words(encoder)  # type: ignore[arg-type]
    run = _Run(probes, method, device, batch_size, settings, len(models) * len(probes), progress)
    with _workspace(output) as folder:
        run.explain_all([Path(path) for path in models], wishes, folder / "maps")
        result = run.compare()
        if output is not None and result.models:
            write_results(folder, result)
    return result


@contextmanager
def _workspace(output: str | Path | None) -> Iterator[Path]:
    """The folder for maps: the result folder in the making, or a temporary one."""
    if output is not None:
        with result_folder(Path(output)) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="onnxspace-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@dataclass
class _Run:
    """One comparison in progress."""

    probes: Probes
    method: Method
    device: Device
    batch_size: int | None
    config: Config
    total: int
    progress: Progress | None
    done: int = 0
    records: list[ModelRecord] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    known: dict[str, Path] = field(default_factory=dict)

    def explain_all(self, paths: Sequence[Path], encoders: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = model_names(paths, self.config)
        wanted = encoders_for(paths, names, encoders)
        for index, (path, name, encoder) in enumerate(zip(paths, names, wanted, strict=True)):
            try:
                self._explain(path, name, encoder, folder)
            except OutputError:
                raise
            except OnnxspaceError as error:
                self.failed.append(Failure(str(path), str(error)))
            except Exception as error:  # a defect in a library below must not lose the other models' work
                reason = (str(error).splitlines() or [""])[0][:300]
                self.failed.append(Failure(str(path), f"{path} failed unexpectedly ({type(error).__name__}: {reason})."))
            self._advance((index + 1) * len(self.probes) - self.done, name)

    def _explain(self, path: Path, name: str, encoder: str | None, folder: Path) -> None:
        self._advance(0, name)
        model = renamed(open_model(path, encoder, self.config.options(path)), name)
        trunk = Trunk(model)
        found = find_encoder(model, trunk)
        key = _key(model, found.tensors)
        if key not in self.known:
            converted = convert(model, self.probes.images[:VERIFIED_IMAGES], found)
            self.known[key] = self._write_maps(model, converted, _free(folder, model.sha256))
        below = trunk.share_below(list(found.tensors))
        if model.encoder == "auto" and below < ENOUGH_BELOW:
            self.warnings.append(
                f"{name}: only {below:.0%} of the network lies below its encoder {found}; --encoder names another."
            )
        assumed = (*model.assumed, *([f"encoder {found} ({found.why})"] if model.encoder == "auto" else []))
        self.files.append(self.known[key])
        self.records.append(
            ModelRecord(name, str(path), model.sha256, str(found), model.image.name, model.opset, model.producer, assumed)
        )

    def _write_maps(self, model: Model, converted: Converted, path: Path) -> Path:
        zeros = 0
        counted = self.done
        with MapWriter(path, len(self.probes), self.probes.size**2) as writer:
            for maps in map_batches(model, converted, self.probes, self.method, self.device, self.batch_size):
                rows, zero = unit(maps)
                writer.append(rows)
                zeros += int(np.count_nonzero(zero))
                self._advance(len(maps), model.name)
            if zeros == len(self.probes):
                self.done = counted
                raise AttributionError(
                    f"{model.path}: every map is zero, so its encoder ignores the image. Name another --encoder."
                )
        if zeros:
            self.warnings.append(f"{model.name}: {zeros} of {len(self.probes)} maps are zero; their cosines count as 0.")
        return path

    def _advance(self, images: int, name: str) -> None:
        self.done += images
        if self.progress is not None:
            self.progress(name, self.done, self.total)

    def compare(self) -> Affinity:
        matrix = affinity_matrix(self.files) if self.files else np.zeros((0, 0))
        probe = {"name": self.probes.name, "images": len(self.probes), "size": self.probes.size, "sha256": self.probes.sha256}
        return Affinity(tuple(self.records), matrix, self.method, probe, tuple(self.failed), tuple(self.warnings))


def _key(model: Model, tensors: tuple[str, ...]) -> str:
    """What makes maps equal: the file's content, where it is cut, and how it is fed."""
    return hashlib.sha256(repr((model.sha256, tensors, model.preprocess, model.image.name)).encode()).hexdigest()


def _free(folder: Path, sha256: str) -> Path:
    """`<sha12>.npy`, numbered where one file is compared at several encoders."""
    path, number = folder / f"{sha256[:12]}.npy", 2
    while path.exists():
        path, number = folder / f"{sha256[:12]}-{number}.npy", number + 1
    return path
