"""What scores take of models besides their maps, made once and shared by all scores, and the scores themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from onnxspace.attribution.gradient_fields import SIZE, fields_key, write_fields
from onnxspace.errors import OnnxspaceError, OutputError
from onnxspace.inputs.methods import Compute, Device, resolve_settings
from onnxspace.inputs.probes import Probes
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.features import answers_of, features_key, write_features
from onnxspace.model.model import Model
from onnxspace.model.runtime import shapes_of
from onnxspace.scores import registry
from onnxspace.scores.all_pairs import (
    MOST_PAIRED,
    MOST_PREDICTED,
    PAIRED,
    Arrays,
    Matrix,
    Scored,
    balance,
    edges_matrix,
    predictivities,
    score_matrix,
)
from onnxspace.scores.selection import ATTRIBUTION, DEFAULT_WEIGHT, DEPARA, PREDICTIVITY, ScoreSelection
from onnxspace.similarity.affinity import Affinity, listed
from onnxspace.similarity.mixed import MAX_CERTAIN_MODELS, MapsOrFingerprint
from onnxspace.similarity.per_image import PerImageShares
from onnxspace.storage.resume import FEATURES


@dataclass
class Besides:
    """Files of features and gradient fields in `folder`, where they are `kept` if the run is interrupted; by the model's key."""

    wanted: ScoreSelection
    probes: Probes
    folder: Path
    kept: bool
    device: Compute | Device
    batch_size: int | None
    warn: Callable[[str], None]
    certain: bool | Sequence[str] = False
    made: dict[str, Arrays] = field(default_factory=dict)
    known: dict[int, PerImageShares] = field(default_factory=dict)

    @property
    def maps(self) -> bool:
        """Whether some score takes maps."""
        return self.wanted.needs("maps")

    @property
    def kinds(self) -> int:
        """How many kinds of arrays are made of each model."""
        return sum(self.wanted.needs(kind) for kind in get_args(registry.Kind))

    def add(self, key: str, model: Model, encoder: Encoder, advance: Callable[[int], None]) -> None:
        """Make what the scores take of a model. Raises ModelError and its kin, OutputError."""
        features = outputs = None
        if self.wanted.needs("features"):
            lost = f"{model.name}: nothing can be predicted from it"
            features = self._tried(lambda: self._features(model, encoder, advance), lost, soft=self.wanted.usual)
        fields = self._fields(key, model, encoder, advance) if self.wanted.needs("fields") else None
        if self.wanted.needs("outputs"):
            lost = f"{model.name}: nothing can be told of what to start from for it"
            outputs = self._tried(lambda: self._features(model, answers_of(model), advance), lost, soft=True)
        maps = self.folder / f"{key}.npy" if self.maps else None
        self.made[key] = Arrays(
            maps, features, fields, outputs, resolve_settings(["integrated-gradients"], self.wanted.fields).steps
        )

    def _tried(self, make: Callable[[], Path], lost: str, soft: bool) -> Path | None:
        """A file that is made; None where that fails and is `soft`, with a warning that says what is `lost`."""
        try:
            return make()
        except OutputError:
            raise
        except OnnxspaceError as error:
            if not soft:
                raise
            self.warn(f"{lost} ({str(error).rstrip('.')}).")
            return None

    def _features(self, model: Model, encoder: Encoder, advance: Callable[[int], None]) -> Path:
        file = self.folder / f"{features_key(model, encoder.tensors, 'fit', self.probes.sha256)}{FEATURES}"
        if _holds(file, len(self.probes)):
            advance(len(self.probes))
        else:
            write_features(model, encoder, self.probes.images, file, "fit", advance)
        values, kept = _values(model, encoder), int(np.prod(np.load(file, mmap_mode="r", allow_pickle=False).shape[1:]))
        if values > kept:
            self.warn(f"{model.name}: its {values:,} features per image are averaged over windows, to {kept:,}.")
        return file

    def _fields(self, key: str, model: Model, encoder: Encoder, advance: Callable[[int], None]) -> Path:
        file = self.folder / f"{fields_key(key, self.wanted.fields, self.probes)}.npy"
        remarks = write_fields(
            model,
            encoder,
            self.probes,
            file,
            self.wanted.fields,
            self.device,
            self.batch_size,
            kept=self.kept,
            progress=advance,
        )
        for remark in remarks:
            self.warn(f"{model.name}: {remark}")
        return file

    def scored(self, found: Affinity, shown: Sequence[MapsOrFingerprint]) -> Affinity:
        """The same with all scores; its matrix is the first one's, and fingerprints have attribution only.

        What ranks where nobody asked is left out where a pair of models has no value.
        """
        models = [self.made.get(one.stem, Arrays()) if isinstance(one, Path) else Arrays() for one in shown]
        details = {name: dict(part) for name, part in self._details().items()}
        matrices, why = {}, {}
        for name in self.wanted.scores:
            one = self._scored(name, found, models, details)
            matrices[name] = one.matrix
            if one.why:
                why[name] = one.why
        first = self.wanted.scores[0]
        said = [*self._remarks(), *(f"{name}: {sentence}" for name, sentences in why.items() for sentence in sentences)]
        if self.wanted.usual and self._lacking(matrices):
            if len(found.names) > 1:
                said.append(f"Sources are ranked by affinity, since not all models have {self.wanted.ranks}.")
            return replace(found, warnings=(*found.warnings, *said))
        return replace(
            found, matrix=matrices[first], by=first, ranked_by=self.wanted.ranks, scores=matrices, details=details, unscored=why,
            errors=found.errors if first == ATTRIBUTION else None, warnings=(*found.warnings, *said),
        )  # fmt: skip

    def _lacking(self, matrices: Mapping[str, Matrix]) -> bool:
        return self.wanted.ranks is not None and bool(np.isnan(matrices[self.wanted.ranks]).any())

    def _scored(self, name: str, found: Affinity, models: Sequence[Arrays], details: dict[str, dict[str, Any]]) -> Scored:
        if name == ATTRIBUTION:
            return Scored(found.matrix, ())
        if name == PREDICTIVITY:
            sides = [(one.load("outputs"), one.load("features")) for one in models]
            return predictivities(sides, found.names, self.known, self._doubted(found.names))
        if name != DEPARA:
            return score_matrix(name, registry.spec(name), models, found.names)
        edges = edges_matrix(models, found.names)
        weight = self._weight(found.matrix, edges.matrix)
        details[DEPARA] = {"lambda": weight, "nodes": listed(found.matrix), "edges": listed(edges.matrix)}
        return Scored(found.matrix + weight * edges.matrix, edges.why)

    def _doubted(self, names: Sequence[str]) -> set[int]:
        """The targets of which is kept, image by image, what their values are made of: all, where there are not too many."""
        asked = names if self.certain is True or len(names) <= MAX_CERTAIN_MODELS else self.certain or ()
        return {i for i, name in enumerate(names) if name in asked}

    def _weight(self, nodes: Matrix, edges: Matrix) -> float:
        if self.wanted.weight != "auto":
            return self.wanted.weight
        found = balance(nodes, edges)
        if found is None:
            self.warn(f"depara: λ can't be told from so few models, or equal ones; it is {DEFAULT_WEIGHT}.")
        return DEFAULT_WEIGHT if found is None else found

    def _details(self) -> Mapping[str, Mapping[str, Any]]:
        if not self.wanted.needs("fields"):
            return {}
        told = resolve_settings(["integrated-gradients"], self.wanted.fields)
        return {"modelgif": {"steps": told.steps, "baseline": str(told.baseline), "size": SIZE}}

    def _remarks(self) -> tuple[str, ...]:
        """What was left out."""
        images = len(self.probes)
        some = [name for name in self.wanted.scores if name in PAIRED]
        said = []
        if some and images > MOST_PAIRED:
            said.append(f"{' and '.join(some)}: all pairs of {MOST_PAIRED:,} of the {images:,} images are compared.")
        if PREDICTIVITY in self.wanted.scores and images > MOST_PREDICTED:
            said.append(f"{PREDICTIVITY}: outputs are predicted for {MOST_PREDICTED} of the {images:,} images.")
        return tuple(said)


def _holds(file: Path, images: int) -> bool:
    """Whether a file of features is there for so many images."""
    try:
        return len(np.load(file, mmap_mode="r", allow_pickle=False)) == images
    except (OSError, ValueError, EOFError):
        return False


def _values(model: Model, encoder: Encoder) -> int:
    """Numbers per image at the encoder."""
    try:
        shapes = shapes_of(cut(model, encoder), encoder.tensors, model.input_shape)
    except Exception:  # ONNX Runtime has a family of errors of its own; a few graphs are not run on zeros
        return 0
    return sum(int(np.prod(shape)) for shape in shapes.values())
