"""Work by worker processes: what comes back is what one process makes, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

import onnxspace as ox
from onnxspace.attribution.cache_key import library_versions
from onnxspace.cli import main
from onnxspace.errors import ClusterError, ConfigError
from onnxspace.similarity.gram import affinity_matrix, affinity_rows
from onnxspace.workflows.cluster import client as cluster_client
from onnxspace.workflows.cluster import dispatch, gram, worker
from onnxspace.workflows.cluster.chunk import Chunk, chunk_path, drop_chunks, find_chunks, read_chunk, write_chunk
from onnxspace.workflows.cluster.gram import affinity_rows_on
from onnxspace.workflows.cluster.submission import Cluster
from tests.helpers.nets import Net, classifier, save

IMAGES, BATCH, SIZE = 20, 2, 16
PHOTOS = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), np.uint8)
#: Slow enough that a worker can be killed in the middle.
SLOW: dict[str, Any] = {"method": "integrated-gradients", "options": ox.Options(steps=30), "batch_size": BATCH}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, warm_python: Path) -> Iterator[Client]:
    """A scheduler with two worker processes of one thread each, as on a real cluster; models are read in warm processes."""
    scratch = tmp_path_factory.mktemp("dask")
    preload = f"import sys\nsys.executable = {str(warm_python)!r}"
    with (
        cluster_client.restore_environment(),
        LocalCluster(
            2, threads_per_worker=1, dashboard_address=None, memory_limit=None, local_directory=scratch, preload=preload
        ) as made,
        Client(made, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def address(cluster: Client) -> str:
    cluster.wait_for_workers(2, timeout=30)
    return str(cluster.scheduler.address)


@pytest.fixture
def probes() -> ox.Probes:
    return ox.Probes("drawn", PHOTOS)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two models, as many Torch threads as workers have, and chunks of two batches."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dispatch, "IMAGES", 2 * BATCH)
    for seed, name in enumerate("ab"):
        save(classifier(seed=seed), tmp_path / f"{name}.onnx")
    return tmp_path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def handed_out(monkeypatch: pytest.MonkeyPatch) -> list[worker.ImageRange]:
    """The shares that are submitted from now on."""
    seen: list[worker.ImageRange] = []
    submit = Cluster.submit

    def noted(self: Cluster, function: Any, *arguments: Any) -> Any:
        seen.extend(one for one in arguments if isinstance(one, worker.ImageRange))
        return submit(self, function, *arguments)

    monkeypatch.setattr(Cluster, "submit", noted)
    return seen


@pytest.mark.process
def test_workers_leave_this_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask writes OMP_NUM_THREADS into its own environment: what is computed afterwards would have other bits."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with cluster_client.connect("local:1"):
        pass
    assert dict(os.environ) == before


def content(folder: str) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def test_a_worker_that_is_killed_costs_its_chunk_only(
    place: Path, cluster: Client, address: str, probes: ox.Probes, handed_out: list[worker.ImageRange]
) -> None:
    ox.score(["a.onnx", "b.onnx"], probes, output="expected", **SLOW)
    killed: list[int] = []

    def kill(name: str, done: int, total: int) -> None:
        if done and not killed:
            busy = next((address for address, tasks in cluster.processing().items() if tasks), None)
            if busy is None:  # between two chunks: a later one will do
                return
            killed.append(cluster.run(os.getpid, workers=[busy])[busy])
            os.kill(killed[0], signal.SIGKILL)

    ox.score(["a.onnx", "b.onnx"], probes, output="kept", cluster=address, progress=kill, **SLOW)
    assert killed
    assert content("kept") == content("expected")
    assert sorted(share.first for share in handed_out) == sorted([*range(0, IMAGES, 2 * BATCH)] * 2)
    assert not Path(".kept.unfinished").exists()


def test_a_stopped_run_goes_on_with_the_chunks_that_are_there(
    place: Path, address: str, probes: ox.Probes, handed_out: list[worker.ImageRange], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "onnxspace.attribution.cache_key._hash_code", lambda: "unchanged"
    )  # by those who work on it while this runs
    expected = ox.score(["a.onnx", "b.onnx"], probes, output="expected", batch_size=BATCH)

    def stop(name: str, done: int, total: int) -> None:
        if done >= 4 * BATCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        ox.score(["a.onnx", "b.onnx"], probes, output="kept", batch_size=BATCH, cluster=address, progress=stop)
    assert "kept in" in stopped.value.__notes__[0]
    handed_out.clear()
    result = ox.score(["a.onnx", "b.onnx"], probes, output="kept", batch_size=BATCH, cluster=address)
    assert len(handed_out) <= 2 * IMAGES // (2 * BATCH) - 2
    assert content("kept") == content("expected")
    np.testing.assert_array_equal(result.matrix, expected.matrix)


def test_one_process_goes_on_where_the_cluster_stopped(
    place: Path, address: str, probes: ox.Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal threads and processors: the maps are the same, and count as such."""
    monkeypatch.setattr("onnxspace.attribution.cache_key._hash_code", lambda: "unchanged")
    ox.score(["a.onnx", "b.onnx"], probes, output="expected", batch_size=BATCH)

    def stop(name: str, done: int, total: int) -> None:
        if name == "b" and done >= IMAGES:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ox.score(["a.onnx", "b.onnx"], probes, output="kept", batch_size=BATCH, cluster=address, progress=stop)
    written: list[str] = []
    made = ox.score(
        ["a.onnx", "b.onnx"], probes, output="kept", batch_size=BATCH, progress=lambda *said: written.append(said[0])
    )
    assert content("kept") == content("expected")
    assert made.names == ("a", "b")


