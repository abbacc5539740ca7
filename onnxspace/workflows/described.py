"""The models of a run, opened before the work: what was guessed of them is seen in time, and exports of one network agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from onnxspace.inputs.execution import Announce
from onnxspace.inputs.weight_sketch import WeightSketch
from onnxspace.similarity.one_network import Subject, find_donors, list_disagreements
from onnxspace.similarity.records import ModelRecord
from onnxspace.workflows.requests import DescribedModel, LocatedModel
from onnxspace.workflows.shared_pixels import take_over

#: A model's path, its name, and the requested encoder.
Turn = tuple[Path, str, str | None]
#: Returns the records of models that have one of these architectures, as `PixelRecord` has them; it may return others too.
FindOthers = Callable[[Collection[str]], Sequence[ModelRecord]]


class DescribedModels:
    """Opens each model by `prepare`: before the work, where that is announced or there are several, or at its turn.

    `prepare_again` opens one with other options. `find_others` gives records of fingerprints, or of the models of a space, with which
    they are compared (None: there are none). `warnings` has a sentence for models whose pixels contradict each other.
    """

    def __init__(
        self,
        prepare: Callable[[Turn], DescribedModel],
        prepare_again: Callable[[LocatedModel], DescribedModel],
        find_others: FindOthers | None = None,
    ) -> None:
        self._prepare, self._prepare_again, self._find_others = prepare, prepare_again, find_others
        self._found: dict[Turn, DescribedModel | Exception] = {}
        self.warnings: list[str] = []

    def announce(
        self, turns: Sequence[Turn], announce: Announce | None, is_due: Callable[[DescribedModel], bool] | None = None
    ) -> None:
        """Open all models, let those that hold one network share pixels, and call `announce` with the records of all that are open.

        Models for which `is_due` is false, since nothing is to be computed of them, are not announced. A single model is not opened
        unless it is announced, or there are others to compare it with.
        """
        if announce is None and len(turns) < 2 and self._find_others is None:
            return
        for turn in turns:
            self._found[turn] = self._try(partial(self._prepare, turn))
        self._share_pixels()
        if announce is not None:
            announce([model.record for _, model in self._list_opened() if is_due is None or is_due(model)])

    def _list_opened(self) -> list[tuple[Turn, DescribedModel]]:
        return [(turn, found) for turn, found in self._found.items() if isinstance(found, DescribedModel)]

    def _list_subjects(self) -> list[tuple[Turn, DescribedModel, Subject]]:
        listed = []
        for turn, model in self._list_opened():
            if (pixels := model.record.pixels) is not None:
                listed.append((turn, model, Subject(model.record.name, pixels, model.weights)))
        return listed

    def _share_pixels(self) -> None:
        """Open models again whose pixels another export of their network knows better, and note those that disagree."""
        listed = self._list_subjects()
        for index, donor in find_donors([subject for *_, subject in listed]).items():
            turn, model, subject = listed[index]
            self._found[turn] = self._try(partial(self._prepare_again, take_over(model.located, subject.pixels, donor)))
        subjects = [subject for *_, subject in self._list_subjects()]
        self.warnings += list_disagreements(subjects, self._list_others(subjects))

    def _list_others(self, subjects: Sequence[Subject]) -> list[Subject]:
        """What the models are compared with, of the same architectures: of the rest nothing is known that could disagree."""
        architectures = {subject.pixels.architecture for subject in subjects} - {""}
        if self._find_others is None or not architectures:
            return []
        records = self._find_others(architectures)
        return [Subject(one.name, one.pixels, WeightSketch("")) for one in records if one.pixels is not None]

    @staticmethod
    def _try(prepare: Callable[[], DescribedModel]) -> DescribedModel | Exception:
        try:
            return prepare()
        except Exception as error:  # raised at its turn, where it concerns no other model
            return error

    def count_opened(self, turns: Sequence[Turn]) -> int:
        """The number of models that are open, or that are not tried before their turn."""
        return sum(not isinstance(self._found.get(turn), Exception) for turn in turns)

    def find_opened(self, turn: Turn) -> DescribedModel | None:
        """Return a model that is open ahead of its turn; None where it is not, or could not be opened."""
        found = self._found.get(turn)
        return found if isinstance(found, DescribedModel) else None

    def take(self, turn: Turn) -> DescribedModel:
        """Return a model, and forget it. Raises the error of opening it."""
        found = self._found.pop(turn, None)
        if isinstance(found, Exception):
            raise found
        return found or self._prepare(turn)
