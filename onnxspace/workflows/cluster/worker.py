"""Tasks of worker processes: compute maps of a model for a range of images and write them to the shared folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import Method, Options
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.worker import borrow_worker
from onnxspace.storage.json_fields import is_text, is_whole
from onnxspace.workflows.cluster.chunk import Chunk
from onnxspace.workflows.cluster.reply import return_errors
from onnxspace.workflows.requests import read_texts, wrong_answer

if TYPE_CHECKING:
    from onnxspace.inputs.targets import Target
    from onnxspace.workflows.cluster.submission import Cluster

TASKS = "onnxspace.workflows.child.tasks"
_one = Lock()  # a model's chunks come in succession, and a process computes one at a time


@dataclass(frozen=True)
class RunSpec:
    """What is common to all tasks of a run.

    `folder` is the shared folder, `images` the `.npy` file of the probe images, which are named `probe` and have the digest
    `sha256`; `threads` is as in `Cluster`, `versions` are those of the client's libraries, `limits` hold for each model,
    `target` is what is explained instead of encoders.
    """

    folder: str
    images: str
    probe: str
    sha256: str
    method: Method
    options: Options | None
    compute: Compute
    batch_size: int | None
    threads: int | None
    versions: tuple[tuple[str, str], ...]
    limits: Limits = field(default_factory=Limits)
    target: Target | None = None


@dataclass(frozen=True)
class ModelTask:
    """A model to be explained: the absolute path, name and digest of its file, its encoder and options as JSON, and the `key` of
    its maps."""

    path: str
    name: str
    sha256: str
    encoder: Mapping[str, Any]
    options: Mapping[str, Any]
    key: str


@dataclass(frozen=True)
class ImageRange:
    """A range of probe images: about `count` from `first` on, rounded up to whole batches, before `end`.

    `size` is the batch size of the model's earlier maps (None: there are none).
    """

    first: int
    count: int
    end: int
    size: int | None


@return_errors
def explain_images(run_spec: RunSpec, task: ModelTask, image_range: ImageRange) -> Chunk:
    """Have a process with limits compute a model's unit maps of a range of images, and return the header of its chunk file.

    Raises ModelError, ClusterError, OutputError.
    """
    from distributed import get_worker

    threads = get_worker().state.nthreads if run_spec.threads is None else run_spec.threads
    request = {"task": "chunk", "path": task.path, "run": asdict(run_spec), "model": asdict(task), "range": asdict(image_range)}
    with _one, borrow_worker(TASKS, run_spec.limits, threads) as worker:
        return parse_chunk(worker.perform(request), task.path)


def parse_chunk(found: Any, path: str) -> Chunk:
    """Check what a process has answered about a chunk of the model `path`. Raises ModelError."""
    try:
        whole = all(is_whole(found[name], 0, 2**31) for name in ("first", "rows", "size"))
        counts = all(is_text(name, 1_000) and is_whole(count, 0, 2**31) for name, count in found["fallback"].items())
        if not (whole and counts and all(type(error) is float for error in found["errors"])):
            raise ValueError("it has other fields")
        remarks = read_texts(found["remarks"])
        return Chunk(found["first"], found["rows"], found["size"], tuple(found["errors"]), found["fallback"], remarks)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise wrong_answer(path) from error


@return_errors
def describe_processors(compute: Compute, threads: int | None, limits: Limits, dask_worker: Any = None) -> list[list[object]]:
    """Describe the processors of this worker, which Dask passes as `dask_worker`, as `cache_key.describe_processors`."""
    number = dask_worker.state.nthreads if threads is None else threads
    with borrow_worker(TASKS, limits, number) as worker:
        found: list[list[object]] = worker.perform({"task": "processors", "compute": asdict(compute)})["processors"]
        return found


def list_processors(cluster: Cluster, compute: Compute, limits: Limits) -> list[object]:
    """Describe the processors of the current workers, each kind once, as `cache_key.run_key` takes them. Raises ClusterError."""
    kinds = {repr(one): one for one in cluster.run_on_all(describe_processors, compute, cluster.threads, limits).values()}
    return [processor for _, one in sorted(kinds.items()) for processor in one]
