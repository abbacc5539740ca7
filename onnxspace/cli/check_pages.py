"""The pages of `onnxspace check --report`: both graphs of each artifact that is not as expected, and of the model it was compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxspace.checking.plan import Artifact, CheckPlan
    from onnxspace.checking.verdict import Verdict
    from onnxspace.inputs.probes import Probes
    from onnxspace.sandbox.limits import Limits

#: The most images that graphs are compared on: each is run several times.
_MOST_IMAGES = 16


@dataclass(frozen=True)
class PageRequest:
    """Where pages are written, and how models are read: `pixels` as `check` takes them, `config` the file that configures models."""

    report: Path
    limits: Limits
    pixels: Any
    config: Any


def name_pages(report: Path, artifacts: Sequence[str]) -> list[Path]:
    """The file of each artifact's page: `report` where there is one artifact, else with the artifact's name in it.

    >>> name_pages(Path("page.html"), ["net", "a/net"])
    [PosixPath('page-net.html'), PosixPath('page-a-net.html')]
    """
    from onnxspace.checking.run import name_pictures

    if len(artifacts) == 1:
        return [report]
    stems = [Path(name).stem for name in name_pictures(artifacts)]
    return [report.with_name(f"{report.stem}-{stem}{report.suffix}") for stem in stems]


def check_pages(plan: CheckPlan, report: str) -> None:
    """Check, before any work is done, that all pages can be written. Raises OutputError."""
    from onnxspace.differences.page.write import check_diff_path

    models = [path for one in plan.artifacts for path in (one.path, Path(one.against))]
    for page in name_pages(Path(report), [one.name for one in plan.artifacts]):
        check_diff_path(page, models, "--report")


def write_pages(
    plan: CheckPlan, found: Sequence[Verdict], request: PageRequest, progress: Any
) -> tuple[Verdict, ...]:  # fmt: skip
    """Write the page of each artifact that differs, and name it in its verdict; why there is none is a warning of it."""
    pages = name_pages(request.report, [one.name for one in plan.artifacts])
    return tuple(_write_pages(plan, list(zip(plan.artifacts, found, pages, strict=True)), request, progress))


def _write_pages(
    plan: CheckPlan, turns: Sequence[tuple[Artifact, Verdict, Path]], request: PageRequest, progress: Any
) -> Iterator[Verdict]:
    from onnxspace.errors import OnnxspaceError, OutputError

    for artifact, verdict, page in turns:
        if verdict.outcome != "different":
            yield verdict
            continue
        try:
            _write_page(plan, artifact, page, request, progress)
            yield replace(verdict, page=str(page))
        except OutputError:
            raise
        except OnnxspaceError as error:
            yield replace(verdict, warnings=(*verdict.warnings, f"There is no page on {verdict.name}: {error}"))


def _take_images(plan: CheckPlan, artifact: Artifact) -> Probes:
    """The first of the images that the check used, named so where these are not all."""
    from onnxspace.checking.observe import plan_probes
    from onnxspace.inputs.probes import Probes

    probes = plan_probes(plan, artifact) or Probes.generate()
    if len(probes) <= _MOST_IMAGES:
        return probes
    return Probes(f"{probes.name}, the first of {len(probes):,} that the check used", probes.images[:_MOST_IMAGES])


def _write_page(plan: CheckPlan, artifact: Artifact, page: Path, request: PageRequest, progress: Any) -> None:
    from onnxspace.checking.baseline import parse_reference
    from onnxspace.differences.run import diff
    from onnxspace.errors import ConfigError

    base = parse_reference(artifact.against)
    if base.kind != "model":
        raise ConfigError(f"{artifact.against} has no graph to compare with. Name the model itself as --against.")
    diff(
        base.path, artifact.path, _take_images(plan, artifact), config=request.config, pixels=request.pixels, limits=request.limits,
        progress=progress, output=page,
    )  # fmt: skip
