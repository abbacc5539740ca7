"""The connection of a verb to the worker process that reads its models: requests are sent, answers are checked, files are found.

Free of Torch and ONNX. The answers are untrusted: a model may have taken over the process that read it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Advance, Compute, Execution
from onnxspace.inputs.methods import Method
from onnxspace.inputs.names import is_fingerprint
from onnxspace.inputs.precision import parse_precision
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.rule_names import Rules
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.worker import Worker, borrow_worker, start_workers
from onnxspace.scores.registry import Kind
from onnxspace.storage.atomic import scratch_folder, write_array
from onnxspace.storage.regular_files import map_array, open_regular
from onnxspace.workflows.array_forms import ArrayForm
from onnxspace.workflows.described import DescribedModels, FindOthers
from onnxspace.workflows.requests import (
    DescribedModel,
    Destination,
    FileRequest,
    LocatedModel,
    WrittenFile,
    encode_execution,
    encode_setup,
    locate_model,
    name_function,
    named_as_given,
    parse_description,
    read_texts,
    wrong_answer,
)

TASKS = "onnxspace.workflows.child.tasks"
#: Those that need no Torch.
READING_TASKS = "onnxspace.workflows.child.reading_tasks"


@dataclass
class ModelSession:
    """A worker for the models of one verb, and the folder in which probe images are stored for it."""

    worker: Worker
    folder: Path
    execution: Execution
    _images: dict[int, tuple[Probes, str]] = field(default_factory=dict)

    def place(self, setup: Setup, images: Path | None = None) -> dict[str, Any]:
        """The setup as JSON; its probe images are written to a file, unless they are in the `.npy` file `images`. Raises OutputError."""
        probes = setup.probes
        if id(probes) not in self._images:
            file = images
            if file is None:
                file = self.folder / f"images-{len(self._images)}.npy"
                write_array(file, np.asarray(probes.images))
            self._images[id(probes)] = probes, str(file.absolute())
        return encode_setup(setup, self._images[id(probes)][1])

    def check(self, methods: Sequence[Method], setup: Setup, rules: Rules, *, device: bool = True) -> None:
        """Check methods, options and, unless other machines compute, the device. Raises ConfigError, ProbeError."""
        placed = self.place(setup)
        request = {
            "task": "check", "methods": list(methods), "setup": placed, "options": placed["options"],
            "rules": {name: dict(entries) for name, entries in rules.items()},
            "compute": asdict(self.execution.compute) if device else None,
        }  # fmt: skip
        self.worker.perform(request)

    def make_run_key(self, setup: Setup, elsewhere: Sequence[object] | None) -> str:
        """The digest of everything besides a model that determines its maps, see `cache_key.run_key`. Raises ConfigError."""
        request = {"setup": self.place(setup), "execution": encode_execution(self.execution), "elsewhere": elsewhere}
        return str(self.worker.perform({"task": "run key", **request})["key"])

    def prepare(self, path: Path, name: str, encoder: str | None, config: Config) -> DescribedModel:
        """Have the model `path`, called `name` in results, opened, and its encoder found.

        `encoder` is a tensor or node name (None: the configured one, or the one found). Raises ModelError, ConfigError.
        """
        return self.describe(self.locate(path, name, encoder, config))

    def describe(self, located: LocatedModel) -> DescribedModel:
        """Have a model opened that is located, and its encoder found. Raises ModelError, ConfigError."""
        return parse_description(located, self.perform("prepare", located))

    def open_models(self, config: Config, find_others: FindOthers | None = None) -> DescribedModels:
        """The models of a run, which this session opens; `find_others` gives records of what they are compared with."""
        return DescribedModels(lambda turn: self.prepare(*turn, config), self.describe, find_others)

    def locate(self, path: Path, name: str, encoder: str | None, config: Config) -> LocatedModel:
        """Locate a model's ONNX file, which is converted first where it is of another format. Raises as `prepare`."""
        return locate_model(path, name, encoder, config, self.execution.limits)

    def perform(self, task: str, located: LocatedModel, advance: Advance | None = None, **more: Any) -> Any:
        """Have a task on a model carried out, and return its answer, which is untrusted. Raises ModelError, ConfigError, OutputError."""
        with named_as_given(located):
            return self.worker.perform({"task": task, "path": located.path, "model": asdict(located), **more}, advance)

    def compute(self, task: str, model: DescribedModel, folder: Path, advance: Advance | None = None, **more: Any) -> Any:
        """Have a task carried out that writes files of a model to `folder`; what a worker leaves there as it dies is removed.

        Raises ModelError, OutputError.
        """
        more = {"sha256": model.record.sha256, "folder": str(folder.absolute()), **more}
        try:
            return self.perform(task, model.located, advance, **more)
        except BaseException:
            if self.worker.dead:
                remove_partials(folder, self.worker.pid)
            raise

    def write(self, kind: Kind, model: DescribedModel, to: Destination, files: FileRequest, advance: Advance) -> WrittenFile:
        """Have one representation of a model written. Raises ModelError, OutputError."""
        more = {"kind": kind, "key": to.key, "kept": to.kept, "files": files.to_json()}
        found = self.compute("write", model, to.folder, advance, **more)
        try:
            precision = None if found.get("precision") is None else parse_precision(found["precision"])
            return WrittenFile(find_file(to.folder, found["file"]), read_texts(found["remarks"]), precision)
        except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
            raise wrong_answer(model.record.path) from error

    def write_features(
        self, model: DescribedModel, images: Path, digest: str, pool: str, folder: Path, advance: Advance,
        of: Literal["encoder", "classes"] = "encoder",
    ) -> Path | None:  # fmt: skip
        """Have the features of a model at its encoder written for the images in a `.npy` file, whose checksum is `digest`.

        `of` classes, they are its classifier's outputs. Returns their file in `folder`, None where there is no classifier. Raises
        ModelError, OutputError.
        """
        more = {"images": str(images.absolute()), "digest": digest, "pool": pool, "of": of}
        found = self.compute("features", model, folder, advance, **more)
        try:
            if found["file"] is None:
                return None
            file = find_file(folder, found["file"])
            ArrayForm("float32", len(map_array(images))).check(file)
            return file
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise wrong_answer(model.record.path) from error


