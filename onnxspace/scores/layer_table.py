"""The result of a layer-wise comparison: which layer of a source suits a target best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from onnxspace.inputs.methods import describe_options
from onnxspace.scores.display import describe_layers, render_layers
from onnxspace.similarity.records import ModelRecord
from onnxspace.storage.data_frames import NUMBER, TEXT, WHOLE, make_frame

SCHEMA = "onnxspace/layers/1"
_COLUMNS = {
    "source": TEXT, "target": TEXT, "tensor": TEXT, "shape": TEXT, "trained_below": WHOLE, "share_below": NUMBER, "nodes": NUMBER,
    "edges": NUMBER, "score": NUMBER,
}  # fmt: skip
#: The share of the maximal score, 1 + λ, below which starting from the best layer is not recommended.
FAINT = 0.1


@dataclass(frozen=True)
class Layer:
    """A tensor of the source, and its similarity to the target's encoder.

    `trained_below` trained nodes of the source and the share `share_below` of its multiply-adds (0 to 1) lie below it; `shape`
    is that of one image. `nodes` is the mean cosine of attribution maps (S_V), `edges` the rank correlation of the similarities
    between images (S_E, None where it is undefined), and `score` the sum S_V + λ S_E, None without edges.
    """

    tensor: str
    shape: tuple[int, ...]
    trained_below: int
    share_below: float
    nodes: float
    edges: float | None
    score: float | None


@dataclass(frozen=True)
class LayerTable:
    """The candidate `layers` of `source`, from image to output, compared with the encoder of `target`; `weight` is λ.

    `trained` is the number of trained nodes; `skipped` counts candidates that were left out because there were too many.
    `method`, `options` and `probe` describe the maps.
    """

    source: ModelRecord
    target: ModelRecord
    layers: tuple[Layer, ...]
    trained: int
    weight: float
    method: str
    probe: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    skipped: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> Layer | None:
        """The layer with the largest score, the last of equals, as it keeps more trained nodes; None where none has a score."""
        scored = [(layer.score, place) for place, layer in enumerate(self.layers) if layer.score is not None]
        return self.layers[max(scored)[1]] if scored else None

    @property
    def advice(self) -> str:
        """A recommendation for the best layer, in a sentence or two."""
        best = self.best
        if best is None or best.score is None:
            return f"No layer of {self.source.name} can be compared with {self.target.name}."
        if best.score < FAINT * (1 + self.weight):
            return (
                f"No layer of {self.source.name} is similar to {self.target.name}: the best, {best.tensor}, scores "
                f"{best.score:.3f} of at most {1 + self.weight:g}. Try another source."
            )
        kept = f"{best.trained_below} of {self.trained} trained layers and {best.share_below:.0%} of the work"
        return (
            f"Cut {self.source.name} at {best.tensor} (--encoder {best.tensor}): keep what lies below it ({kept}), frozen or "
            f"as a start, and train what comes above it anew for the task of {self.target.name}."
        )

    @property
    def method_words(self) -> str:
        """The method and its options, for titles."""
        return f"{self.method} ({describe_options(self.options)})" if self.options else self.method

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per layer, from image to output.

        Columns are `source`, `target`, and the fields of `Layer`: `tensor`, `shape` (a tuple), `trained_below`, `share_below`, `nodes`
        (S_V), `edges` (S_E) and `score` (S_V + λ S_E). Raises MissingLibraryError where pandas is not installed.

        >>> table.to_dataframe().nlargest(3, "score")  # doctest: +SKIP
        """
        names = (self.source.name, self.target.name)
        return make_frame(_COLUMNS, [(*names, *vars(layer).values()) for layer in self.layers])

    def __repr__(self) -> str:
        return describe_layers(self.to_dict(), self.advice)

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        return render_layers(self.to_dict(), self.advice)

    def to_dict(self) -> dict[str, Any]:
        """Return the object of schema `onnxspace/layers/1`, ready for `json.dumps`.

        >>> table.to_dict()["best"]  # doctest: +SKIP
        '/layer3/Relu_output_0'
        """
        return {
            "schema": SCHEMA,
            "source": asdict(self.source),
            "target": asdict(self.target),
            "method": self.method,
            **({"options": dict(self.options)} if self.options else {}),
            "lambda": self.weight,
            "probe": dict(self.probe),
            "trained": self.trained,
            "layers": [asdict(layer) for layer in self.layers],
            "best": None if self.best is None else self.best.tensor,
            "skipped": self.skipped,
            "warnings": list(self.warnings),
        }
