"""Measuring how faithful attribution maps are to the network that they explain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.evaluation.faithfulness.formulas import Numbers, area_under
from onnxspace.evaluation.faithfulness.result import CHANCE, FEW_IMAGES, Faithfulness, ModelFaithfulness, score_peaks
from onnxspace.inputs.boxes import Box, fit_boxes, read_boxes
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Announce, Compute, Counter, Device, Execution, Progress
from onnxspace.inputs.explained_images import read_images
from onnxspace.inputs.faithfulness import CURVES, FaithfulnessSettings, Measure, count_steps
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import EncoderNames, encoders_for, list_encoders, name_models
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.report.explanation import check_picture_path
from onnxspace.sandbox.limits import Limits
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.json_fields import is_text, is_whole
from onnxspace.storage.regular_files import load_array
from onnxspace.workflows.requests import DescribedModel, encode_execution, read_texts, wrong_answer
from onnxspace.workflows.session import ModelSession, find_file, open_session

MAX_IMAGES = 1000
_MOST_WORDS, _MOST_LAYERS = 1_000, 2**20


def measure_faithfulness(
    model: str | Path | Sequence[str | Path],
    probes: Probes,
    methods: Sequence[Method] = (DEFAULT_METHOD,),
    *,
    settings: FaithfulnessSettings | None = None,
    boxes: Sequence[Sequence[Box]] | None = None,
    options: Options | None = None,
    encoder: EncoderNames = None,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
    announce: Announce | None = None,
) -> Faithfulness:
    """Measure how faithful the attribution maps of `model`, a path or several, are to it, on the images of `probes`.

    Curves of deletion and insertion, infidelity, sensitivity, randomisation of weights and, where `boxes` has the boxes of each image
    in pixels of `probes`, the pointing game are computed for each of `methods`, for a random map and for one of the centre;
    `settings` says how (None: the defaults of `FaithfulnessSettings`). `options` are those of the methods; `encoder`, `config`,
    `pixels`, `device`, `progress`, `limits` and `announce` are as in `explain`, `batch_size` is the number of images per pass. The
    model is read in a process with limits. Raises ModelError for the first model that can't be measured, ConfigError for invalid
    options and boxes.

    >>> found = ox.measure_faithfulness("resnet50.onnx", ox.Probes.generate(16), ["elrp", "saliency"])  # doctest: +SKIP
    >>> found.models[0].figures("deletion")[0].mean  # doctest: +SKIP
    0.41
    """
    resolve_settings(methods, options)
    _check_methods(methods)
    settings = settings or FaithfulnessSettings()
    paths = [Path(path) for path in ([model] if isinstance(model, str | Path) else model)]
    if not paths or not methods:
        raise ConfigError("There is nothing to measure. Give at least one model and one method.")
    inside = None if boxes is None else cover_boxes(boxes, probes, settings.tolerance)
    configuration = resolve_config(config, paths, pixels)
    names = name_models(paths, configuration)
    turns = list(zip(paths, names, encoders_for(paths, names, list_encoders(encoder)), strict=True))
    setups = [Setup(probes, method, configure_options(method, options, configuration.rules)) for method in methods]
    execution = Execution.on(device, batch_size, progress, limits=limits)
    with open_session(execution) as session:
        session.check(methods, Setup(probes, methods[0], options), configuration.rules)
        opened = session.open_models(configuration)
        opened.announce(turns, announce)
        counter = Counter(len(paths) * count_steps(len(probes), len(methods), settings), progress)
        run = _FaithfulnessRun(session, setups, settings, inside, counter)
        found = tuple(run.measure(opened.take(turn)) for turn in turns)
    stated = {key: value for setup in setups for key, value in setup.stated_options.items()}
    warnings = (*probes.remarks, *opened.warnings, *_warn_of_few(len(probes)))
    return Faithfulness(found, setups[0].probe_facts(), settings.to_dict(), stated, warnings)


def measure_on_images(
    models: Sequence[str | Path],
    images: Sequence[str | Path],
    *,
    methods: Sequence[Method] = (DEFAULT_METHOD,),
    boxes: str | Path | None = None,
    picture: str | Path | None = None,
    skip_broken: bool = False,
    **options: Any,
) -> Faithfulness:
    """Measure the maps of models on image files, at most 1,000, as `explain` reads them, and draw the curves to the PNG file `picture`.

    `boxes` is a file that `onnxspace.inputs.boxes.read_boxes` reads; `options` are those of `measure_faithfulness`. Raises as it does,
    ProbeError for images that can't be read, and OutputError where the picture can't be written.
    """
    listed = check_files(boxes, picture, (*models, *images))
    named = read_images([Path(path) for path in images], MAX_IMAGES, skip_broken=skip_broken)
    fitted = None if listed is None else fit_boxes(listed, named.paths, named.probes.size, str(boxes))
    found = measure_faithfulness(models, named.probes, methods, boxes=fitted, **options)
    if picture is not None:
        _draw(found, Path(picture))
    return found


def check_files(
    boxes: str | Path | None, picture: str | Path | None, inputs: Sequence[str | Path]
) -> Mapping[str, Sequence[Box]] | None:
    """Check, before any work is done, that `picture` can be written, and read the file of `boxes` (None: there is none).

    `inputs` are files that the picture must not replace. Raises OutputError, ConfigError.
    """
    if picture is not None:
        others = [Path(path) for path in (*inputs, *([] if boxes is None else [boxes]))]
        check_picture_path(Path(picture), others, "--faithfulness-picture", (".png",))
    return None if boxes is None else read_boxes(boxes)


def _draw(found: Faithfulness, picture: Path) -> None:
    from onnxspace.report.faithfulness_curves import draw_faithfulness
    from onnxspace.storage.atomic import whole_file

    with whole_file(picture) as partial:
        draw_faithfulness(found, partial)


def _check_methods(methods: Sequence[Method]) -> None:
    """Refuse methods whose maps are not of the pixels of the network's input, which is what is removed."""
    for method in methods:
        if METHODS[method].place != "image":
            usable = ", ".join(name for name, spec in METHODS.items() if spec.place == "image")
            raise ConfigError(
                f"--faithfulness does not measure maps by {method}, which are not of single pixels. Use one of {usable}."
            )