def find_file(folder: Path, name: Any) -> Path:
    """The regular file of this name in `folder`. Raises ValueError for what is no plain name, and OSError."""
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError("not the name of a file")
    open_regular(folder / name, follow=False).close()
    return folder / name


def remove_partials(folder: Path, process: int) -> None:
    """Remove the files that a process was writing to `folder` when it ended; those from which a later run resumes stay."""
    for path in folder.glob(f".*.{process}.partial"):
        with suppress(OSError):
            path.unlink()


@contextmanager
def open_session(execution: Execution, tasks: str = TASKS) -> Iterator[ModelSession]:
    """Open a session for the block, with a worker for the module `tasks`; its process starts at once."""
    with (
        scratch_folder() as folder,
        borrow_worker(tasks, execution.limits, execution.compute.threads or _count_threads()) as worker,
    ):
        if tasks == TASKS and (rules := find_added_rules()):
            worker.perform({"task": "set up", "modules": list(find_modules(rules)), "rules": rules})
        yield ModelSession(worker, folder, execution)


def start_early(compute: Compute, limits: Limits, models: Sequence[str | Path]) -> None:
    """Start the worker of a run over `models`, which imports its libraries while this process reads pictures.

    None is started where all models are fingerprints. A second one, if there is one, imports them while the first opens models.
    """
    if not all(is_fingerprint(Path(model)) for model in models):
        start_workers(1, TASKS, limits, compute.threads or _count_threads())


def _count_threads() -> int:
    """The number of threads that Torch uses here, where it is loaded: maps depend on it in their last bits; 0 where it is not."""
    torch = sys.modules.get("torch")
    return 0 if torch is None else int(torch.get_num_threads())


def find_added_rules() -> dict[str, str]:
    """The LRP rules that were added in this process, by key: each as `MODULE:NAME`."""
    lrp = sys.modules.get("onnxspace.attribution.lrp")
    rules: Mapping[str, Callable[..., Any]] = {} if lrp is None else lrp.RULES
    named = {key: name_function(rule) for key, rule in rules.items()}
    return {key: name for key, name in named.items() if not name.startswith("onnxspace.")}


def find_modules(rules: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and folders of the modules of `rules`. Raises ConfigError for one that a worker can't import."""
    for key, rule in rules.items():
        name = rule.partition(":")[0]
        file = getattr(sys.modules.get(name), "__file__", None)
        if name in ("", "__main__") or file is None:
            raise ConfigError(
                f"The rule {key!r} is of the module {name or 'of a function without one'!r}, which a worker process can't import. "
                "Write it into a file of its own, and import that."
            )
        yield name, str(Path(file).absolute().parents[name.count(".") + (Path(file).name == "__init__.py")])
