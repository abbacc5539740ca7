"""Tables of results as data frames of pandas, which is imported when one is made: no other part of onnxspace needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import MissingLibraryError

#: Types of columns whose values may be missing: numbers are NaN then, whole numbers and flags `pandas.NA`.
NUMBER, WHOLE, FLAG, TEXT = "float64", "Int64", "boolean", "object"


def make_frame(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> Any:
    """Return a pandas DataFrame of `rows`, with the type of each column by its name; None is a missing value.

    Raises MissingLibraryError where pandas is not installed.
    """
    pandas = _import_pandas()
    cells = zip(*rows, strict=True) if rows else [()] * len(columns)
    return pandas.DataFrame(
        {name: pandas.Series(list(values), dtype=kind) for (name, kind), values in zip(columns.items(), cells, strict=True)}
    )


def make_matrix_frame(
    matrix: NDArray[np.float64], targets: Sequence[str], sources: Sequence[str], score: str
) -> Any:  # fmt: skip
    """Return a pandas DataFrame of a matrix of the score `score`, which is the name of its columns; that of its rows is `target`.

    Raises MissingLibraryError where pandas is not installed.
    """
    pandas = _import_pandas()
    rows, columns = pandas.Index(list(targets), name="target"), pandas.Index(list(sources), name=score)
    return pandas.DataFrame(matrix, index=rows, columns=columns)


def _import_pandas() -> Any:
    try:
        import pandas  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise MissingLibraryError(
            "Data frames need pandas, which is not installed. Install it (pip install pandas), or use to_dict or to_csv.",
            name="pandas",
        ) from error
    return pandas
