"""Results of models on earlier datasets, kept in a CSV file that grows with every ranking by fine-tuning.

Columns are `target`, `source` and `value`, as in every table of a line per pair, three that tell models and datasets apart under
other names (`data` and `sha256`, checksums, and `architecture`, which models of one architecture share), and `transfer`, which is
`finetuned` or `frozen`: what ranks the one well ranks the other badly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from onnxspace.errors import OutputError
from onnxspace.evaluation.reading import read_pairs
from onnxspace.evaluation.static_baseline import mean_ranks
from onnxspace.storage.atomic import whole_file
from onnxspace.storage.csv_text import format_csv
from onnxspace.storage.locks import hold_lock

#: Files with this suffix grow; tables in other files are only read.
SUFFIX = ".known"


@dataclass(frozen=True)
class ModelIdentity:
    """A model by what identifies it; empty where unknown."""

    name: str
    sha256: str = ""
    architecture: str = ""


@dataclass(frozen=True)
class PastResult:
    """The `value` of a model, `source`, on a dataset, `target`: larger is better, comparable within the dataset only.

    `transfer` is `finetuned`, `frozen`, or empty where it is unknown.
    """

    target: str
    source: str
    value: float
    data: str = ""
    sha256: str = ""
    architecture: str = ""
    transfer: str = ""


COLUMNS = tuple(field.name for field in fields(PastResult))


def read_results(file: Path) -> tuple[PastResult, ...]:
    """Read a file of results; a `.known` file that does not exist yet has none. Raises TableError.

    >>> read_results(Path("none-yet.known"))
    ()
    """
    if file.suffix == SUFFIX and not file.exists():
        return ()
    return tuple(PastResult(target, source, value, *others) for target, source, value, *others in read_pairs(file, COLUMNS[3:]))


def estimate_ranks(
    known: Sequence[PastResult], models: Sequence[ModelIdentity], data: str = "", transfer: str = ""
) -> list[float | None]:
    """Estimate the rank of each of `models` on a new dataset: its mean rank on the other datasets, 1 is best.

    A model is recognised by its checksum, or by its name where a result has none. One without results takes the mean of those of
    its architecture; None where there is none either. Results on the dataset with checksum `data` are left out, and those of
    another kind of transfer.

    >>> found = [PastResult("flowers", "a", 0.9), PastResult("flowers", "b", 0.7)]
    >>> estimate_ranks(found, [ModelIdentity("b"), ModelIdentity("a"), ModelIdentity("c")])
    [2.0, 1.0, None]
    """
    rows = [one for one in known if (not data or one.data != data) and (not transfer or one.transfer in ("", transfer))]
    ranks = _rank(rows)
    kinds = {_key(one): one.architecture for one in rows if one.architecture}
    return [_estimate(model, ranks, kinds) for model in models]


def _rank(rows: Sequence[PastResult]) -> dict[str, float]:
    """The mean rank of each model, by its key."""
    keys, datasets = list(dict.fromkeys(map(_key, rows))), list(dict.fromkeys(map(_dataset, rows)))
    values = np.full((len(datasets), len(keys)), np.nan)
    for one in rows:
        values[datasets.index(_dataset(one)), keys.index(_key(one))] = one.value
    ranks = mean_ranks(values) if rows else np.zeros(0)
    return {key: float(rank) for key, rank in zip(keys, ranks, strict=True) if np.isfinite(rank)}


def _estimate(model: ModelIdentity, ranks: dict[str, float], kinds: dict[str, str]) -> float | None:
    for key in (model.sha256, model.name):
        if key in ranks:
            return ranks[key]
    kin = [rank for key, rank in ranks.items() if model.architecture and kinds.get(key) == model.architecture]
    return float(np.mean(kin)) if kin else None


def _key(one: PastResult) -> str:
    return one.sha256 or one.source


def _dataset(one: PastResult) -> tuple[str, str]:
    return one.data or one.target, one.transfer


def add_results(file: Path, added: Sequence[PastResult]) -> None:
    """Enter results of one dataset in a `.known` file; its former results of that transfer to that dataset are replaced.

    A name that stands for another dataset or another model gets the start of the checksum. Raises OutputError, and TableError
    where the file is another one.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with hold_lock(file.with_name(f".{file.name}.lock")):
            kept = [one for one in read_results(file) if _dataset(one) not in {_dataset(new) for new in added}]
            text = _format([*kept, *(_name_apart(new, kept) for new in added)])
            with whole_file(file) as partial:
                partial.write_text(text, "utf-8", "backslashreplace")
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(error.errno, f"{file} can't be written ({error.strerror}). Name another --known.") from error


def _name_apart(new: PastResult, kept: Iterable[PastResult]) -> PastResult:
    rows = list(kept)
    name = f"{new.target}, frozen" if new.transfer == "frozen" else new.target
    target = name if all(one.target != name for one in rows) else f"{name}-{new.data[:8]}"
    twice = any(one.source == new.source and one.sha256 != new.sha256 for one in rows)
    source = f"{new.source}-{new.sha256[:8]}" if twice else new.source
    return replace(new, target=target, source=source)


def _format(rows: Iterable[PastResult]) -> str:
    cells = [[f"{cell:.6g}" if isinstance(cell, float) else cell for cell in astuple(one)] for one in rows]
    return format_csv([COLUMNS, *cells])
