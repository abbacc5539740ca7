"""Jobs of worker processes: facts of a model, and some epochs of one run. Requests and answers are plain JSON."""

from __future__ import annotations

import copy
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, ModelError
from onnxspace.finetuning.checkpoint import load_checkpoint, save_checkpoint
from onnxspace.finetuning.export import describe_preprocessing, export_trainee, save_model
from onnxspace.finetuning.pictures import Pictures
from onnxspace.finetuning.preparation import Norms, build_training_graph
from onnxspace.finetuning.readout import fit_readout, judge_readouts
from onnxspace.finetuning.schedule import Schedule
from onnxspace.finetuning.targets import Kind, Targets, compute_losses, judge
from onnxspace.finetuning.trainee import Trainee, make_optimiser, train_epochs
from onnxspace.finetuning.training_graph import TrainingGraph
from onnxspace.inputs.config import ModelOptions
from onnxspace.model.encoder import Encoder, cut, find_encoder
from onnxspace.model.features import write_features
from onnxspace.model.graph import iter_tensors
from onnxspace.model.model import Model, open_model
from onnxspace.model.outputs import find_float_outputs
from onnxspace.storage.regular_files import map_array

#: Bytes of converted graphs and images that a process keeps for its next jobs.
_KEPT = 2**30
_graphs: OrderedDict[tuple[str, str, str], tuple[TrainingGraph, Pictures]] = OrderedDict()


@dataclass(frozen=True)
class ModelFile:
    """A model's file, the encoder that was asked for (None: auto), and its options, without those left open."""

    path: str
    encoder: str | None
    options: Mapping[str, Any]

    @classmethod
    def describe(cls, path: Path, encoder: str | None, options: ModelOptions) -> ModelFile:
        return cls(str(path), encoder, {name: value for name, value in asdict(options).items() if value is not None})

    def open(self) -> tuple[Model, Encoder]:
        """Open the model and find its encoder. Raises ModelError, ConfigError."""
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in self.options.items()}
        model = open_model(self.path, self.encoder, ModelOptions(**given))
        return model, find_encoder(model)


@dataclass(frozen=True)
class Run:
    """A model fine-tuned on all folds but one, or on all images where `fold` is negative.

    `images` is a `.npy` file of uint8 [images, size, size, 3]; `data` a `.npz` file with `values`, float32 [images, outputs], and
    `folds`, intp [images]; `kind` that of the targets. Checkpoints are the files `state`-EPOCHS.safetensors. Where
    `frozen`, only a readout is fitted, whatever the schedule.
    """

    model: ModelFile
    images: str
    data: str
    kind: Kind
    fold: int
    seed: int
    schedule: Schedule
    state: str
    norms: Norms = "auto"
    frozen: bool = False
    device: str = "auto"


def describe_model(file: ModelFile) -> dict[str, Any]:
    """Return facts of a model: checksum, architecture, encoder, the side of the images that it takes, and what was assumed."""
    model, encoder = file.open()
    assumed = (*model.assumed, *([f"encoder {encoder} ({encoder.why})"] if model.encoder == "auto" else []))
    return {
        "sha256": model.sha256, "architecture": identify_architecture(model, encoder), "encoder": str(encoder), "input": model.image.name, "opset": model.opset,
        "producer": model.producer, "assumed": list(assumed), "pixels": None if model.pixels is None else asdict(model.pixels),
        "warnings": list(model.warnings),
        "height": model.preprocess.height, "width": model.preprocess.width, "open": model.image.height is None,
    }  # fmt: skip


def identify_architecture(model: Model, encoder: Encoder) -> str:
    """24 hex digits that models of one architecture share: of the sizes of their filters and matrices up to the encoder.

    The axes of a tensor are taken in any order, as exporters differ in it.
    """
    shapes = [sorted(tensor.dims) for tensor in iter_tensors(cut(model, encoder).proto) if len(tensor.dims) > 1]
    return hashlib.sha256(repr(sorted(shapes)).encode()).hexdigest()[:24]


