"""What comparing costs, as ratios to what the machine can do in the same run: Gram matrix, fingerprints, search.

    python benchmarks/space.py [gram] [adding] [search] [prints] [rank] [bulk] [use] [--scale 1.0] [--folder DIR] [--images 1000]

`gram`: 200 models × 1,000 images × 64 × 64 from disk, against the measured float32 matrix product (2048 × 2048, counting
2 · models² operations per column, as a plain product of both triangles has), the measured sequential read of the same files, and
a double loop of `scipy.spatial.distance.cosine`. `adding`: one fingerprint to 10,000 of 64 images × 64 numbers. `search`: a
million clustered rows of 1,024 numbers. `prints`: fingerprints of real maps of models/*.onnx; needs torch. `--scale` shrinks
models and rows. `rank`: one row among 1,000 models of 64 images of 64 × 64, beside the matrix. `bulk`: 10,000 `.fp` files into a
space, and `space nearest` among them, both through the command. `use`: sources of a target among a million models whose features
are on pictures (325 KB each), 99 of them ranked exactly; run it as `python -m benchmarks.space use`. Needs about 5 GB of disk. Cold means dropped from the page cache (where the system allows it) before.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODELS, IMAGES, PIXELS = 200, 1000, 4096
CLUSTER, SIZE = 100, 1024
#: Of `use`: distinct models, targets that are searched and how often, and models of which all are ranked exactly.
DISTINCT, TARGETS, ROUNDS, SAMPLE = 50_000, 20, 3, 2400
CHILD = """
import json, resource, sys, time
import numpy as np
from pathlib import Path
from onnxspace.{module} import {name}

def peak():  # not ru_maxrss, which a process takes over from its parent
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

{prepare}
before, start = peak(), time.perf_counter()
{call}
wall = time.perf_counter() - start
print(json.dumps([wall, (peak() - before) / 1024]))
"""


def child(**parts: str) -> tuple[float, float]:
    """Seconds and MiB of peak memory above what imports take, of one call in a fresh process."""
    done = subprocess.run([sys.executable, "-c", CHILD.format(**parts)], check=True, capture_output=True, text=True)
    wall, peak = json.loads(done.stdout)
    return wall, peak


def seconds(call: Callable[[], object], rounds: int = 3) -> float:
    """The quickest of some rounds."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def operations_per_second() -> float:
    square = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
    return 2 * 2048**3 / seconds(lambda: square @ square, 9)


def read(files: list[Path]) -> None:
    room = bytearray(2**22)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(room):
                pass


