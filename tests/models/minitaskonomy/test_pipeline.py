"""The study as a whole: what is computed, what is not computed again, and what is asked for first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.minitaskonomy.cache import digest_recipe
from models.minitaskonomy.study import (
    jobs,
    pipeline,
    probe_sets,
    score_matrix,
)
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import Zoo, list_entries
from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.probes import Probes
from tests.models.minitaskonomy.helpers import (
    Pictures,
    make_zoo,
    write_tiny_zoo,
)


def test_a_second_run_computes_nothing_and_one_piece_less_is_one_piece_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_zoo(tmp_path, ("depth", "normals"))
    (tmp_path / "scenery.onnx").write_bytes(b"")  # of no task
    assert [one.name for one in list_entries(tmp_path, list(TASKS))] == ["depth", "normals"]
    made: list[str] = []
    make = jobs.compute
    monkeypatch.setattr(probe_sets, "PROBES", 4)
    monkeypatch.setattr(probe_sets, "DEFAULT_IMAGES", 1)
    monkeypatch.setattr(jobs, "compute", lambda job, bench: [made.append(job.name), make(job, bench)][1])

    def go() -> list[str]:
        made.clear()
        pipeline.run(
            tmp_path / "work", models=tmp_path, device="cpu", processes=1, only="large-rooms", rooms=lambda _: Pictures(),
            say=lambda _: None,
        )  # fmt: skip
        return list(made)

    assert go() == ["maps-lrp-epsilon-large-rooms", "maps-lrp-gamma-large-rooms"]
    assert go() == []
    piece = tmp_path / "work/study/pieces/maps-lrp-gamma-large-rooms.npz"
    piece.write_bytes(piece.read_bytes()[:-100])
    assert go() == ["maps-lrp-gamma-large-rooms"]
    before = Zoo(list_entries(tmp_path, list(TASKS)), tmp_path).sha256
    write_tiny_zoo(tmp_path, ("normals", "depth"))  # other weights under the same names
    assert Zoo(list_entries(tmp_path, list(TASKS)), tmp_path).sha256 != before


def test_pieces_of_every_kind_become_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_zoo(tmp_path)
    monkeypatch.setattr(jobs, "SKETCHES", (4,))
    zoo = Zoo(list_entries(tmp_path, list(TASKS)), tmp_path / "study")
    (tmp_path / "study").mkdir()
    np.save(tmp_path / "p.npy", Probes.generate(16, 64, 1).images)
    bench = jobs.Bench(zoo, {"rooms": tmp_path / "p.npy", jobs.DEFAULT: tmp_path / "p.npy"}, "cpu", lambda _: Pictures())
    whitened = next(one for one in jobs.MAPS if one.explained == "whitened")
    for job in (
        jobs.Job("features", "rooms"), jobs.Job("maps", "rooms", whitened), jobs.Job("pairs", "rooms", "cka"), jobs.Job("layers", "rooms"),
        jobs.Job("default", jobs.DEFAULT), jobs.Job("alone", "rooms"),
    ):  # fmt: skip
        scores = score_matrix.read_scores(job, jobs.compute(job, bench), zoo)
        assert bool(scores) is (job.kind != "features")
        for one in scores:
            assert one.values.shape == (3, 3)
            assert np.isnan(np.diagonal(one.values)).all()
            assert np.isfinite(one.values[~np.eye(3, dtype=bool)]).all()


def test_what_is_not_there_is_asked_for_before_anything_is_computed(tmp_path: Path) -> None:
    with pytest.raises(OnnxspaceError, match="no models"):
        pipeline.run(tmp_path / "work", models=tmp_path, rooms=lambda _: Pictures())
    write_tiny_zoo(tmp_path)
    with pytest.raises(OnnxspaceError, match="oracle first"):
        pipeline.run(tmp_path / "work", models=tmp_path, rooms=lambda _: Pictures())
    assert not (tmp_path / "work").exists()


def test_only_pieces_whose_values_have_changed_are_computed_anew(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", Probes.generate(2, 64, 1).images)
    bench = jobs.Bench(make_zoo(tmp_path), {"rooms": tmp_path / "p.npy"}, "cpu", lambda _: Pictures())
    facts = {"format": 2, "zoo": bench.zoo.sha256, "told": ""}
    pictures = bench.images("rooms").sha256
    assert bench.recipe(jobs.Job("alone", "rooms")) == digest_recipe({**facts, "kind": "alone", "probes": pictures})
    assert bench.recipe(jobs.Job("labelled", "transfer")) != digest_recipe({**facts, "kind": "labelled", "probes": "transfer"})