def test_the_size_of_batches_is_settled_by_the_first_chunk(
    place: Path, address: str, handed_out: list[worker.ImageRange]
) -> None:
    """Without --batch-size, and with chunks that are no multiple of it."""
    net = Net(("N", 3, 224, 224))
    x = net.conv("image", 3, 16, 1)
    for _ in range(6):
        x = net.add("Relu", net.conv(x, 16, 16, 1))
    save(net.model([net.conv(net.add("GlobalAveragePool", x), 16, 2, 1)]), place / "wide.onnx")
    probes = ox.Probes("drawn", PHOTOS)
    expected = ox.score(["wide.onnx", "a.onnx"], probes)
    result = ox.score(["wide.onnx", "a.onnx"], probes, cluster=address)
    np.testing.assert_array_equal(result.matrix, expected.matrix)
    sizes = {share.size for share in handed_out}
    assert None in sizes
    assert len(sizes) > 1


def test_what_is_wrong_with_a_model_is_said_as_on_one_machine(place: Path, address: str, probes: ox.Probes) -> None:
    """A refused operator, a silent network, a file that is no model, and what is to be said of the others."""
    net = Net((1, 3, 16, 16))
    x = net.add("Sin", net.conv("image", 3, 4))
    save(net.model([net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 4, 2)]), place / "remarks.onnx")
    net = Net((1, 3, 16, 16))
    x = net.add("Conv", net.add("Mul", "image", net.weight(np.zeros(1))), net.random(2, 3, 3, 3), net.weight([1.0, 2.0]))
    save(net.model([net.conv(x, 2, 2)]), place / "silent.onnx")
    net = Net((1, 3, 16, 16))
    x = net.conv("image", 3, 4)
    net.nodes[-1].domain, net.nodes[-1].op_type = "stranger", "Thing"
    save(net.model([net.conv(x, 4, 2)]), place / "strange.onnx")
    Path("broken.onnx").write_bytes(b"nothing")
    models = ["remarks.onnx", "silent.onnx", "strange.onnx", "broken.onnx", "a.onnx", "missing.onnx"]
    expected = ox.score(models, probes, batch_size=BATCH)
    result = ox.score(models, probes, batch_size=BATCH, cluster=address)
    assert result.failed == expected.failed
    assert len(result.failed) >= 4
    assert result.warnings == expected.warnings
    assert any("no rule for Sin" in warning for warning in result.warnings)
    np.testing.assert_array_equal(result.matrix, expected.matrix)


