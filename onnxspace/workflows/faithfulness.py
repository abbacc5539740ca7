"""Measuring how faithful attribution maps are to the network that they explain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.evaluation.faithfulness.outcome import Faithfulness
from onnxspace.evaluation.faithfulness.result import FEW_IMAGES, ModelFaithfulness
from onnxspace.inputs.areas import Areas, Mask, find_areas
from onnxspace.inputs.boxes import Box
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Announce, Compute, Counter, Device, Execution, Progress
from onnxspace.inputs.explained_images import choose_photos, read_images
from onnxspace.inputs.faithfulness import FaithfulnessSettings
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import EncoderNames, encoders_for, list_encoders, name_models
from onnxspace.inputs.object_files import ObjectFiles, ObjectsByName
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.rule_names import Rules
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.inputs.targets import Target, to_target
from onnxspace.report.explanation import check_picture_path
from onnxspace.sandbox.limits import Limits
from onnxspace.workflows.described import Turn
from onnxspace.workflows.explain import list_questions
from onnxspace.workflows.faithfulness_run import FaithfulnessRun, count_all_steps, group_questions
from onnxspace.workflows.session import ModelSession, open_session

MAX_IMAGES = 1000
#: Photos that are taken of a folder: each is run hundreds of times.
_MOST_PHOTOS = 64


def measure_faithfulness(
    model: str | Path | Sequence[str | Path],
    probes: Probes,
    methods: Sequence[Method] = (DEFAULT_METHOD,),
    *,
    targets: Sequence[Target | str | int] = (),
    settings: FaithfulnessSettings | None = None,
    boxes: Sequence[Sequence[Box]] | None = None,
    masks: Sequence[Mask] | None = None,
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

    Curves of deletion and insertion, infidelity, sensitivity and randomisation of weights are computed for each of `methods`, for a
    random map and for one of the centre; `settings` says how (None: the defaults of `FaithfulnessSettings`). `targets` are what is
    explained instead of the encoder, as in `explain`, or names and numbers of classes; the result has an entry for each model and
    explained number. Where `boxes` has the boxes of each image in pixels of `probes`, or `masks` a mask of each image, bool
    [size, size] or None, the pointing game and the share of maps on objects are computed too. `options` are those of the methods;
    `encoder`, `config`, `pixels`, `device`, `progress`, `limits` and `announce` are as in `explain`, `batch_size` is the number of
    images per pass. The model is read in a process with limits. Raises ModelError for the first model that can't be measured,
    ConfigError for invalid options, targets, boxes and masks.

    >>> found = ox.measure_faithfulness("resnet50.onnx", ox.Probes.generate(16), ["elrp", "saliency"])  # doctest: +SKIP
    >>> found.models[0].figures("deletion")[0].mean  # doctest: +SKIP
    0.41
    """
    paths = [Path(path) for path in ([model] if isinstance(model, str | Path) else model)]
    if not paths or not methods:
        raise ConfigError("There is nothing to measure. Give at least one model and one method.")
    resolve_settings(methods, options)
    settings = settings or FaithfulnessSettings()
    groups = group_questions(list_questions(methods, [one for target in targets if (one := to_target(target)) is not None]))
    _check_followed(groups, settings)
    areas = find_areas(probes, boxes, masks, settings.tolerance)
    configuration = resolve_config(config, paths, pixels)
    setups = _make_setups(probes, groups, options, configuration.rules)
    measurement = _Measurement(paths, encoder, configuration, setups, settings, areas)
    return measurement.run(Execution.on(device, batch_size, progress, limits=limits), announce)


def _make_setups(
    probes: Probes, groups: Mapping[Target | None, Sequence[Method]], options: Options | None, rules: Rules
) -> list[list[Setup]]:
    """A setup per method and explained number; a target is left out where the method takes none."""
    return [
        [Setup(probes, one, configure_options(one, options, rules), target) for one in methods]
        for target, methods in groups.items()
    ]


def _check_followed(targets: Iterable[Target | None], settings: FaithfulnessSettings) -> None:
    target = next((one for one in targets if one is not None), None)
    if settings.followed == "features" and target is not None:
        raise ConfigError(
            f"--faithfulness-curves features follow the encoder, and not {target.words}. Use probability, value or auto."
        )


