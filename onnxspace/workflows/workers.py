"""The workers of a cluster in a run: connected, described, and given maps to compute and compare.

Every function takes None in place of a cluster, and Dask is loaded only where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from onnxspace.inputs.execution import Counter, Execution
from onnxspace.inputs.protocol import Setup
from onnxspace.similarity.gram import RowFunction
from onnxspace.workflows.files import CollectMaps

if TYPE_CHECKING:
    from onnxspace.workflows.cluster.dispatch import Dispatcher
    from onnxspace.workflows.cluster.submission import Cluster


@contextmanager
def connect_workers(cluster: str | None) -> Iterator[Cluster | None]:
    """Connect to the workers of a cluster (`local:4`, `tcp://host:8786`). Raises ConfigError, ClusterError."""
    if cluster is None:
        yield None
        return
    from onnxspace.workflows.cluster.client import connect

    with connect(cluster) as found:
        yield found


def describe_workers(workers: Cluster | None, execution: Execution) -> list[object] | None:
    """Describe the processors that compute, as `cache_key.run_key` takes them; None for this machine's. Raises ClusterError."""
    if workers is None:
        return None
    from onnxspace.workflows.cluster.worker import list_processors

    return list_processors(workers, execution.compute, execution.limits)


def make_dispatcher(
    workers: Cluster | None, folder: Path, setup: Setup, execution: Execution, counter: Counter, images: Path | None = None
) -> Dispatcher | None:
    """Prepare handing out maps, with chunks in `folder` and progress reported to `counter`.

    `images` is a `.npy` file of the probe images (None: they are written to `folder`). Raises OutputError.
    """
    if workers is None:
        return None
    from onnxspace.workflows.cluster.dispatch import dispatcher_for

    dispatcher = dispatcher_for(workers, folder, setup, execution, images)
    dispatcher.advance = counter.advance
    return dispatcher


def collect_from(dispatcher: Dispatcher | None, setup: Setup) -> CollectMaps | None:
    """Return a function that collects the maps that the workers of a cluster compute."""
    if dispatcher is None:
        return None
    from onnxspace.workflows.cluster.dispatch import make_task

    return lambda model, writer, _: dispatcher.collect(make_task(model), model.located.file, setup, writer)


def row_function_for(workers: Cluster | None) -> RowFunction | None:
    """Return the function that compares files of maps on the workers of a cluster."""
    if workers is None:
        return None
    from onnxspace.workflows.cluster.gram import affinity_rows_on

    return partial(affinity_rows_on, workers)