def test_estimated_maps_keep_their_standard_error(place: Path, address: str, probes: ox.Probes) -> None:
    said: dict[str, Any] = {"method": "unit-saliency", "options": ox.Options(units=3), "encoder": "t3", "batch_size": BATCH}
    expected = ox.score(["a.onnx", "b.onnx"], probes, **said)
    result = ox.score(["a.onnx", "b.onnx"], probes, cluster=address, **said)
    assert result.warnings == expected.warnings
    assert "standard error" in result.warnings[0]


def test_a_model_that_differs_where_the_worker_is(
    place: Path, address: str, probes: ox.Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_task = dispatch.make_task

    def other(*arguments: Any) -> worker.ModelTask:
        found = make_task(*arguments)
        return replace(found, sha256="0" * 64) if found.name == "a" else found

    monkeypatch.setattr(dispatch, "make_task", other)
    result = ox.score(["a.onnx", "b.onnx"], probes, cluster=address)
    assert result.names == ("b",)
    assert "a.onnx is another file on" in result.failed[0].error


@pytest.mark.parametrize(("change", "words"), [
    ({"versions": tuple({**library_versions(), "torch": "0.1"}.items())}, "has torch .*, and 0.1 is used"),
    ({"images": "nowhere/probes.npy"}, "can't read nowhere/probes.npy.*machines share"),
    ({"sha256": "0" * 64}, "holds other images"),
])  # fmt: skip
def test_machines_that_differ_are_refused(
    place: Path, address: str, probes: ox.Probes, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(dispatch, "RunSpec", lambda *said: replace(worker.RunSpec(*said), **change))
    with pytest.raises(ClusterError, match=words):
        ox.score(["a.onnx", "b.onnx"], probes, cluster=address)


def test_a_space_grows_and_is_compared_by_workers(
    place: Path, address: str, probes: ox.Probes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gram, "LEAST", 1)
    for name, where in (("here", None), ("there", address)):
        space = ox.Space.create(f"{name}.space", probes)
        assert space.add(["a.onnx"], cluster=where).names == ("a",)
        save(classifier(seed=2), place / "c.onnx")
        assert space.add(["a.onnx", "b.onnx", "c.onnx"], cluster=where).names == ("b", "c")
    here, there = ox.Space.open("here.space"), ox.Space.open("there.space")
    np.testing.assert_allclose(there.affinity(cluster=address).matrix, here.affinity().matrix, rtol=0, atol=1e-12)
    assert [e.maps for e in there.entries()] == [e.maps for e in here.entries()]
    assert there.verify().clean


def test_affinities_by_blocks(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all, and of new models with old ones; the same again whoever does what."""
    monkeypatch.setattr(gram, "LEAST", 2)
    rows = np.random.default_rng(1).standard_normal((23, 3, 50)).astype(np.float16)
    files = [tmp_path / f"{i}.npy" for i in range(len(rows))]
    for path, row in zip(files, rows, strict=True):
        np.save(path, row)
    shares: list[float] = []
    with cluster_client.connect(address) as workers:
        whole = affinity_rows_on(workers, files, [], 2**30, shares.append)
        again = affinity_rows_on(workers, files, [], 2**30, None)
        grown = affinity_rows_on(workers, files[9:], files[:9], 2**30, None)
        (tmp_path / "3.npy").unlink()
        with pytest.raises(ClusterError, match=r"can't read .*3\.npy"):
            affinity_rows_on(workers, files, [], 2**30, None)
        np.save(files[3], rows[3])
    np.testing.assert_array_equal(whole, again)
    np.testing.assert_allclose(whole, affinity_matrix(files), rtol=0, atol=1e-13)
    np.testing.assert_allclose(grown, affinity_rows(files[9:], files[:9]), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(whole, whole.T)
    assert shares[-1] == 1
    assert len(shares) > 10


@given(st.integers(1, 300), st.integers(0, 300))
def test_blocks_hold_every_pair(new: int, old: int) -> None:
    seen = np.zeros((new, old + new), int)
    for block in gram.split_blocks(new, old):
        seen[block.rows.start : block.rows.stop, block.columns.start : block.columns.stop] += 1
        for i in block.rows:
            for j in block.rows:
                seen[i, old + j] = 1
    turned = seen[:, old:] | seen[:, old:].T
    assert (seen[:, :old] == 1).all()
    assert (turned == 1).all()


def test_a_damaged_chunk_counts_as_never_written(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float16).reshape(3, 4)
    chunk = Chunk(4, 3, 2, (0.5, 0.25, 0.0), {"Sin": 2}, ("its network is not compiled.",))
    write_chunk(tmp_path, "abc", chunk, rows)
    path = chunk_path(tmp_path, "abc", chunk)
    found = read_chunk(path, 4)
    assert found is not None
    assert found[0] == chunk
    np.testing.assert_array_equal(found[1], rows)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole + b"\0", whole[:-1] + b"\xff", b"0" + whole[1:], whole.replace(b"Sin", b"Cos")):
        path.write_bytes(damaged)
        assert read_chunk(path, 4) is None
    path.write_bytes(whole)
    assert read_chunk(path, 5) is None
    path.rename(path.with_name("abc-5-3.piece"))
    assert list(find_chunks(tmp_path, "abc", 4)) == []
    (tmp_path / ".abc-4-3.piece.12.partial").touch()
    drop_chunks(tmp_path, "abc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spec", ["local", "local:0", "local:-1", "local:9999", "host:8786", "http://host", "tcp://", "", "4"])
def test_words_that_name_no_cluster(place: Path, probes: ox.Probes, spec: str) -> None:
    with pytest.raises(ConfigError, match="neither local:N"):
        ox.score(["a.onnx", "b.onnx"], probes, cluster=spec)


def test_nobody_answers(place: Path, probes: ox.Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_client, "_CONNECT", 0.5)
    for spec, words in (("tcp://127.0.0.1:9", "No Dask scheduler answers at"), ("tls://127.0.0.1:9", "needs a certificate")):
        with pytest.raises(ClusterError, match=words):
            ox.score(["a.onnx", "b.onnx"], probes, cluster=spec)


def test_a_missing_package_is_named(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit) as stopped:
        main(["score", "a.onnx", "b.onnx", "--cluster", "local:2"])
    assert stopped.value.code == 2
    assert "pip install 'onnxspace[cluster]'" in capsys.readouterr().err


def test_workers_of_the_command_line_leave_nothing_behind(place: Path, probes: ox.Probes, warm_python: Path) -> None:
    """One JSON object, no noise, no folders, no processes. Dask's worker and what it starts are fresh processes."""
    ready = f"import multiprocessing.spawn\nmultiprocessing.spawn.set_executable({sys.executable!r})"
    command = [str(warm_python), "-c", f"{ready}\nfrom onnxspace.cli import main\nif __name__ == '__main__': main()", "score"]
    said = ["a.onnx", "b.onnx", "--images", "4", "--json", "--quiet", "--cluster", "local:1"]
    before = {path.name for path in place.iterdir()}
    scratch = place.parent / f"{place.name}-scratch"
    scratch.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *said], capture_output=True, text=True, timeout=300, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["affinity"]) == 2
    assert {path.name for path in place.iterdir()} == before
    # Torch leaves a folder of its own where torchvision is imported.
    assert [path.name for path in scratch.iterdir() if not path.name.startswith("torchinductor_")] == []
    assert not _children_of(str(scratch))


def _children_of(words: str) -> list[str]:
    """Processes whose environment holds these words, a moment later."""
    time.sleep(0.2)
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if words.encode() in place.read_bytes():
                found.append(place.parent.name)
        except OSError:
            continue
    return found
