"""scikit-learn: pipelines that have a gradient, from callables, and from pickles if these are allowed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxspace.errors import ModelError
from onnxspace.exporters import Exporter, Facts, Request, Source
from onnxspace.inputs.config import ModelOptions

if TYPE_CHECKING:
    import onnx

    from onnxspace_converters.loaded_network import Array, LoadedNetwork

_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib"})
#: Steps whose output is continuous in their input. Trees, neighbours and counts have a gradient of zero, or none.
_SMOOTH = frozenset({
    "ARDRegression", "BayesianRidge", "ElasticNet", "ElasticNetCV", "FactorAnalysis", "FastICA", "HuberRegressor", "IncrementalPCA",
    "Lasso", "LassoCV", "LinearDiscriminantAnalysis", "LinearRegression", "LinearSVC", "LinearSVR", "LogisticRegression",
    "LogisticRegressionCV", "MLPClassifier", "MLPRegressor", "MaxAbsScaler", "MinMaxScaler", "Normalizer", "PCA", "Perceptron",
    "Ridge", "RidgeCV", "RidgeClassifier", "RobustScaler", "SGDClassifier", "SGDRegressor", "StandardScaler", "TheilSenRegressor",
    "TruncatedSVD",
})  # fmt: skip
_NOTHING = (None, "passthrough")


def accepts(source: Source) -> bool:
    """Whether this is a file with a suffix of scikit-learn's pickles."""
    return source.path.suffix.lower() in _SUFFIXES and not source.is_callable


def export(source: Source, destination: Path, request: Request) -> Facts:
    """Convert a scikit-learn pipeline. Raises ModelError and its subclasses."""
    from onnxspace_converters.deliver import deliver

    request.progress("loading the network", 0, 1)
    return deliver(load_network(source, request), source.text, destination, request)


def load_network(source: Source, request: Request) -> LoadedNetwork:
    """Load a pipeline as a network of images, whose flattened values are its features. Raises ModelError."""
    from onnxspace_converters.files import hash_files
    from onnxspace_converters.loaded_network import LoadedNetwork, Route

    model = source.made if source.made is not None else unpickle(source.path, request)
    steps = list(pipeline_steps(model))
    for step in steps:
        refuse_without_gradient(step, source.text)
    shape = _image_shape(steps[0], source, request)
    digest = None if source.made is not None else hash_files([source.path])
    route = Route("skl2onnx", lambda opset, _dynamic: _export_pipeline(model, steps[-1], shape, opset), range(13, 22), 17)
    return LoadedNetwork(
        "scikit-learn", ("scikit-learn", "skl2onnx", "onnx"), shape, lambda images: [_run_pipeline(model, steps, images)], [route], _image_options(shape),
        layers=lambda images: _step_outputs(steps, images), sha256=digest, remarks=flat_map_remark(steps),
    )  # fmt: skip


def unpickle(path: Path, request: Request) -> Any:
    """Unpickle a file. Raises ModelError unless the user allowed this very file to run code."""
    from onnxspace_converters.files import describe_error, require_file
    from onnxspace_converters.from_torch import is_trusted

    require_file(path, "")
    if not is_trusted(request, path):
        raise ModelError(
            f"{path} is a pickle, and reading it runs any code in it. If you trust it, add --allow-pickle {path}, or give the "
            "pipeline as PACKAGE.MODULE:FACTORY."
        )
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:
        raise ModelError(
            f"{path} can't be unpickled ({describe_error(error)}). Save it with the scikit-learn that is installed here."
        ) from error


def pipeline_steps(model: Any) -> Iterator[Any]:
    """The steps of a pipeline, and of pipelines within it."""
    if hasattr(model, "steps"):
        for _, step in model.steps:
            if step not in _NOTHING:
                yield from pipeline_steps(step)
    else:
        yield model