def drop(files: list[Path]) -> None:
    """Out of the page cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        for path in files:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def gram(folder: Path, scale: float, _images: int) -> None:
    files = made_maps(folder, round(MODELS * scale))
    size, work = sum(path.stat().st_size for path in files), 2 * len(files) ** 2 * IMAGES * PIXELS
    call = {
        "module": "similarity.gram",
        "name": "affinity_matrix",
        "prepare": f"files = sorted(Path({str(folder)!r}).glob('maps*.npy'))",
    }
    peak = operations_per_second()
    warm_read, warm = seconds(lambda: read(files)), [child(**call, call="affinity_matrix(files)") for _ in range(3)]
    peak = max(peak, operations_per_second())
    wall = min(w for w, _ in warm)
    print(f"Gram matrix, {len(files)} x {IMAGES} x {PIXELS}, {size / 1e9:.2f} GB of float16")
    print(f"  machine: product {peak / 1e9:.0f} GFLOP/s = {work / peak:.2f} s; read {size / warm_read / 1e9:.2f} GB/s warm")
    print(f"  warm {wall:.2f} s: {max(work / peak, warm_read) / wall:.0%} of the bound (bar 70 %)")
    drop(files)
    cold_read = seconds(lambda: read(files), 1)
    drop(files)
    cold, _ = child(**call, call="affinity_matrix(files)")
    print(
        f"  cold {cold:.2f} s, reading alone {cold_read:.2f} s: {max(work / peak, cold_read) / cold:.0%} of the bound (bar 70 %)"
    )
    print(f"  double loop of scipy cosine {double_loop(files) / wall:.0f} times as long (bar 20)")
    for budget in (2**30, 2**26):
        used = max(m for _, m in warm) if budget == 2**30 else child(**call, call=f"affinity_matrix(files, {budget})")[1]
        print(f"  peak memory {used:.0f} MiB of a budget of {budget / 2**20:.0f} MiB: {used * 2**20 / budget:.0%} (bar 110 %)")
    new, _ = child(**call | {"name": "affinity_rows"}, call="affinity_rows(files[:1], files[1:])")
    print(f"  one new row {new:.2f} s, {new / wall:.0%} of the matrix")


def made_maps(folder: Path, models: int) -> list[Path]:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((IMAGES, PIXELS), dtype=np.float32)
    files = [folder / f"maps{model:03}.npy" for model in range(models)]
    for model, path in enumerate(files):
        if not path.exists():
            maps = base * (model % 7 / 3) + rng.standard_normal((IMAGES, PIXELS), dtype=np.float32)
            np.save(path, (maps / np.linalg.norm(maps, axis=1, keepdims=True)).astype(np.float16))
    return files


def double_loop(files: list[Path]) -> float:
    """Seconds for all pairs and images, from 3 pairs and 100 images in float32, read beforehand."""
    from scipy.spatial.distance import cosine

    maps = [np.load(path)[:100].astype(np.float32) for path in files[:3]]
    pairs = [(0, 1), (0, 2), (1, 2)]
    slice_ = seconds(lambda: [cosine(maps[i][n], maps[j][n]) for i, j in pairs for n in range(100)])
    return slice_ / 300 * len(files) * (len(files) - 1) / 2 * IMAGES


def adding(folder: Path, scale: float, _images: int) -> None:
    path, models = folder / "prints.npy", round(10_000 * scale)
    prints = np.random.default_rng(0).standard_normal((models, 64, 64)).astype(np.float16)
    np.save(path, prints)
    prepare = f"many = np.load({str(path)!r}, mmap_mode='r')\none = many[5:6].copy()\naffinities(one, many[:50])"
    rounds = [
        child(module="similarity.fingerprints.count_sketch", name="affinities", prepare=prepare, call="affinities(one, many)")
        for _ in range(5)
    ]
    wall, peak = (sorted(column)[2] for column in zip(*rounds, strict=True))
    print(f"One fingerprint against {models:,} of 64 x 64: {1e3 * wall:.0f} ms (bar 100), {peak:.0f} MiB (bar 200)")


def made_rows(path: Path, models: int) -> NDArray[np.float16]:
    """Unit rows in clusters of 100, whose members have affinities from .4 to .98 with their centre's direction."""
    rng = np.random.default_rng(0)
    if not path.exists():
        rows = np.lib.format.open_memmap(path, "w+", np.float16, (models, SIZE))
        for first in range(0, models, 50 * CLUSTER):
            count = min(50, (models - first) // CLUSTER)
            near = rng.uniform(0.4, 0.98, (count, CLUSTER, 1)).astype(np.float32)
            centre = rng.standard_normal((count, 1, SIZE), dtype=np.float32)
            block = np.sqrt(near) * centre + np.sqrt(1 - near) * rng.standard_normal((count, CLUSTER, SIZE), dtype=np.float32)
            block /= np.linalg.norm(block, axis=2, keepdims=True)
            rows[first : first + count * CLUSTER] = block.reshape(-1, SIZE)
        rows.flush()
        del rows
    found: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return found


def search(folder: Path, scale: float, _images: int) -> None:
    from onnxspace.similarity.fingerprints.hnsw import Index
    from onnxspace.similarity.fingerprints.search import find_nearest

    models = round(10**6 * scale) // CLUSTER * CLUSTER
    path, place = folder / f"rows{models}.npy", folder / "rows.index"
    rows = made_rows(path, models)
    start = time.perf_counter()
    Index.build(place, rows)
    build = time.perf_counter() - start
    start = time.perf_counter()
    index, rng = Index.open(place, rows), np.random.default_rng(1)
    opening = time.perf_counter() - start
    quick, exact, hits = [], [], []
    for row in rng.integers(0, models, 200):
        query = rows[row] + 0.3 / np.sqrt(SIZE) * rng.standard_normal(SIZE)
        query /= np.linalg.norm(query)
        start = time.perf_counter()
        found = index.nearest(query, 10)[0]
        quick.append(time.perf_counter() - start)
        if len(exact) < 20:
            start = time.perf_counter()
            truth = find_nearest(query, rows, 10)[0]
            exact.append(time.perf_counter() - start)
            hits.append(len(set(found.tolist()) & set(truth.tolist())) / 10)
    reading = seconds(lambda: read([path]))
    print(f"Search in {models:,} rows of {SIZE} numbers ({rows.nbytes / 1e9:.2f} GB)")
    print(f"  index: built in {build:.0f} s, {place.stat().st_size / 1e6:.0f} MB, opened in {opening:.2f} s")
    print(f"  approximate: p50 {1e3 * np.median(quick):.1f} ms, p95 {1e3 * np.quantile(quick, 0.95):.1f} ms (bar 50)", end="")
    print(f", recall@10 {np.mean(hits):.3f} (bar .95)")
    print(f"  exact, warm: {np.median(exact):.2f} s, {np.median(exact) / reading:.1f} times reading alone (bar 2)")
    del index, rows  # what is mapped stays in memory
    drop([path])
    cold_read = seconds(lambda: read([path]), 1)
    drop([path])
    prepare = f"rows = np.load({str(path)!r}, mmap_mode='r')\nquery = np.full({SIZE}, {SIZE**-0.5})"
    cold, _ = child(
        module="similarity.fingerprints.search", name="find_nearest", prepare=prepare, call="find_nearest(query, rows, 10)"
    )
    print(f"  exact, cold: {cold:.2f} s, {cold / cold_read:.1f} times reading alone (bar 2)")


def prints(_folder: Path, scale: float, images: int) -> None:
    """Errors of affinities from prints of real maps, for several draws of the sketch."""
    import onnxspace as ox
    from onnxspace.similarity.fingerprints.count_sketch import affinities, project
    from onnxspace.storage.map_file import to_unit_maps

    paths = sorted((Path(__file__).parent.parent / "models").glob("*-torch.onnx"))
    probes = ox.Probes.generate(images)
    maps = [to_unit_maps(ox.attribute(path, probes))[0] for path in paths]
    pixels = min(one.shape[1] for one in maps)
    maps = [one for one in maps if one.shape[1] == pixels]
    rows = [one.astype(np.float32) for one in maps]
    truth = np.array([[np.einsum("np,np->n", a, b).mean() for b in rows] for a in rows])
    draws = max(2, round(8 * scale))
    start = time.perf_counter()
    printed = [np.stack([project(one, seed=seed) for one in maps]).astype(np.float16) for seed in range(draws)]
    each = (time.perf_counter() - start) / draws / len(maps) / images
    upper = np.triu_indices(len(maps), 1)
    found = [affinities(p, p) for p in printed]
    off = np.array([a[upper] - truth[upper] for a, _ in found])
    sigmas = np.abs(off) / np.array([e[upper] for _, e in found])
    plain = np.array([(np.einsum("ink,jnk->ij", p, p, dtype=np.float32) / images)[upper] - truth[upper] for p in printed])
    kept = [order_kept(a, truth, e) for a, e in found]
    print(f"Fingerprints of {len(maps)} models, {images} images of {pixels} pixels, 64 numbers, {draws} draws")
    print(f"  affinities from {truth[upper].min():.2f} to {truth[upper].max():.2f}; {1e3 * each:.2f} s per 1,000 images")
    to_1000 = np.sqrt(images / 1000)
    print(f"  error (one standard deviation) {off.std():.5f}; at 1,000 images {off.std() * to_1000:.5f} (bar .005)")
    print(f"  of the plain mean of products {plain.std() * to_1000:.5f}; largest error {sigmas.max():.1f} standard errors of")
    print(f"  the stated ones, {np.mean(sigmas <= 3):.1%} within three")
    clear, all_pairs = np.mean([k[0] for k in kept]), np.mean([k[1] for k in kept])
    print(f"  order of two sources kept: {clear:.2%} of pairs more than 3 standard errors apart, {all_pairs:.1%} of all")


def order_kept(found: NDArray[np.float64], truth: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """The share of (target, source, source) that prints order as maps do: among well separated sources, and among all."""
    models = len(truth)
    same, clear = [], []
    for target in range(models):
        for a in range(models):
            for b in range(a):
                if target not in (a, b):
                    gap = truth[target, a] - truth[target, b]
                    same.append((found[target, a] - found[target, b]) * gap > 0)
                    clear.append(abs(gap) > 3 * np.hypot(errors[target, a], errors[target, b]))
    right = np.array(same)
    return float(right[np.array(clear)].mean()), float(right.mean())


def command(*arguments: str) -> float:
    """Seconds of `onnxspace space …`, from the start of the process to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "onnxspace", "space", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def rank(folder: Path, scale: float, _images: int) -> None:
    """One row of a space, computed and from the cache, and its whole matrix."""
    models = max(2, round(1000 * scale))
    place = made_space(folder / "rank.space", models)
    size = sum(path.stat().st_size for path in (place / "maps").iterdir())
    reading = seconds(lambda: read(list((place / "maps").iterdir())))
    first, again = command("rank", str(place), "model-0"), min(command("rank", str(place), "model-0") for _ in range(3))
    (place / "cache.sqlite").unlink()
    whole = command("affinity", str(place), "--json")
    known = min(command("rank", str(place), "model-1") for _ in range(3))
    print(f"A space of {models} models, {size / 1e9:.2f} GB of maps, which are read in {reading:.2f} s")
    print(f"  rank of one model {first:.2f} s; again {again:.2f} s; the matrix {whole:.2f} s, and then a rank {known:.2f} s")


def made_space(place: Path, models: int) -> Path:
    import onnxspace as ox
    from onnxspace.similarity.fingerprints.count_sketch import project
    from onnxspace.spaces.insert import NO_STEM, NO_SUM, insert_model
    from onnxspace.spaces.schema import CatalogueEntry, identity_of
    from onnxspace.spaces.workdirs import open_workbench
    from onnxspace.storage.atomic import write_array
    from onnxspace.storage.map_file import to_unit_maps

    ox.Space.create(place, ox.Probes.generate(64, 64))
    rng = np.random.default_rng(0)
    for number in range(models):
        sha, maps = f"{number:064x}", to_unit_maps(rng.standard_normal((64, 4096)))[0]
        with open_workbench(place) as bench:
            write_array(bench / "maps.npy", maps)
            write_array(bench / "prints.npy", project(maps).astype("<f2"))
            draft = CatalogueEntry(
                f"model-{number}", NO_STEM, identity_of(sha, "t", "x"), sha, "", "t", "x", "x", 17, "", NO_SUM
            )
            insert_model(place, draft, bench / "prints.npy", bench / "maps.npy")
    return place


def bulk(folder: Path, scale: float, _images: int) -> None:
    """Fingerprint files into a space, against writing their numbers to one file, and a search among them."""
    import onnxspace as ox
    from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint

    models, probes, rng = round(10_000 * scale), ox.Probes.generate(64, 32), np.random.default_rng(0)
    place, few, prints = folder / "bulk.space", folder / "few.space", folder / "fp"
    prints.mkdir()
    for number in range(models):
        numbers = (rng.standard_normal((64, 64)) / 8).astype(np.float16)
        found = Fingerprint(f"m{number}", f"{number:064x}", "t", "elrp", probes.name, 32, probes.sha256, numbers)
        write_fingerprint(prints / f"m{number}.fp", found)
    for home in (place, few):
        ox.Space.create(home, probes)
    files = sorted(map(str, prints.iterdir()))
    start = command("add", str(few), *files[:2], "--quiet")
    wall = command("add", str(place), *files, "--quiet")
    reading = seconds(lambda: read([Path(path) for path in files]))
    print(
        f"{models:,} fingerprint files of 64 x 64 in {wall:.1f} s, {1e3 * (wall - start) / models:.2f} ms each; two in {start:.1f} s;"
    )
    print(f"  reading the files alone {reading:.2f} s")
    packing = command("nearest", str(place), "m1")
    quick, least = (
        sorted(command("nearest", str(home), found) for _ in range(5))[2] for home, found in ((place, "m1"), (few, "m0"))
    )
    print(f"  nearest: {packing:.2f} s the first time, then {quick:.2f} s; among two models {least:.2f} s")


def use(folder: Path, scale: float, _images: int) -> None:
    """Searches by use among very many models of pictures, and what the candidates miss on a sample."""
    import onnxspace as ox
    from benchmarks.space_models import FAMILY, World, fill_catalogue, write_pack, write_reduced
    from onnxspace.spaces.catalogue import open_catalogue
    from onnxspace.spaces.layout import USE_ALIVE, USE_INDEX, USE_ROWS
    from onnxspace.workflows.space_sources import SourceQuery, index_sources, propose_sources

    models = max(2 * FAMILY, round(10**6 * scale) // FAMILY * FAMILY)
    distinct = min(models, DISTINCT)
    place, probes = folder / "use.space", ox.Probes("made", np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), np.uint8))
    space, world = ox.Space.create(place, probes, keep_maps=False, detail="pictures"), World(probes)
    (place / "reduced").mkdir()
    fill_catalogue(place / "catalogue.sqlite", models, 64)
    with (place / "prints/00000000000a.npy").open("wb") as file:  # zeros, which take no room: kin is not searched here
        shape = (models, 64, 64)
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 2 * models * 64 * 64)
    start = time.perf_counter()
    write_pack(place, world, models, distinct)
    print(f"A space of {models:,} made-up models ({distinct:,} distinct), packed in {time.perf_counter() - start:.0f} s")
    start, cpu = time.perf_counter(), time.process_time()
    index_sources(place, space.protocol)
    sizes = [(place / name).stat().st_size / 1e6 for name in (USE_ROWS, USE_INDEX)]
    print(
        f"  index by use built in {time.perf_counter() - start:.0f} s ({time.process_time() - cpu:.0f} s of processors)", end=""
    )
    print(f"; {sizes[1]:.0f} MB, rows {sizes[0]:.0f} MB")
    targets = np.random.default_rng(1).choice(distinct, TARGETS, replace=False)
    queries = [
        (f"model-{t}", SourceQuery(world.make_reduced(int(t), world.make_family(t // FAMILY)[t % FAMILY]), 99)) for t in targets
    ]
    proposed, kept = {}, []
    for name, query in queries:
        found = propose_sources(place, space.protocol, query)
        everything = propose_sources(place, space.protocol, replace(query, exact=True))
        assert found is not None
        assert everything is not None
        proposed |= {one.name: one for one in found[0]}
        with open_catalogue(place) as book:
            own = book.find("name", name)
        assert own is not None
        proposed[name] = own
        kept.append(len({one.name for one in found[0]} & {one.name for one in everything[0]}) / 99)
    write_reduced(place, world, list(proposed.values()), distinct)
    (place / USE_ALIVE).unlink(missing_ok=True)
    for words in ("  first search of the first process", "of a later one"):
        print(f"{words}: {first_search(place, queries[0][0]):.1f} s", end="\n" if words == "of a later one" else "; ")
    space.sources(queries[0][0])
    walls, cpus, whole = [], [], []
    for _ in range(ROUNDS):
        for name, query in queries:
            whole.append(seconds(lambda q=query: propose_sources(place, space.protocol, q), 1))  # type: ignore[misc]
            start, cpu = time.perf_counter(), time.process_time()
            space.sources(name)
            walls.append(time.perf_counter() - start)
            cpus.append(time.process_time() - cpu)
    for words, found_times in (
        ("candidates alone, wall", whole),
        ("two stages, wall", walls),
        ("two stages, processors", cpus),
    ):
        print(f"  {words}: p50 {1e3 * np.median(found_times):.0f} ms, p95 {1e3 * np.quantile(found_times, 0.95):.0f} ms")
    print(
        f"  (bar 500 ms; load {os.getloadavg()[0]:.0f} on {os.cpu_count()} processors); the index keeps {np.mean(kept):.3f} of",
        end="",
    )
    print(" the candidates that all rows give")
    recall_on_sample(world, min(distinct, SAMPLE), queries)


def first_search(place: Path, name: str) -> float:
    """Seconds of a process's first search by use, without its imports."""
    prepare = f"space = Space.open({str(place)!r})"
    return child(module="workflows.space", name="Space", prepare=prepare, call=f"space.sources({name!r})")[0]


def recall_on_sample(world: Any, models: int, queries: Sequence[tuple[str, Any]]) -> None:
    """How many of the ten best of all by `mean_rank` come first among the 99 candidates, on some families."""
    from benchmarks.space_models import FAMILY
    from onnxspace.scores.directed import Comparison, knn_agreements, probability_predictivities
    from onnxspace.scores.reduce import ReducedArrays
    from onnxspace.scores.source_rows import AnswersOfTarget
    from onnxspace.similarity.mean_rank import combine_ranks

    targets = [world.make_reduced(t, world.make_family(t // FAMILY)[t % FAMILY]) for t in range(7, models, models // 12)]
    wanted = [(ReducedArrays(one).load("outputs")[world.rank], None) for one in targets]
    values, estimates = np.empty((2, len(targets), models)), np.empty((2, len(targets), models))
    for family in range(models // FAMILY):
        features = world.make_family(family)
        at = slice(family * FAMILY, (family + 1) * FAMILY)
        sources = [
            ReducedArrays(world.make_reduced(at.start + i, one)).load("features")[world.rank] for i, one in enumerate(features)
        ]
        sides = [*wanted, *((None, one) for one in sources)]
        among = Comparison([str(i) for i in range(len(sides))], world.folds)
        for i, score in enumerate((probability_predictivities, knn_agreements)):
            values[i, :, at] = score(sides, among).matrix[: len(targets), len(targets) :]
        rows = world.make_rows(features)
        for i, one in enumerate(targets):
            estimates[:, i, at] = AnswersOfTarget.of(one).score(rows)  # type: ignore[union-attr]
    found = []
    for i, own in enumerate(range(7, models, models // 12)):
        others = np.delete(np.arange(models), own)
        exact = combine_ranks(values[:, i, others][:, None])[0]
        least = np.sort(exact)[-10]
        first = np.argsort(-combine_ranks(estimates[:, i, others][:, None])[0], kind="stable")[:99]
        again = combine_ranks(values[:, i, others[first]][:, None])[0]
        best = first[np.argsort(-again, kind="stable")[:10]]
        found.append((np.mean(exact[best] >= least), min(1.0, np.sum(exact[first] >= least) / 10)))
    recall, held = np.mean(found, axis=0)
    print(f"  of {models:,} models, {len(targets)} targets: recall@10 against mean_rank of all {recall:.3f} (bar .9);", end="")
    print(f" {held:.3f} of the ten are among the 99 candidates")


def main() -> None:
    parts = {"gram": gram, "adding": adding, "search": search, "prints": prints, "rank": rank, "bulk": bulk, "use": use}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for name in chosen.parts or parts:
            parts[name](Path(folder), chosen.scale, chosen.images)
    print(f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
