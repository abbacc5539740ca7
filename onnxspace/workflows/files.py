"""The files that a run has computed of each model, one for each representation that the selected scores take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from onnxspace.errors import AttributionError
from onnxspace.inputs.execution import Advance, Execution
from onnxspace.inputs.methods import FIELDS_METHOD, FIELDS_SIZE, resolve_settings
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.scores.registry import Kind
from onnxspace.scores.selection import ScoreSelection
from onnxspace.storage.journal import Journal
from onnxspace.storage.map_file import MapWriter
from onnxspace.storage.resume import JOURNAL
from onnxspace.storage.short_text import count_of
from onnxspace.workflows.array_forms import ArrayForm
from onnxspace.workflows.requests import (
    DescribedModel,
    Destination,
    FileRequest,
    WrittenFile,
    encode_execution,
    wrong_answer,
)
from onnxspace.workflows.session import ModelSession

#: What a model lacks whose outputs can't be predicted, or from whose features nothing can be.
_NO_OUTPUTS, _NO_FEATURES = "no sources can be ranked by what predicts its outputs", "it is no source for the others"
#: Appends the missing maps of a model to a writer, and returns warnings about them.
CollectMaps = Callable[[DescribedModel, MapWriter, Advance], tuple[str, ...]]


class Representation(Protocol):
    """One kind of file of a model.

    `loss` describes the consequence where the file can't be computed; None means that the model fails as a whole.
    """

    @property
    def loss(self) -> str | None: ...

    def write(self, model: DescribedModel, to: Destination, advance: Advance) -> WrittenFile:
        """Have the file written unless it exists.

        `advance` is called with numbers of finished images. Raises ModelError, OutputError.
        """
        ...


@dataclass(frozen=True)
class WorkerFile:
    """A file that the worker of a session writes."""

    kind: Kind
    session: ModelSession
    files: FileRequest
    form: ArrayForm
    loss: str | None = None

    def write(self, model: DescribedModel, to: Destination, advance: Advance) -> WrittenFile:
        found = self.session.write(self.kind, model, to, self.files, advance)
        try:
            self.form.check(found.path)
        except (OSError, ValueError) as error:
            raise wrong_answer(model.record.path) from error
        return found


@dataclass(frozen=True)
class CollectedMaps:
    """Unit maps, float16 [images, size · size], which the workers of a cluster compute and `collect` puts together."""

    setup: Setup
    collect: CollectMaps
    loss: None = None

    def write(self, model: DescribedModel, to: Destination, advance: Advance) -> WrittenFile:
        return write_map_file(self.setup, to, advance, model.located.file, lambda writer: self.collect(model, writer, advance))


def _describe_zeros(setup: Setup, path: str) -> str:
    """Maps of a target are zero also where nothing speaks for it, which methods that keep positive values draw alone."""
    if setup.target is None:
        return f"{path}: every map is zero, so its encoder does not depend on the image. Name another --encoder."
    return f"{path}: every map of {setup.target.words} by {setup.method} is zero. Name another target or --method."


def write_map_file(
    setup: Setup, to: Destination, advance: Advance, path: str, compute: Callable[[MapWriter], tuple[str, ...]]
) -> WrittenFile:
    """Write the unit maps of the model `path` that `compute` appends to a writer, and returns warnings about.

    Raises AttributionError where every map is zero, and OutputError.
    """
    file, images = to.folder / f"{to.key}.npy", len(setup.probes)
    journal = Journal(file.with_suffix(JOURNAL), images) if to.kept else None
    with MapWriter(file, images, setup.probes.size**2, journal) as writer:
        advance(writer.rows)
        remarks = writer.remarks
        if remarks is None:
            remarks = compute(writer)
        if writer.zeros == images:
            raise AttributionError(_describe_zeros(setup, path))
        if writer.remarks is None:
            writer.finish(remarks)
    zeros = (f"{count_of(writer.zeros, images, 'map')} zero; cosines with zero count as 0.",) if writer.zeros else ()
    return WrittenFile(file, (*remarks, *zeros))


def _list_forms(selection: ScoreSelection, setup: Setup, pictures: Probes) -> Mapping[Kind, ArrayForm]:
    """What the files of each kind hold; `pictures` are the images of features and outputs."""
    images, seen = len(setup.probes), len(pictures)
    steps = resolve_settings([FIELDS_METHOD], selection.fields).steps
    return {
        "maps": ArrayForm("float16", images, setup.probes.size**2), "fields": ArrayForm("float16", images, steps * FIELDS_SIZE**2),
        "features": ArrayForm("float32", seen), "outputs": ArrayForm("float32", seen),
    }  # fmt: skip


def representations_for(
    selection: ScoreSelection,
    setup: Setup,
    execution: Execution,
    session: ModelSession,
    collect: CollectMaps | None = None,
    pictures: Probes | None = None,
) -> Mapping[Kind, Representation]:
    """Return the representations that the selected scores need, by kind, in the order of computation.

    `pictures` are the images of features and outputs (None: those of `setup`); `collect` collects maps (None: the worker of the
    `session` computes them).
    """
    seen = None if pictures is None else session.place(replace(setup, probes=pictures))
    fields = None if selection.fields is None else asdict(selection.fields)
    if fields is not None and fields["baseline"] is not None:
        fields["baseline"] = str(fields["baseline"])
    outputs = selection.needs("outputs")
    request = FileRequest(session.place(setup), encode_execution(execution), seen, fields, outputs)
    forms = _list_forms(selection, setup, setup.probes if pictures is None else pictures)
    losses: dict[Kind, str | None] = {"features": _NO_FEATURES if selection.usual else None, "outputs": _NO_OUTPUTS}
    found: dict[Kind, Representation] = {
        kind: WorkerFile(kind, session, request, forms[kind], losses.get(kind)) for kind in ORDER if selection.needs(kind)
    }
    if collect is not None and "maps" in found:
        found["maps"] = CollectedMaps(setup, collect)
    return found


#: The kinds of files in the order in which they are computed.
ORDER: tuple[Kind, ...] = ("maps", "features", "fields", "outputs")