def advance_run(run: Run, first: int, last: int) -> dict[str, Any]:
    """Train from epoch `first` up to `last` of the schedule, and judge the held-out images.

    Where `first` is not 0 the run continues from its checkpoint, or starts anew where that is missing. Before it is judged, running
    statistics of batch normalisation are replaced by those of the training images: after few steps they are still those of
    other images. Returns the mean training `losses` per epoch (of a readout, the mean held-out loss), per held-out image its `results` and `judged` losses, and `seconds` of the job.
    """
    began = time.perf_counter()
    targets, folds = _read_data(run)
    trainee = build_trainee(run, targets.outputs)
    optimiser = make_optimiser(trainee, run.schedule)
    earlier = Path(f"{run.state}-{first}.safetensors")
    if first and earlier.exists():
        load_checkpoint(earlier, trainee, optimiser)
    else:
        first = 0
    train, held = np.flatnonzero(folds != run.fold), np.flatnonzero(folds == run.fold)
    if run.frozen:
        losses = [fit_readout(trainee, targets, train)]
    else:
        losses = list(train_epochs(trainee, optimiser, targets, train, run.schedule, range(first, last), run.seed))
    if not np.isfinite(losses).all():
        raise ModelError(f"{run.model.path} diverges in fine-tuning. Leave it out.")
    if last < run.schedule.epochs and not run.frozen:
        save_checkpoint(Path(f"{run.state}-{last}.safetensors"), trainee, optimiser)
    earlier.unlink(missing_ok=True)
    if not run.frozen:
        trainee.update_statistics(train)
    results, judged = _judge(trainee, targets, held)
    losses = [float(np.mean(judged))] if run.frozen else losses
    return {"losses": losses, "results": results, "judged": judged, "seconds": time.perf_counter() - began}


def build_trainee(run: Run, outputs: int) -> Trainee:
    """Build the network of a run with its new head, as it is before training."""
    graph, pictures = _take_graph(run)
    device = resolve_device(run.device)
    on_device = Pictures(pictures.pixels.to(device), pictures.preprocess)
    return Trainee(copy.deepcopy(graph).to(device), outputs, on_device, run.seed).to(device)


def resolve_device(name: str) -> torch.device:
    """The device that `cpu`, `cuda` or `auto` (a GPU where Torch sees one) stands for. Raises ConfigError without a GPU for `cuda`."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("--device cuda: Torch sees no CUDA device here. Use --device cpu, or install a CUDA build of torch.")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def answer_pictures(file: ModelFile, images: str, answers: str) -> dict[str, Any]:
    """Write the outputs of a model for each of `images` (a `.npy` file) to the `.npy` file `answers`, means over positions."""
    model, _ = file.open()
    pixels = map_array(images)
    write_features(model, find_float_outputs(model), pixels, Path(answers), "mean")
    return {"images": len(pixels)}


def time_step(run: Run) -> dict[str, Any]:
    """Return the `seconds` of training per image, measured on two batches after the graph is built."""
    targets, folds = _read_data(run)
    trainee = build_trainee(run, targets.outputs)
    rows = np.flatnonzero(folds != run.fold)[: 2 * min(run.schedule.batch, trainee.largest_batch)]
    optimiser = make_optimiser(trainee, run.schedule)
    began = time.perf_counter()
    list(train_epochs(trainee, optimiser, targets, rows, run.schedule, range(1), run.seed))
    return {"seconds": (time.perf_counter() - began) / len(rows)}


def compute_readouts(run: Run) -> dict[str, Any]:
    """Cross-validate readouts of the frozen network; returns per image its `results`, whatever the run's fold is."""
    targets, folds = _read_data(run)
    return {"results": judge_readouts(build_trainee(run, targets.outputs), targets, folds).tolist()}


