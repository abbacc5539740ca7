"""A run that measures maps: what is measured of each model together, and the reading of a worker's untrusted answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.evaluation.faithfulness.chance import CHANCE
from onnxspace.evaluation.faithfulness.formulas import Numbers, area_under
from onnxspace.evaluation.faithfulness.localisation import measure_mass, measure_ranks, score_chance, score_peaks
from onnxspace.evaluation.faithfulness.randomisation import Randomisation
from onnxspace.evaluation.faithfulness.result import ModelFaithfulness
from onnxspace.evaluation.faithfulness.similarity import SIMILARITIES
from onnxspace.inputs.areas import Areas
from onnxspace.inputs.execution import Counter
from onnxspace.inputs.faithfulness import CURVES, FaithfulnessSettings, Measure, count_steps
from onnxspace.inputs.methods import METHODS, Method
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.json_fields import is_text, is_whole
from onnxspace.storage.regular_files import load_array
from onnxspace.workflows.object_masks import encode_objects
from onnxspace.workflows.requests import DescribedModel, encode_execution, read_texts, wrong_answer
from onnxspace.workflows.session import ModelSession, find_file

_MOST_WORDS, _MOST_LAYERS = 1_000, 2**20
#: What maps of activations explain where nothing is named.
_MOST_PROBABLE = Target(rank=1)


def group_questions(questions: Sequence[tuple[Method, Target | None]]) -> dict[Target | None, list[Method]]:
    """Return the methods that explain the same number, by the target (None: the encoder), in order.

    Maps of activations without a target explain the most probable class; attention rollout explains no number, and is measured with
    the encoder.

    >>> group_questions([("elrp", None), ("grad-cam", None), ("saliency", None)])[None]
    ['elrp', 'saliency']
    """
    found: defaultdict[Target | None, list[Method]] = defaultdict(list)
    for method, target in questions:
        of_class = target is None and METHODS[method].place == "positions"
        found[_MOST_PROBABLE if of_class else target].append(method)
    return dict(found)


def count_all_steps(images: int, groups: Sequence[Sequence[Setup]], settings: FaithfulnessSettings) -> int:
    """Return how many steps a model takes."""
    return sum(count_steps(images, len(setups), settings) for setups in groups)


@dataclass
class FaithfulnessRun:
    """The state of one run: each of `groups` has a setup per method, all with the same images and the same explained number."""

    session: ModelSession
    groups: Sequence[Sequence[Setup]]
    settings: FaithfulnessSettings
    areas: Areas | None
    counter: Counter
    _steps: int = field(default=0)

    def measure(self, model: DescribedModel) -> tuple[ModelFaithfulness, ...]:
        """Have a model measured, and read the numbers: a result for each group. Raises ModelError, ConfigError."""
        return tuple(self._measure_group(model, setups) for setups in self.groups)

    def _measure_group(self, model: DescribedModel, setups: Sequence[Setup]) -> ModelFaithfulness:
        name = model.record.name
        self.counter.advance(0, name)
        with scratch_folder() as folder:
            answer = self.session.compute(
                "faithfulness",
                model,
                folder,
                lambda steps: self.counter.advance(steps, name),
                setups=[self.session.place(setup) for setup in setups],
                settings=self.settings.to_dict(),
                execution=encode_execution(self.session.execution),
                objects=encode_objects(None if self.areas is None else self.areas.objects, folder / "objects.npy"),
            )
            try:
                found = FaithfulnessAnswer(answer, folder, setups, self.settings, self.areas).read(model)
            except (KeyError, TypeError, ValueError, OSError) as error:
                raise wrong_answer(model.record.path) from error
        self._steps += count_steps(len(setups[0].probes), len(setups), self.settings)
        self.counter.reach(self._steps, name)
        return found


@dataclass(frozen=True)
class FaithfulnessAnswer:
    """What a worker answered, and wrote to `folder`, which is untrusted. All methods raise KeyError, TypeError, ValueError, OSError."""

    answer: Mapping[str, Any]
    folder: Path
    setups: Sequence[Setup]
    settings: FaithfulnessSettings
    areas: Areas | None

    def read(self, model: DescribedModel) -> ModelFaithfulness:
        """Return the numbers of a model."""
        answer, name = self.answer, model.record.name
        if not all(is_text(answer[key], _MOST_WORDS) for key in ("explained", "followed")):
            raise ValueError("its words are no text")
        curves: dict[str, Numbers] = {
            key: self._read_rows(key, self.settings.steps + 1) for key in CURVES if key in answer["files"]
        }
        randomisation = self._read_randomisation()
        values = self._list_values(curves, randomisation)
        warnings = (*read_texts(answer["remarks"]), *(f"{name}: {line}" for line in read_texts(answer["warnings"])))
        return ModelFaithfulness(
            model.record, tuple(setup.method for setup in self.setups), answer["explained"], answer["followed"],
            {key: values[key] for key in self.settings.measures if key in values}, curves, randomisation, warnings,
            self._name_target(), tuple(f"{name}: {line}" for line in read_texts(answer["notes"])),
        )  # fmt: skip

    def _name_target(self) -> str:
        """What is explained in words, empty for the encoder."""
        target = self.setups[0].target
        if target is None and METHODS[self.setups[0].method].place == "positions":
            target = _MOST_PROBABLE
        return "" if target is None else target.words

    def _list_values(self, curves: Mapping[str, Numbers], randomisation: Randomisation | None) -> dict[Measure, Numbers]:
        """Values of each measure, float64 [rows, images]; those of chance are NaN where they would say nothing."""
        files = self.answer["files"]
        values: dict[Measure, Numbers] = {name: area_under(curves[name]) for name in CURVES if name in curves}
        if "infidelity" in files:
            values["infidelity"] = self._read_rows("infidelity")
        if "sensitivity" in files:
            values["sensitivity"] = _add_chance(self._read("sensitivity"))
        if randomisation is not None:
            values["randomisation"] = _add_chance(randomisation.correlations[:, -1])
        if self.areas is not None and "peaks" in files:
            values["pointing"] = score_peaks(self._read_peaks(), self.areas.widened)
            values["mass"] = np.concatenate([self._read("mass"), score_chance(self.areas.objects, measure_mass)])
            values["ranks"] = np.concatenate([self._read("ranks"), score_chance(self.areas.objects, measure_ranks)])
        return values

    def _read_randomisation(self) -> Randomisation | None:
        layers = tuple(self.answer["layers"])
        if len(layers) > self.settings.stages or not all(is_whole(count, 1, _MOST_LAYERS) for count in layers):
            raise ValueError("its layers are no numbers")
        if not layers:
            return None
        methods, images = self._shape
        each = {name: self._load(name, np.float64, (methods, len(layers), images)) for name in SIMILARITIES}
        return Randomisation(
            layers,
            each["magnitude"],
            each["signed"],
            each["structure"],
            self._load("entropies", np.float64, (methods, images, 2)),
        )

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.setups), len(self.setups[0].probes)

    def _read(self, name: str) -> Numbers:
        """Numbers of all methods and images."""
        return self._load(name, np.float64, self._shape)

    def _read_rows(self, name: str, *more: int) -> Numbers:
        """Numbers of all methods, of the maps of chance, and images."""
        methods, images = self._shape
        return self._load(name, np.float64, (methods + len(CHANCE), images, *more))

    def _read_peaks(self) -> NDArray[np.int64]:
        """Rows and columns inside of an image."""
        peaks = self._load("peaks", np.int64, (*self._shape, 2))
        if peaks.min() < 0 or peaks.max() >= self.setups[0].probes.size:
            raise ValueError("a peak is outside of its image")
        return peaks

    def _load(self, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
        found = load_array(find_file(self.folder, self.answer["files"][name]), follow=False)
        if found.dtype != np.dtype(dtype) or found.shape != shape:
            raise ValueError(f"{name} has another shape")
        return found


def _add_chance(values: Numbers) -> Numbers:
    return np.concatenate([values, np.full((len(CHANCE), values.shape[1]), np.nan)])