def refuse_without_gradient(step: Any, source: str) -> None:
    """Raise ModelError for a step that is not known to have a useful gradient."""
    kind = type(step)
    if kind.__name__ not in _SMOOTH or kind.__module__.partition(".")[0] != "sklearn":
        root = ".".join(part for part in kind.__module__.split(".") if not part.startswith("_"))
        raise ModelError(
            f"{source} has a {root}.{kind.__name__}, which is not known to have a gradient, and maps need one. "
            "Use a network or a linear model instead."
        )


def flat_map_remark(steps: list[Any]) -> tuple[str, ...]:
    """A remark on linear classifiers whose classes' weights sum to 0 (as with penalties and least squares): maps are then rounding.

    None is needed where a step with components precedes the classifier, since that is explained instead.
    """
    import numpy as np

    weights = getattr(steps[-1], "coef_", None)
    if weights is None or np.ndim(weights) != 2 or len(weights) < 3 or any(hasattr(step, "components_") for step in steps):
        return ()
    if np.linalg.norm(np.sum(weights, axis=0)) > 1e-3 * np.linalg.norm(weights):
        return ()
    return ("the scores of its classes have the same sum for every image, so that its maps are zero: put a PCA before it",)


def _image_shape(first: Any, source: Source, request: Request) -> tuple[int, ...]:
    if request.input is None:
        raise ModelError(f"{source.text} does not state the size of its images. Give it as --input, such as --input 28x28x1.")
    count = getattr(first, "n_features_in_", None)
    if count is None:
        raise ModelError(f"{source.text} has not been fitted. Fit it to images first.")
    if math.prod(request.input) != count:
        size = "×".join(map(str, request.input))
        raise ModelError(
            f"{source.text} takes {count} values, but an image of {size} has {math.prod(request.input)}. Correct --input."
        )
    return request.input


def _image_options(shape: tuple[int, ...]) -> ModelOptions:
    if shape[0] in (1, 3) and shape[2] not in (1, 3):
        return ModelOptions(size=(shape[1], shape[2]), layout="NCHW")
    return ModelOptions(size=(shape[0], shape[1]), layout="NHWC")


def _run_pipeline(model: Any, steps: list[Any], images: Array) -> Array:
    """The outputs float32 [images, outputs]: decision values, else probabilities, else predictions, else transformed values.

    Decision values come first because probabilities sum to 1, which hides changes.
    """
    import numpy as np

    values = images.reshape(len(images), -1).astype(np.float64)
    last = steps[-1]
    for name in ("decision_function", "predict_proba", "predict", "transform"):
        if hasattr(last, name):
            found = np.asarray(getattr(model, name)(values))
            return found.reshape(len(images), -1).astype(np.float32)
    raise ModelError("its last step has no output")


def _step_outputs(steps: list[Any], images: Array) -> Iterator[tuple[str, Array]]:
    import numpy as np

    values = images.reshape(len(images), -1).astype(np.float64)
    for step in steps:
        if hasattr(step, "transform"):
            values = step.transform(values)
            yield type(step).__name__.lower(), values.astype(np.float32)


def _export_pipeline(model: Any, last: Any, shape: tuple[int, ...], opset: int) -> onnx.ModelProto:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    from onnxspace_converters.sklearn_graph import accept_images, to_standard_operators

    classifies = hasattr(last, "classes_")
    raw = classifies and hasattr(last, "decision_function")
    options = {id(last): {"zipmap": False, **({"raw_scores": True} if raw else {})}} if classifies else None
    made = to_onnx(
        model,
        initial_types=[("values", FloatTensorType([None, math.prod(shape)]))],
        options=options,
        target_opset={"": opset, "ai.onnx.ml": 3},
    )
    return accept_images(to_standard_operators(made, labelled=classifies), shape, last=raw and len(last.classes_) == 2)


SKLEARN = Exporter(
    "sklearn", accepts, export, "scikit-learn (PACKAGE.MODULE:FACTORY, .joblib, .pkl)", ("sklearn", "skl2onnx"),
    "pip install 'onnxspace[sklearn]'", ("sklearn",),
)  # fmt: skip