def _warn_of_few(images: int) -> tuple[str, ...]:
    if images >= FEW_IMAGES:
        return ()
    return (
        f"{images} image{'s are' if images > 1 else ' is'} few: intervals over fewer than {FEW_IMAGES} are too narrow, so give more.",
    )


def cover_boxes(boxes: Sequence[Sequence[Box]], probes: Probes, tolerance: int) -> tuple[NDArray[np.bool_] | None, ...]:
    """Return which pixels of each image are inside one of its boxes, bool [size, size]; None for an image without one.

    A pixel is inside where its centre is, or not farther than `tolerance` pixels. Raises ConfigError where the numbers differ or no
    image has a box.
    """
    if len(boxes) != len(probes):
        raise ConfigError(f"There are boxes for {len(boxes)} images, but {len(probes)} images. Give a sequence for each image.")
    centres = np.arange(probes.size, dtype=np.float64) + 0.5
    found = tuple(_cover(listed, centres, tolerance) if listed else None for listed in boxes)
    if all(mask is None or not mask.any() for mask in found):
        raise ConfigError("No image has a box inside it. Give boxes in pixels of the images.")
    return tuple(mask if mask is not None and mask.any() else None for mask in found)


def _cover(boxes: Sequence[Box], centres: Numbers, tolerance: int) -> NDArray[np.bool_]:
    mask = np.zeros((len(centres), len(centres)), bool)
    for box in boxes:
        rows, columns = (
            np.maximum(np.maximum(start - centres, centres - start - length), 0)
            for start, length in ((box.y, box.height), (box.x, box.width))
        )
        mask |= np.hypot(rows[:, None], columns[None, :]) <= tolerance
    return mask


