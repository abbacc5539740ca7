"""Results of earlier rankings by fine-tuning, in a file that grows."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxspace.errors import TableError
from onnxspace.evaluation import Table
from onnxspace.evaluation.past_results import ModelIdentity, PastResult, add_results, estimate_ranks, read_results


def _results(data: str, values: dict[str, float]) -> list[PastResult]:
    return [PastResult(f"set-{data}", name, value, data, f"sha-{name}", name[0]) for name, value in values.items()]


def test_a_file_grows_and_reads_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "zoo.known"
    add_results(file, _results("one", {"a": 1.0, "b": 0.5}))
    add_results(file, _results("two", {"a": 0.25, "c": 1.0}))
    assert len(read_results(file)) == 4
    table = Table.read(file)
    assert table.targets == ("set-one", "set-two")
    assert table.sources == ("a", "b", "c")
    np.testing.assert_array_equal(table.values, [[1.0, 0.5, np.nan], [0.25, np.nan, 1.0]])


def test_a_dataset_is_entered_once(tmp_path: Path) -> None:
    file = tmp_path / "zoo.known"
    add_results(file, _results("one", {"a": 1.0, "b": 0.5}))
    add_results(file, _results("one", {"a": 0.0}))
    assert [(one.source, one.value) for one in read_results(file)] == [("a", 0.0)]


def test_equal_names_of_other_data_and_models_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "zoo.known"
    add_results(file, [PastResult("photos", "net", 1.0, "1" * 24, "a" * 64)])
    add_results(file, [PastResult("photos", "net", 0.5, "2" * 24, "b" * 64)])
    assert [(one.target, one.source) for one in read_results(file)] == [("photos", "net"), ("photos-22222222", "net-bbbbbbbb")]
    Table.read(file)


def test_ranks_are_means_over_the_other_datasets() -> None:
    known = [*_results("one", {"a": 3.0, "b": 2.0, "c": 1.0}), *_results("two", {"a": 1.0, "b": 2.0, "c": 3.0})]
    models = [ModelIdentity(f"renamed {name}", f"sha-{name}") for name in "abc"]
    assert estimate_ranks(known, models) == [2.0, 2.0, 2.0]
    assert estimate_ranks(known, models, "two") == [1.0, 2.0, 3.0]


def test_a_new_model_takes_the_mean_of_its_architecture() -> None:
    known = [PastResult("one", name, value, "", "", name[0]) for name, value in (("a1", 4.0), ("a2", 2.0), ("b1", 3.0))]
    models = [ModelIdentity("new", "", "a"), ModelIdentity("other", "", "z"), ModelIdentity("b1", "", "")]
    assert estimate_ranks(known, models) == [2.0, None, 2.0]


def test_kinds_of_transfer_are_kept_apart(tmp_path: Path) -> None:
    file = tmp_path / "zoo.known"
    for transfer, values in (("finetuned", {"a": 1.0, "b": 0.0}), ("frozen", {"a": 0.0, "b": 1.0})):
        add_results(file, [replace(one, transfer=transfer) for one in _results("one", values)])
    assert Table.read(file).targets == ("set-one", "set-one, frozen")
    models = [ModelIdentity("a", "sha-a"), ModelIdentity("b", "sha-b")]
    assert estimate_ranks(read_results(file), models, "two", "finetuned") == [1.0, 2.0]
    assert estimate_ranks(read_results(file), models, "two", "frozen") == [2.0, 1.0]


def test_nothing_is_known(tmp_path: Path) -> None:
    assert read_results(tmp_path / "new.known") == ()
    assert estimate_ranks((), [ModelIdentity("a")]) == [None]
    with pytest.raises(TableError, match="no such file"):
        read_results(tmp_path / "missing.csv")


def test_other_layouts_are_known_results(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("dataset,a,b\none,0.9,0.8\ntwo,0.7,\n")
    assert estimate_ranks(read_results(file), [ModelIdentity("a"), ModelIdentity("b"), ModelIdentity("c")]) == [1.25, 2.0, None]


def test_a_broken_file_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "zoo.known"
    file.write_text("not a table")
    with pytest.raises(TableError, match="not a table"):
        add_results(file, _results("one", {"a": 1.0}))
    assert file.read_text() == "not a table"


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    file = tmp_path / "zoo.known"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add_results, args=(file, _results(str(i), {"a": 1.0, "b": 0.0}))) for i in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert {one.data for one in read_results(file)} == set("012345")