@dataclass(frozen=True)
class _Measurement:
    """What is measured of the models in `paths`: `setups` has a group of setups per explained number, all with the same images."""

    paths: Sequence[Path]
    encoder: EncoderNames
    configuration: Config
    setups: Sequence[Sequence[Setup]]
    settings: FaithfulnessSettings
    areas: Areas | None

    @property
    def probes(self) -> Probes:
        """The images."""
        return self.setups[0][0].probes

    def run(self, execution: Execution, announce: Announce | None) -> Faithfulness:
        """Open a session, and measure each model. Raises ModelError, ConfigError."""
        turns = self._list_turns()
        with open_session(execution) as session:
            self._check(session)
            opened = session.open_models(self.configuration)
            opened.announce(turns, announce)
            steps = len(turns) * count_all_steps(len(self.probes), self.setups, self.settings)
            run = FaithfulnessRun(session, self.setups, self.settings, self.areas, Counter(steps, execution.progress))
            found = tuple(one for turn in turns for one in run.measure(opened.take(turn)))
        return self._conclude(found, opened.warnings)

    def _list_turns(self) -> list[Turn]:
        names = name_models(self.paths, self.configuration)
        encoders = encoders_for(self.paths, names, list_encoders(self.encoder))
        return list(zip(self.paths, names, encoders, strict=True))

    def _check(self, session: ModelSession) -> None:
        """Check each method's options, and the device, before any work is done."""
        for setup in (setup for group in self.setups for setup in group):
            session.check([setup.method], Setup(self.probes, setup.method, setup.options), self.configuration.rules)

    def _conclude(self, found: tuple[ModelFaithfulness, ...], warnings: Sequence[str]) -> Faithfulness:
        each = [setup for group in self.setups for setup in group]
        stated = {key: value for setup in each for key, value in setup.settings.used_by(setup.method).items()}
        remarks = (*self.probes.remarks, *warnings, *_warn_of_few(len(self.probes)))
        return Faithfulness(found, each[0].probe_facts(), self.settings.to_dict(), stated, remarks)


def measure_on_images(
    models: Sequence[str | Path],
    images: Sequence[str | Path],
    *,
    methods: Sequence[Method] = (DEFAULT_METHOD,),
    objects: ObjectFiles | None = None,
    picture: str | Path | None = None,
    probe: str | Path | None = None,
    skip_broken: bool = False,
    **options: Any,
) -> Faithfulness:
    """Measure the maps of models on image files, at most 1,000, as `explain` reads them, and draw the curves to the PNG file `picture`.

    Of `probe`, a folder of further photos, at most 64 are taken. `objects` are boxes or masks; `options` are those of
    `measure_faithfulness`. Raises as it does, ProbeError for images and masks that can't be read, and OutputError where the picture can't be written.
    """
    named_objects = check_files(objects or ObjectFiles(), picture, (*models, *images))
    photos, remarks = ([], ()) if probe is None else choose_photos(Path(probe), _MOST_PHOTOS, "measured")
    named = read_images([*map(Path, images), *photos], MAX_IMAGES, skip_broken=skip_broken)
    fitted = {} if named_objects is None else named_objects.fit(named.paths, named.probes.size)
    probes = replace(named.probes, remarks=(*remarks, *named.probes.remarks))
    found = measure_faithfulness(models, probes, methods, **fitted, **options)
    if picture is not None:
        _draw(found, Path(picture))
    return found


def check_files(objects: ObjectFiles, picture: str | Path | None, inputs: Sequence[str | Path]) -> ObjectsByName | None:
    """Check, before any work is done, that `picture` can be written, and read which `objects` there are (None: they are unknown).

    `inputs` are files that the picture must not replace. Raises OutputError, ConfigError.
    """
    if picture is not None:
        others = [Path(path) for path in (*inputs, *([] if objects.boxes is None else [objects.boxes]))]
        check_picture_path(Path(picture), others, "--faithfulness-picture", (".png",))
    return objects.read()


def _draw(found: Faithfulness, picture: Path) -> None:
    from onnxspace.report.faithfulness_curves import draw_faithfulness
    from onnxspace.storage.atomic import whole_file

    with whole_file(picture) as partial:
        draw_faithfulness(found, partial)


def _warn_of_few(images: int) -> tuple[str, ...]:
    if images >= FEW_IMAGES:
        return ()
    what = "one image has no intervals" if images == 1 else f"intervals over {images} images are too narrow"
    return (f"{what}; give {FEW_IMAGES} or more.",)
