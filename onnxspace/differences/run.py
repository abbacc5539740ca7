"""Compare two models node by node, weight by weight, and value by value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxspace.differences.answer import parse_groups, parse_layers, parse_model, parse_outputs
from onnxspace.differences.details import parse_details
from onnxspace.differences.findings import Findings
from onnxspace.differences.page.pictures import PagePictures, add_maps, take_pictures
from onnxspace.differences.page.write import check_diff_path, write_page
from onnxspace.differences.result import DiffModel, ModelDiff
from onnxspace.differences.summary import describe_changes, find_verdict, summarise
from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Compute, Counter, Execution, Progress
from onnxspace.inputs.names import is_fingerprint, name_models
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.sandbox.limits import Limits
from onnxspace.storage.json_fields import require
from onnxspace.workflows.requests import read_texts, wrong_answer
from onnxspace.workflows.session import open_session

TASKS = "onnxspace.differences.child.tasks"
#: Probe images where none are given, and the most that are used.
DEFAULT_IMAGES, MOST_IMAGES = 4, 64
#: Passes over the images of which progress is reported.
_PASSES = 5


def diff(
    old: str | Path,
    new: str | Path,
    probes: Probes | None = None,
    *,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    limits: Limits | str | None = None,
    progress: Progress | None = None,
    output: str | Path | None = None,
    maps: bool = True,
    threads: int = 0,
) -> ModelDiff:
    """Say what changed from the model `old` to the model `new`, node by node.

    Each is an ONNX file, or what `onnxspace convert` takes. Nodes of both are matched by the values that they compute on the images
    `probes` (None: 4 generated ones; 1 to 64), then by weights, names and places. `config` is a configuration or its file, `pixels` a preset's
    name, names by model, or `StatedPixels`; where files do not state how pixels reach them, both get the same. `limits` are those of the
    process that reads the models, `progress` the callback, `threads` the number of its threads (0: as many as it may use). A model that takes
    no image gets random values. With `output`, an HTML file, a page is written there that shows both graphs side by side, and with `maps`
    also the attribution maps of the images whose outputs differ most, where both models can be explained.

    Returns a `ModelDiff`. Raises ConfigError for invalid options and for fingerprints, ModelError for models that can't be read or run,
    OutputError where the page can't be written.

    >>> ox.diff("model.onnx", "model-int8.onnx").verdict  # doctest: +SKIP
    'rounding'
    """
    paths = [Path(old), Path(new)]
    probes = Probes.generate(DEFAULT_IMAGES) if probes is None else probes
    _check(paths, probes)
    if output is not None:
        check_diff_path(Path(output), paths)
    configuration = resolve_config(config, paths, pixels)
    names = name_models(paths[:1], configuration) * 2 if paths[0] == paths[1] else name_models(paths, configuration)
    execution = Execution.on(Compute("cpu", threads=threads), progress=progress, limits=limits)
    counter = Counter(_PASSES * len(probes), progress)
    with open_session(execution, TASKS) as session:
        located = [session.locate(path, name, None, configuration) for path, name in zip(paths, names, strict=True)]
        images = session.place(Setup(probes, "elrp"))["images"]
        answer = session.perform(
            "diff", located[0], lambda done: counter.advance(done, "comparing"), other=asdict(located[1]), images=images
        )
    found = _read_answer(answer, paths, probes)
    if output is not None:
        models = list(zip(paths, names, strict=True))
        write_page(found, Path(output), _draw_images(found, models, probes, configuration, execution, maps=maps))
    return found


def _draw_images(
    found: ModelDiff, models: list[tuple[Path, str]], probes: Probes, configuration: Config, execution: Execution, *, maps: bool
) -> PagePictures | None:  # fmt: skip
    """The images of the page; None where the models take none."""
    if found.details is None or found.probe["name"] == "random":
        return None
    pictures = take_pictures(probes, found.details.image_errors)
    if not maps or found.old.sha256 == found.new.sha256:
        return pictures
    return add_maps(pictures, models, probes, configuration, execution)


def refuse_fingerprints(paths: Sequence[Path]) -> None:
    """Raise ConfigError for the first of `paths` that is a fingerprint."""
    for path in filter(is_fingerprint, paths):
        raise ConfigError(f"{path} is a fingerprint, which has no graph to compare. Give the model itself.")


def _check(paths: list[Path], probes: Probes) -> None:
    refuse_fingerprints(paths)
    if len(probes) > MOST_IMAGES:
        raise ConfigError(f"Graphs are compared on at most {MOST_IMAGES} images, not {len(probes)}. Give fewer with --images.")


def _read_answer(answer: Any, paths: list[Path], probes: Probes) -> ModelDiff:
    """Check what a worker has answered. Raises ModelError."""
    try:
        models = parse_model(answer["old"]), parse_model(answer["new"])
        found = _read_findings(answer, models)
        layers = parse_layers(answer["layers"])
        warnings = read_texts(answer["warnings"])
        random = answer["random"] is True
        details = parse_details(answer["details"], found.groups, len(probes))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise wrong_answer(str(paths[0])) from error
    verdict = find_verdict(found)
    first = next(iter(found.departing), None)
    probe: Mapping[str, Any] = {"name": "random", "images": len(probes)} if random else Setup(probes, "elrp").probe_facts()
    return ModelDiff(
        *models,
        verdict,
        summarise(found, verdict),
        describe_changes(found),
        first,
        found.groups,
        layers,
        found.outputs,
        probe,
        warnings,
        details,
    )


def _read_findings(answer: Mapping[str, Any], models: tuple[DiffModel, DiffModel]) -> Findings:
    require(answer["precision"] in ("single", "half", "int8"), "precision")
    return Findings(*models, parse_groups(answer["groups"]), parse_outputs(answer["outputs"]), answer["precision"])
