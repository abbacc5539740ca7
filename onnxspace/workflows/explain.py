"""Explaining a few images with some models: attribution maps and a picture of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from onnxspace.errors import ConfigError
from onnxspace.evaluation.faithfulness.outcome import Faithfulness
from onnxspace.evaluation.faithfulness.table import tabulate
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Announce, Compute, Counter, Device, Execution, Progress
from onnxspace.inputs.explained_images import NamedImages, choose_photos, read_images
from onnxspace.inputs.methods import (
    DEFAULT_METHOD,
    METHODS,
    Method,
    Options,
    check_target,
    configure_options,
    resolve_settings,
)
from onnxspace.inputs.names import EncoderNames, encoders_for, list_encoders, list_paths, name_models
from onnxspace.inputs.photo_folder import list_photos
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.inputs.targets import Target
from onnxspace.report.explanation import ANIMATIONS, PAGE, PICTURES, Column, Explanation, check_picture_path
from onnxspace.sandbox.limits import Limits
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.regular_files import load_array
from onnxspace.workflows.requests import LocatedModel, encode_execution, read_texts, wrong_answer
from onnxspace.workflows.session import ModelSession, find_file, open_session


@dataclass(frozen=True)
class Room:
    """The most `images`, `columns` and `maps` of a picture or a page; `form` is what is too large else."""

    images: int
    columns: int
    maps: int
    form: str

    def check(self, images: int, columns: int) -> None:
        """Raise ConfigError for more images or columns than there is room for, and for none."""
        if not images or not columns:
            raise ConfigError("There is nothing to explain. Give at least one model, one image and one method.")
        if images > self.images or columns > self.columns or images * columns > self.maps:
            raise ConfigError(
                f"{images} images × {columns} models, methods and targets make too large a {self.form}: at most {self.images}, "
                f"{self.columns} and {self.maps} maps in all. Make several."
            )

    def count_images(self, columns: int) -> int:
        """The number of images of `columns` maps each for which there is room."""
        return min(self.images, self.maps // max(1, columns))


_ROOM, _PAGE_ROOM = Room(32, 32, 256, "picture"), Room(64, 32, 400, "page")
#: Images of an animation, which are one below the other.
MAX_ANIMATED = 4
Task = Literal["explain", "explain layers"]
#: More than a worker explains of a model.
_MOST_LAYERS = 64


def explain(
    models: Sequence[str | Path],
    images: Sequence[str | Path],
    *,
    methods: Sequence[Method] = (DEFAULT_METHOD,),
    targets: Sequence[Target] = (),
    options: Options | None = None,
    encoder: EncoderNames = None,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    device: Compute | Device = "auto",
    output: str | Path | None = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
    announce: Announce | None = None,
    skip_broken: bool = False,
    overlay: bool = False,
    animate: str | Path | None = None,
    probe: str | Path | None = None,
    faithfulness: Faithfulness | None = None,
) -> Explanation:
    """Compute the attribution maps of each model for each image by each method, and draw them to the PNG or SVG file `output`, or write the HTML page `output`, if given.

    `models` are ONNX files, or what `onnxspace convert` takes, and `images` image files, which are cropped and resized to squares of 224 pixels as probe images are
    (also TIFF files of several bands, and `.npy` arrays of images of any bands, of which three bands or one in grey are shown): at most 32 images, 32 models × methods × targets and 256 maps; a page has up to 64 images and 400 maps. `probe` is a folder of further photos,
    of which as many are taken as there is room for, evenly spaced. `methods` are names of `onnxspace.inputs.methods.METHODS`, `options` theirs;
    `targets` are what is explained instead of the encoder, such as `make_targets(["cat"])` of `onnxspace.inputs.targets` makes, a column for each;
    `encoder` is a tensor or node name for all models, a sequence of names that are explained together, or a mapping from
    model to either; `config` a configuration or its file;
    `pixels` a preset's name, names by model, or `StatedPixels`; `device` a device's name or a `Compute`; `progress` the callback,
    `limits` those of the process that reads models; `announce` is called with the records of the models before anything is
    computed; with `skip_broken`, images that can't be read are left out with a warning; with `overlay`, maps are drawn over the images. With `animate`, a GIF, WebP or APNG file, the
    maps of one model by one method at successive layers are computed instead, at most 24, and drawn as its frames; columns are these layers,
    and there are at most 4 images. `faithfulness` is what `ox.measure_faithfulness` has measured of these maps, which a page shows. Raises ModelError for the first model and
    ProbeError naming all images that can't be used, in which case no file is written; ConfigError for invalid options and OutputError where the picture
    can't be written.

    >>> found = ox.explain(["resnet50.onnx"], ["cat.jpg"], output="cat.png")  # doctest: +SKIP
    """
    settings, asked, paths = resolve_settings(methods, options), list_questions(methods, targets), list_paths(models)
    files = list_paths(images, "images", "['a.png']")
    room = _PAGE_ROOM if output is not None and Path(output).suffix.lower() == PAGE else _ROOM
    room.check(len(images) if probe is None else max(1, len(images)), len(models) * len(asked))
    read = [Path(path) for path in (*models, *images, settings.baseline)]
    read += [] if probe is None else list_photos(Path(probe)).files
    if output is not None:
        check_picture_path(Path(output), read, kinds=(*PICTURES, PAGE))
    if animate is not None:
        room = replace(room, images=MAX_ANIMATED)
        _check_animation(methods, targets, len(models), len(images))
        check_picture_path(Path(animate), read, "--animate", tuple(ANIMATIONS))
    configuration = resolve_config(config, paths, pixels)
    names = name_models(paths, configuration)
    encoders = encoders_for(paths, names, list_encoders(encoder))
    more = room.count_images(len(models) * len(asked)) - len(images)
    photos, left_out = ([], ()) if probe is None else choose_photos(Path(probe), max(1, more))
    named = read_images([*files, *photos], room.images, skip_broken=skip_broken)
    probes = named.probes
    room.check(len(probes), len(models) * len(asked))
    setups = [
        Setup(probes, method, configure_options(method, options, configuration.rules), target) for method, target in asked
    ]
    counter = Counter(len(models) * len(setups) * len(probes), progress)
    with open_session(Execution.on(device, progress=progress, limits=limits)) as session, scratch_folder() as folder:
        session.check(methods, Setup(probes, methods[0], options), configuration.rules)
        turns, opened = list(zip(paths, names, encoders, strict=True)), session.open_models(configuration)
        opened.announce(turns, announce)
        task: Task = "explain" if animate is None else "explain layers"
        run = _ExplanationRun(session, setups, folder, counter, task, warnings=list(opened.warnings))
        for turn in turns:
            run.explain(opened.take(turn).located)
    found = run.collect(named, left_out, faithfulness)
    if output is not None:
        _draw(found, Path(output), overlay=overlay)
    if animate is not None:
        _animate(found, Path(animate), overlay=overlay)
    return found


def explain_probes(
    models: Sequence[tuple[Path, str]], probes: Probes, configuration: Config, execution: Execution,
    method: Method = DEFAULT_METHOD,
) -> tuple[Column, ...]:  # fmt: skip
    """Compute the maps of the encoders of `models`, paths with names, for probe images, a column for each model.

    Raises ModelError for the first model that can't be explained, ConfigError, ProbeError.
    """
    setup = Setup(probes, method, configure_options(method, None, configuration.rules))
    counter = Counter(len(models) * len(probes), execution.progress)
    with open_session(execution) as session, scratch_folder() as folder:
        run = _ExplanationRun(session, [setup], folder, counter)
        for path, name in models:
            run.explain(session.prepare(path, name, None, configuration).located)
    return tuple(run.columns)


def list_questions(methods: Sequence[Method], targets: Sequence[Target]) -> list[tuple[Method, Target | None]]:
    """Return the pairs of method and target that are explained; a method that explains no target has one, with None.

    Raises ConfigError where none of the methods explains targets.
    """
    if targets and methods and not any(METHODS[method].explains_targets for method in methods):
        check_target(methods[0], targets[0])
    chosen: Sequence[Target | None] = targets or (None,)
    return [(method, target) for method in methods for target in (chosen if METHODS[method].explains_targets else (None,))]


def _check_animation(methods: Sequence[Method], targets: Sequence[Target], models: int, images: int) -> None:
    """Check that one map of each of a few images is animated, by a method that has one at every layer. Raises ConfigError."""
    if models > 1 or len(methods) > 1 or len(targets) > 1:
        raise ConfigError("An animation shows one model by one method, and one target. Make several animations.")
    if images > MAX_ANIMATED:
        raise ConfigError(f"An animation shows at most {MAX_ANIMATED} images, not {images}. Make several animations.")
    fit = [name for name, spec in METHODS.items() if spec.place == "positions" or spec.way in ("product", "absolute")]
    if methods[0] not in fit:
        raise ConfigError(f"--method {methods[0]} has no map at every layer of a network. Use one of {', '.join(fit)}.")
    if targets and METHODS[methods[0]].place == "image":
        fit = [name for name in fit if METHODS[name].place == "positions"]
        raise ConfigError(
            f"At layers, --method {methods[0]} explains the layers themselves, not {targets[0].words}. Use one of {', '.join(fit)}, "
            "which explain it, or leave it out."
        )


def _animate(found: Explanation, animation: Path, *, overlay: bool) -> None:
    from onnxspace.report.animation import write_animation
    from onnxspace.storage.atomic import whole_file

    with whole_file(animation) as partial:
        write_animation(found, partial, animation.suffix.lower(), overlay=overlay)


def _draw(found: Explanation, output: Path, *, overlay: bool) -> None:
    from onnxspace.report.gallery import draw_explanation
    from onnxspace.report.map_page import write_map_page
    from onnxspace.storage.atomic import whole_file

    with whole_file(output) as partial:
        if output.suffix.lower() == PAGE:
            write_map_page(found, partial)
            return
        draw_explanation(found, partial, kind="svg" if output.suffix.lower() == ".svg" else "png", overlay=overlay)


@dataclass
class _ExplanationRun:
    """The state of one explanation: `setups` has one per method and target, with the same images; maps are written to `folder`."""

    session: ModelSession
    setups: Sequence[Setup]
    folder: Path
    counter: Counter
    task: Task = "explain"
    columns: list[Column] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def collect(self, named: NamedImages, left_out: Sequence[str], faithfulness: Faithfulness | None) -> Explanation:
        """All maps with their images, and what is said of them."""
        stated = {key: value for setup in self.setups for key, value in setup.settings.used_by(setup.method).items()}
        warnings = (*left_out, *named.probes.remarks, *self.warnings)
        tables = () if faithfulness is None else tuple(tabulate(model) for model in faithfulness.models)
        return Explanation(
            named.names, named.pictures, tuple(self.columns), stated, tuple(self.assumed), warnings, named.note,
            tuple(self.remarks), tables,
        )  # fmt: skip

    def explain(self, model: LocatedModel) -> None:
        """Have a model's maps computed, and read them. Raises ModelError."""
        self.counter.advance(0, model.name)
        more = {"setups": [self.session.place(s) for s in self.setups], "folder": str(self.folder)}
        found = self.session.perform(
            self.task,
            model,
            lambda images: self.counter.advance(images, model.name),
            execution=encode_execution(self.session.execution),
            **more,
        )
        try:
            self._read(found, model.name)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise wrong_answer(model.path) from error

    def _read(self, found: Mapping[str, Any], name: str) -> None:
        layers = read_texts(found["layers"]) if self.task == "explain layers" else [""] * len(self.setups)
        if not 0 < len(layers) <= _MOST_LAYERS:
            raise ValueError("it has another number of layers")
        setups = self.setups if self.task == "explain" else [*self.setups] * len(layers)
        for setup, layer, file, words in zip(setups, layers, found["files"], found["captions"], strict=True):
            maps = load_array(find_file(self.folder, file), follow=False)
            if maps.dtype != np.float32 or maps.shape != setup.probes.images.shape[:3]:
                raise ValueError("its maps have another shape")
            captions, target = read_texts(words), "" if setup.target is None else setup.target.words
            if len(captions) not in (0, len(maps)):
                raise ValueError("it has another number of captions")
            self.columns.append(Column(name, setup.method, METHODS[setup.method].signed, maps, target, tuple(captions), layer))
        self.remarks += read_texts(found["remarks"])
        self.assumed += read_texts(found["assumed"])
        self.warnings += read_texts(found["warnings"])
