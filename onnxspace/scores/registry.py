"""The registry of transferability scores: what each one measures, its inputs, and its source.

Free of NumPy, so that the command line can list scores without importing it. Other packages add a score as an entry point of
the group `onnxspace.scores` that names a `Spec`; the name of the entry point is the score's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from onnxspace.errors import ConfigError
from onnxspace.inputs.nearest_names import describe_unknown

GROUP = "onnxspace.scores"
#: `pair`: arrays of two models, without labels.
Needs = Literal["features", "probabilities", "source labels", "pair"]
#: A representation of one model: attribution maps, features at the encoder, gradient fields, or the network's outputs.
Kind = Literal["maps", "features", "fields", "outputs"]


@dataclass(frozen=True)
class ScoreSpec:
    """One score. `function` is called as `score(input, labels) -> float`, larger is better; `needs` is the kind of input.

    The function may be given by name, `package.module:name`, and is then imported at its first use. `labels` are the kinds of
    labels that it accepts, none for a pair. `arrays` are the representations that it takes of each of the two models, grouped
    by kind: `depara(maps_a, maps_b, features_a, features_b)`. A `directed` score takes two kinds, the first of the target and
    the second of the source: `predictivity(outputs, features)`. `values` is the range of the result; `summary` and `source`
    describe the score in tables. Of a `symmetric` score only half of the pairs are computed. Of more than `max_images` images,
    this many are compared. The certainty of rankings by a `resampled` score can be estimated. `matrix` names the function that
    computes all pairs: `function(spec, compared) -> ScoreMatrix`. A combination has the names of the scores that it combines
    as `members`; its function takes the features of several sources. `held_out`
    names the function that gives the result of each image, whose mean the score is: `function(prepared) -> HeldOut`; rankings
    by the score then have intervals. A score is `reduced` if it can be computed from what a fingerprint holds.
    """

    summary: str
    source: str
    needs: Needs
    function: str | Callable[..., float]
    values: str
    labels: tuple[Literal["classes", "multilabel", "regression"], ...] = ("classes",)
    arrays: tuple[Kind, ...] = ()
    directed: bool = False
    symmetric: bool = False
    max_images: int | None = None
    resampled: bool = False
    members: tuple[str, ...] = ()
    matrix: str = "onnxspace.scores.matrices:score_every_pair"
    held_out: str | None = None
    reduced: bool = False

    def load(self) -> Callable[..., float]:
        """Return the function, importing it if it is given by name."""
        return _import(self.function) if isinstance(self.function, str) else self.function

    def load_held_out(self) -> Callable[..., Any] | None:
        """Return the function that `held_out` names, None where there is none."""
        return None if self.held_out is None else _import(self.held_out)


def _import(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    imported: Callable[..., Any] = getattr(import_module(module), function)
    return imported


#: The name under which other packages import `ScoreSpec`.
Spec = ScoreSpec


def _labelled_spec(name: str, summary: str, source: str, values: str, **others: Any) -> ScoreSpec:
    where = f"onnxspace.scores.labelled.{name}:{name}"
    return ScoreSpec(summary, source, others.pop("needs", "features"), where, values, **others)


def _pair_spec(name: str, summary: str, source: str, values: str, *arrays: Any, **others: Any) -> ScoreSpec:
    where, symmetric = f"onnxspace.scores.pairs.{name}:{name}", not others.get("directed", False)
    if (matrix := others.pop("matrix", None)) is not None:
        others["matrix"] = f"onnxspace.scores.matrices:{matrix}"
    return ScoreSpec(summary, source, "pair", where, values, (), arrays, symmetric=symmetric, **others)


_ALL_KINDS = ("classes", "multilabel", "regression")
SCORES: Mapping[str, ScoreSpec] = {
    "sfda": _labelled_spec(
        "sfda", "probability of the right class under a self-challenged Fisher discriminant", "Shao et al., ECCV 2022", "(0, 1]"
    ),
    "logme": _labelled_spec(
        "logme", "log evidence of a Bayesian linear model, per image", "You et al., ICML 2021", "any", labels=_ALL_KINDS
    ),
    "leep": _labelled_spec(
        "leep", "log likelihood of labels given source classes", "Nguyen et al., ICML 2020", "(−∞, 0]", needs="probabilities"
    ),
    "nleep": _labelled_spec("nleep", "LEEP over the components of a Gaussian mixture", "Li et al., CVPR 2021", "(−∞, 0]"),
    "h_score": _labelled_spec(
        "h_score", "whitened variance between classes, Ledoit–Wolf", "Bao et al., ICIP 2019; Ibrahim et al., ECML 2022",
        "[0, classes − 1]",
    ),
    "nce": _labelled_spec(
        "nce", "negative conditional entropy of labels given source labels", "Tran et al., ICCV 2019", "(−∞, 0]",
        needs="source labels",
    ),
    "transrate": _labelled_spec("transrate", "coding rate of all features less that of the classes", "Huang et al., ICML 2022", "any"),
    "gbc": _labelled_spec("gbc", "overlap of the classes as Gaussians, negated", "Pándy et al., CVPR 2022", "[−C(C − 1), 0]"),
    "parc": _labelled_spec(
        "parc", "rank correlation of pairs of images: features against labels, × 100", "Bolya et al., NeurIPS 2021", "[−100, 100]"
    ),
    "lfc": _labelled_spec("lfc", "correlation of pairs of images: features against labels", "Deshpande et al., 2021", "[−1, 1]"),
    "knn": _labelled_spec(
        "knn", "leave-one-out accuracy of nearest neighbours", "Cover and Hart, 1967", "[0, 1]",
        held_out="onnxspace.scores.labelled.knn:hold_out_neighbours",
    ),
    "linear_probe": _labelled_spec(
        "linear_probe", "accuracy of a ridge probe on held-out folds (R² where labels are not classes)", "Golub et al., 1979",
        "[0, 1], R² ≤ 1", labels=_ALL_KINDS, held_out="onnxspace.scores.labelled.linear_probe:hold_out_probe",
    ),
    "attribution": _pair_spec("attribution", "mean cosine of attribution maps", "Song et al., NeurIPS 2019", "[−1, 1]", "maps", resampled=True, matrix="score_maps", reduced=True),
    "depara": _pair_spec(
        "depara", "attribution maps, and similarities between images", "Song et al., CVPR 2020", "[−1.25, 1.25]", "maps", "features",
        max_images=2000, matrix="score_depara",
    ),
    "rsa": _pair_spec("rsa", "rank correlation of dissimilarities", "Dwivedi and Roig, CVPR 2019", "[−1, 1]", "features", max_images=2000),
    "svcca": _pair_spec("svcca", "mean canonical correlation", "Raghu et al., NeurIPS 2017", "[0, 1]", "features", matrix="score_svcca"),
    "cka": _pair_spec("cka", "centred kernel alignment, unbiased", "Kornblith et al., ICML 2019", "[−1, 1]", "features"),
    "dds": _pair_spec(
        "dds", "correlation of z-scored cosine matrices", "Dwivedi et al., ECCV 2020", "[−1, 1]", "features", matrix="score_dds", reduced=True,
    ),
    "modelgif": _pair_spec("modelgif", "mean cosine of gradient fields", "Song et al., ICCV 2023", "[−1, 1]", "fields"),
    "predictivity": _pair_spec(
        "predictivity", "share (R²) of a target's outputs that a source's features predict linearly", "Yamins et al., PNAS 2014",
        "up to 1", "outputs", "features", directed=True, resampled=True, matrix="score_predictivity",
    ),
    "probability_predictivity": _pair_spec(
        "probability_predictivity", "predictivity of a classifier's probabilities; of other outputs as they are",
        "Hinton et al., 2015; Yamins et al., PNAS 2014", "up to 1", "outputs", "features", directed=True, resampled=True,
        matrix="score_probability_predictivity", reduced=True,
    ),
    "knn_agreement": _pair_spec(
        "knn_agreement", "accuracy of nearest neighbours for a target's answers (R² where these are not classes)",
        "Cover and Hart, 1967; Lee, 2013", "[0, 1], R² ≤ 1", "outputs", "features", directed=True, resampled=True,
        matrix="score_knn_agreement", reduced=True,
    ),
    "mean_rank": _pair_spec(
        "mean_rank", "mean rank among a target's sources by knn_agreement and probability_predictivity, 1 for the first by both",
        "Borda, 1781; Dwork et al., WWW 2001", "[0, 1]", "outputs", "features", directed=True, resampled=True,
        members=("knn_agreement", "probability_predictivity"), matrix="score_mean_rank", reduced=True,
    ),
}  # fmt: skip


@cache
def _plugins() -> dict[str, EntryPoint]:
    """Entry points of other packages, by name, except those with the name of a score of this package."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in SCORES}


def score_names() -> tuple[str, ...]:
    """Return the names of all scores: those of this package, then those of others in alphabetical order; imports none."""
    return (*SCORES, *sorted(_plugins()))


def find_spec(name: str) -> ScoreSpec:
    """Return the score called `name`. Raises ConfigError for an unknown name, and for an entry point that is not a score.

    >>> find_spec("cka").needs
    'pair'
    """
    if name in SCORES:
        return SCORES[name]
    if name not in _plugins():
        raise ConfigError(f"--by: {describe_unknown('score', name, score_names())}")
    point = _plugins()[name]
    try:
        found = point.load()
    except Exception as error:
        raise ConfigError(f"The score {name!r} of {point.value} can't be loaded: {error}") from error
    if not isinstance(found, ScoreSpec):
        raise ConfigError(f"The entry point {name!r} names {point.value}, which is not an onnxspace.scores.registry.Spec.")
    return found