def save_run(run: Run, names: Sequence[str], file: str) -> dict[str, Any]:
    """Train on all images through the whole schedule, and write the network as ONNX with its sidecar; returns the `losses`."""
    targets, _ = _read_data(run)
    trainee = build_trainee(run, targets.outputs)
    losses = fit(trainee, targets, run.schedule, run.seed, frozen=run.frozen)
    save_model(export_trainee(trainee, tuple(names)), Path(file), describe_preprocessing(trainee))
    return {"losses": losses}


def fit(trainee: Trainee, targets: Targets, schedule: Schedule, seed: int, *, frozen: bool = False) -> list[float]:
    """Train on all images through the whole schedule, or fit the readout alone; returns the mean loss of each epoch."""
    rows = np.arange(len(targets))
    if frozen:
        return [fit_readout(trainee, targets, rows)]
    optimiser = make_optimiser(trainee, schedule)
    return list(train_epochs(trainee, optimiser, targets, rows, schedule, range(schedule.epochs), seed))


def _take_graph(run: Run) -> tuple[TrainingGraph, Pictures]:
    """The converted graph of a run and its images, kept from an earlier job of this process where possible."""
    key = (repr(run.model), run.images, run.norms)
    if key not in _graphs:
        model, encoder = run.model.open()
        pixels = model.preprocess.pixels(map_array(run.images))
        pictures = Pictures(torch.from_numpy(pixels), model.preprocess)
        _graphs[key] = build_training_graph(model, encoder, pictures, run.norms), pictures
    _graphs.move_to_end(key)
    while len(_graphs) > 1 and sum(_count_bytes(*one) for one in _graphs.values()) > _KEPT:
        _graphs.popitem(last=False)
    return _graphs[key]


def _count_bytes(graph: TrainingGraph, pictures: Pictures) -> int:
    return int(pictures.pixels.nbytes + sum(tensor.nbytes for tensor in graph.state_dict().values()))


def _read_data(run: Run) -> tuple[Targets, NDArray[np.intp]]:
    with np.load(run.data, allow_pickle=False) as data:
        return Targets(run.kind, data["values"]), data["folds"]


def _judge(trainee: Trainee, targets: Targets, rows: Any) -> tuple[list[float], list[float]]:
    given, wanted = trainee.answer(rows), targets.values[rows]
    losses = compute_losses(targets.kind, torch.from_numpy(given), torch.from_numpy(wanted))
    return judge(targets.kind, given, wanted).tolist(), losses.tolist()


def perform(request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a request.

    These are `{"task": "describe", "model"}`, `{"task": "answer", "model", "images", "file"}`, `{"task": "time", "run"}`,
    `{"task": "readouts", "run"}`, `{"task": "advance", "run", "first", "last"}` and `{"task": "save", "run", "names", "file"}`.
    """
    if request["task"] == "describe":
        return describe_model(ModelFile(**request["model"]))
    if request["task"] == "answer":
        return answer_pictures(ModelFile(**request["model"]), request["images"], request["file"])
    given = dict(request["run"])
    run = Run(**{**given, "model": ModelFile(**given["model"]), "schedule": Schedule(**given["schedule"])})
    if request["task"] == "time":
        return time_step(run)
    if request["task"] == "readouts":
        return compute_readouts(run)
    if request["task"] == "save":
        return save_run(run, request["names"], request["file"])
    return advance_run(run, int(request["first"]), int(request["last"]))


def to_request(run: Run, first: int, last: int) -> dict[str, Any]:
    """The request of some epochs of a run."""
    return {"task": "advance", "run": asdict(run), "first": first, "last": last}


def _carry_out(request: Mapping[str, Any], _advance: Callable[[int], None]) -> Mapping[str, Any]:
    return perform(request)


#: The tasks of worker processes (see `onnxspace.sandbox.child`).
TASKS: Mapping[str, Callable[[Mapping[str, Any], Callable[[int], None]], Mapping[str, Any]]] = dict.fromkeys(
    ("describe", "answer", "time", "readouts", "advance", "save"), _carry_out
)
