"""How a run is executed: device, precision, batch size, memory, workers, progress.

None of this changes results, except for rounding. Free of NumPy, so that the command line starts quickly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from onnxspace.errors import ConfigError
from onnxspace.inputs.precision import PRECISIONS as PRECISIONS
from onnxspace.inputs.precision import KeptPrecision
from onnxspace.inputs.precision import Precision as Precision
from onnxspace.sandbox.limits import Limits, machine_limits, resolve_limits

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)
#: Bytes of maps held in memory at once while models are compared.
DEFAULT_MEMORY = 2**30
#: Called with the current activity, the number of steps done, and their total.
Progress = Callable[[str, int, int], None]
#: Called with the fraction done, from 0 to 1.
Share = Callable[[float], None]
#: Called with a number of finished images.
Advance = Callable[[int], None]

#: What is called with the records of a run's models (`onnxspace.similarity.records.ModelRecord`) before the work.
Announce = Callable[[Sequence[Any]], None]


@dataclass(frozen=True)
class Compute:
    """Where and how maps are computed.

    `device` is `cpu`, `cuda` (all GPUs of the machine, which share the images) or `auto` (GPUs where there are any). `precision`
    is that of products: `float32`, `tf32` (GPUs only), or half precision (`bf16`, `fp16`) with single-precision sums;
    `auto` measures bf16 for each model, and takes it where its maps are the same within a cosine of .995 and it is faster; None is that
    of the space or of the fingerprints with which maps are compared, and float32 without them. With
    `deterministic`, results on a GPU are bit-identical from run to run, as they always are on a CPU. `compiled` compiles the graph
    with Torch first, which is not worthwhile on a CPU, and records passes as CUDA graphs on a GPU. `threads` is the number of threads
    on CPUs (0: as many as the process may use: its affinity, and no more than the quota of its container); the last bits of maps depend on it.
    """

    device: Device = "auto"
    precision: Precision | None = None
    deterministic: bool = False
    compiled: bool = False
    threads: int = 0


@dataclass(frozen=True)
class Execution:
    """How a run is executed.

    `batch_size` is the number of images per pass (None: chosen by memory), `memory` the bytes of maps held while comparing,
    `cluster` the Dask workers that compute (`local:4` or a scheduler's address such as `tcp://host:8786`; None: this process),
    `progress` the callback, `limits` those of the processes that read models. `announce` is called with the records of all models
    that could be opened, before anything is computed of them.
    """

    compute: Compute = field(default_factory=Compute)
    batch_size: int | None = None
    memory: int = DEFAULT_MEMORY
    cluster: str | None = None
    progress: Progress | None = None
    limits: Limits = field(default_factory=machine_limits)
    announce: Announce | None = None

    def __post_init__(self) -> None:
        if self.cluster is not None and self.compute.precision == "auto":
            raise ConfigError(
                "--precision auto is measured on one machine, and the workers of --cluster could differ. Use float32 or bf16."
            )

    @classmethod
    def on(
        cls, device: Compute | Device, batch_size: int | None = None, progress: Progress | None = None, *,
        memory: int = DEFAULT_MEMORY, cluster: str | None = None, limits: Limits | str | None = None,
        announce: Announce | None = None,
    ) -> Execution:  # fmt: skip
        """Make an execution from a device's name or a `Compute`, and the fields described above.

        `limits` may be text such as `memory=4G,cpu=600,wall=300`; None stands for those of this machine. Raises ConfigError.

        >>> Execution.on("cpu", batch_size=8).compute.device
        'cpu'
        """
        compute = device if isinstance(device, Compute) else Compute(device)
        return cls(compute, batch_size, memory, cluster, progress, resolve_limits(limits), announce)

    def with_precision(self, precision: Precision | None) -> Execution:
        """The same, in this precision."""
        return replace(self, compute=replace(self.compute, precision=precision))


def require_one_precision(execution: Execution) -> KeptPrecision:
    """The precision of maps that are kept and compared later. Raises ConfigError where it is chosen for each model."""
    asked = execution.compute.precision
    if asked == "auto":
        raise ConfigError(
            "--precision auto chooses for each model, and what a fingerprint holds is compared later. Use float32 or bf16."
        )
    return asked or "float32"


def follow_precision(execution: Execution, kept: KeptPrecision, space: str) -> Execution:
    """Return `execution` in the precision `kept` of the maps of `space`, a path. Raises ConfigError where another, or `auto`, is stated."""
    asked = execution.compute.precision
    if asked == "auto":
        raise ConfigError(
            f"--precision auto chooses for each model, and all maps of {space} are in {kept}, so that they can be compared. Leave it out."
        )
    if asked not in (None, kept):
        raise ConfigError(
            f"{space} holds maps in {kept}, with which maps in {asked} can't be compared. Leave out --precision, or make a space with"
            f" --precision {asked}."
        )
    return execution.with_precision(kept)


class Counter:
    """Counts the steps of a run and reports them to its callback: `done` of `total`."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done = total, 0
        self._progress = progress

    def advance(self, steps: int, what: str) -> None:
        """Report `steps` more steps of the activity `what`."""
        self.done += steps
        if self._progress is not None:
            self._progress(what, self.done, self.total)

    def reach(self, done: int, what: str) -> None:
        """Report that at least `done` steps are done, which skips those of models that failed or were present already."""
        self.advance(max(0, done - self.done), what)