@dataclass
class _FaithfulnessRun:
    """The state of one run: `setups` has one setup per method, with the same images; `inside` the pixels inside of boxes."""

    session: ModelSession
    setups: Sequence[Setup]
    settings: FaithfulnessSettings
    inside: Sequence[NDArray[np.bool_] | None] | None
    counter: Counter
    models: int = field(default=0)

    def measure(self, model: DescribedModel) -> ModelFaithfulness:
        """Have a model measured, and read the numbers. Raises ModelError, ConfigError."""
        name, self.models = model.record.name, self.models + 1
        self.counter.advance(0, name)
        with scratch_folder() as folder:
            answer = self.session.compute(
                "faithfulness",
                model,
                folder,
                lambda steps: self.counter.advance(steps, name),
                setups=[self.session.place(setup) for setup in self.setups],
                settings=self.settings.to_dict(),
                execution=encode_execution(self.session.execution),
            )
            try:
                found = self._read(answer, folder, model)
            except (KeyError, TypeError, ValueError, OSError) as error:
                raise wrong_answer(model.record.path) from error
        self.counter.reach(self.models * count_steps(len(self.setups[0].probes), len(self.setups), self.settings), name)
        return found

    def _read(self, answer: Mapping[str, Any], folder: Path, model: DescribedModel) -> ModelFaithfulness:
        layers = tuple(answer["layers"])
        if len(layers) > self.settings.stages or not all(is_whole(count, 1, _MOST_LAYERS) for count in layers):
            raise ValueError("its layers are no numbers")
        if not all(is_text(answer[name], _MOST_WORDS) for name in ("explained", "followed")):
            raise ValueError("its words are no text")
        arrays = _AnswerArrays(answer["files"], folder, len(self.setups), len(self.setups[0].probes))
        curves: dict[str, Numbers] = {
            name: arrays.read(name, self.settings.steps + 1) for name in CURVES if name in answer["files"]
        }
        cascade = arrays.read_cascade(len(layers)) if layers else None
        values = self._list_values(answer["files"], arrays, curves, cascade)
        return ModelFaithfulness(
            model.record, tuple(setup.method for setup in self.setups), answer["explained"], answer["followed"],
            {name: values[name] for name in self.settings.measures if name in values}, curves, layers, cascade,
            (*read_texts(answer["remarks"]), *(f"{model.record.name}: {line}" for line in read_texts(answer["warnings"]))),
        )  # fmt: skip

    def _list_values(
        self, files: Mapping[str, str], arrays: _AnswerArrays, curves: Mapping[str, Numbers], cascade: Numbers | None
    ) -> dict[Measure, Numbers]:
        """Values of each measure, float64 [rows, images]; those of chance are NaN where they would say nothing."""
        values: dict[Measure, Numbers] = {}
        if "deletion" in curves:
            values["deletion"] = area_under(curves["deletion"])
        if "insertion" in curves:
            values["insertion"] = area_under(curves["insertion"])
        if "infidelity" in files:
            values["infidelity"] = arrays.read("infidelity")
        if "sensitivity" in files:
            values["sensitivity"] = _add_chance(arrays.read("sensitivity", chance=False))
        if cascade is not None:
            values["randomisation"] = _add_chance(cascade[:, -1])
        if self.inside is not None:
            values["pointing"] = score_peaks(arrays.read_peaks(self.setups[0].probes.size), self.inside)
        return values


def _add_chance(values: Numbers) -> Numbers:
    return np.concatenate([values, np.full((len(CHANCE), values.shape[1]), np.nan)])


@dataclass(frozen=True)
class _AnswerArrays:
    """Arrays that a worker wrote to `folder`, by their files' names, which are untrusted. All methods raise ValueError, OSError."""

    files: Mapping[str, Any]
    folder: Path
    methods: int
    images: int

    def read(self, name: str, *more: int, chance: bool = True) -> Numbers:
        """Numbers of all rows and images."""
        return self._load(name, np.dtype(np.float64), (self.methods + chance * len(CHANCE), self.images, *more))

    def read_cascade(self, stages: int) -> Numbers:
        """Rank correlations, float64 [methods, stages, images]."""
        return self._load("cascade", np.dtype(np.float64), (self.methods, stages, self.images))

    def read_peaks(self, size: int) -> NDArray[np.int64]:
        """Rows and columns inside of an image of `size` pixels."""
        peaks = self._load("peaks", np.dtype(np.int64), (self.methods, self.images, 2))
        if peaks.min() < 0 or peaks.max() >= size:
            raise ValueError("a peak is outside of its image")
        return peaks

    def _load(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        found = load_array(find_file(self.folder, self.files[name]), follow=False)
        if found.dtype != dtype or found.shape != shape:
            raise ValueError(f"{name} has another shape")
        return found
