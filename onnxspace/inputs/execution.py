"""Where and how the work is done: processor, precision, batches, memory, workers, progress.

None of it changes what is computed, but for rounding. Free of NumPy, so that a command line can load it at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

Device = Literal["auto", "cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)
Precision = Literal["float32", "tf32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
#: Bytes of maps that are held at once while models are compared.
DEFAULT_MEMORY = 2**30
#: Called with what is being done, how many steps are done, and how many there are.
Progress = Callable[[str, int, int], None]
#: Called with the share that is done, from 0 to 1.
Share = Callable[[float], None]
#: Called with a number of images that are done.
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Compute:
    """Where and how maps are computed.

    `device` is a kind of processor; all GPUs of the machine share the images. Products are in single `precision`, in TF32,
    or in half precision with sums in single. With `deterministic`, a GPU too gives equal bits from run to run, as a CPU
    always does. `compiled` has Torch compile the graph first, which does not pay on a CPU.
    """

    device: Device = "auto"
    precision: Precision = "float32"
    deterministic: bool = False
    compiled: bool = False


@dataclass(frozen=True)
class Execution:
    """How a run is carried out.

    `batch_size` is the number of images per pass (None: what fits), `memory` the bytes of maps held while comparing,
    `cluster` the Dask workers that compute (`local:4`, `tcp://host:8786`; None: this process), `progress` the callback.
    """

    compute: Compute = field(default_factory=Compute)
    batch_size: int | None = None
    memory: int = DEFAULT_MEMORY
    cluster: str | None = None
    progress: Progress | None = None

    @classmethod
    def on(
        cls, device: Compute | Device, batch_size: int | None = None, progress: Progress | None = None, *,
        memory: int = DEFAULT_MEMORY, cluster: str | None = None,
    ) -> Execution:  # fmt: skip
        """An execution on a device, named or described.

        >>> Execution.on("cpu", batch_size=8).compute.device
        'cpu'
        """
        compute = device if isinstance(device, Compute) else Compute(device)
        return cls(compute, batch_size, memory, cluster, progress)


class Counter:
    """Steps of a run, reported to its callback: `done` of `total`."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done = total, 0
        self._progress = progress

    def advance(self, steps: int, what: str) -> None:
        """Report `steps` more of `what`."""
        self.done += steps
        if self._progress is not None:
            self._progress(what, self.done, self.total)

    def reach(self, done: int, what: str) -> None:
        """Report that at least `done` steps are done: what failed or was there already is passed over."""
        self.advance(max(0, done - self.done), what)
