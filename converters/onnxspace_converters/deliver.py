"""Export a loaded network: the first route whose file agrees with the framework is used."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnx

from onnxspace.errors import ConversionError, ModelError
from onnxspace.exporters import Facts, Request
from onnxspace.inputs.config import PROVENANCE
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.model.graph import iter_nodes
from onnxspace.quiet import silence_libraries
from onnxspace_converters.compare import GraphTensors, ReferenceBatch, compute_references, preprocess_of, verify
from onnxspace_converters.files import describe_error
from onnxspace_converters.loaded_network import LoadedNetwork, Route
from onnxspace_converters.tidy import tidy
from onnxspace_converters.write_model import write_model


def deliver(loaded: LoadedNetwork, source: str, destination: Path, request: Request) -> Facts:
    """Export, tidy, verify and write a network to `destination`; return the file's facts.

    `source` is what the user named. Routes are tried in the order of `loaded.routes`, with an open batch before a fixed one.
    Raises ConversionError with the reason why each route failed, ModelError where none has the requested opset.
    """
    started = time.perf_counter()
    steps = 2 * len(loaded.routes) + 2
    request.progress("running the network", 1, steps)
    references = _run_framework(loaded, source)
    verifying, failed = time.perf_counter() - started, list[str]()
    for number, (route, opset, dynamic) in enumerate(_attempts(loaded, request, source)):
        request.progress(f"exporting by {route.name}", 1 + number, steps)
        try:
            began = time.perf_counter()
            with silence_libraries():  # its file is verified anyway
                exported = route.export(opset, dynamic)
            exporting = time.perf_counter() - began
            model = tidy(exported, loaded, dynamic=dynamic)
            began = time.perf_counter()
            gap = verify(model, loaded, references, dynamic=dynamic)
            verifying += time.perf_counter() - began
        except Exception as error:  # exporters may raise anything; the next one may work
            failed.append(f"{_route_name(route, dynamic)}: {describe_error(error)}")
            continue
        request.progress("writing", steps - 1, steps)
        encoder = None if request.encoder is None else encoder_tensor(model, loaded, references[-1], request.encoder, source)
        facts = _conversion_facts(loaded, model, _route_name(route, dynamic), encoder, gap)
        annotate(model, facts, source)
        write_model(model, destination, source)
        seconds = {"export": exporting, "convert": time.perf_counter() - started - verifying}
        return Facts(**{**vars(facts), "seconds": seconds})
    raise ConversionError(f"{source} can't be exported: {'; '.join(dict.fromkeys(failed))}.")


def _run_framework(loaded: LoadedNetwork, source: str) -> list[ReferenceBatch]:
    try:
        return compute_references(loaded)
    except Exception as error:  # the framework's own error for an input that does not fit
        size = "×".join(map(str, loaded.shape))
        raise ModelError(
            f"{source} can't take images of {size} ({describe_error(error)}). Give its size as --input."
        ) from error


def _attempts(loaded: LoadedNetwork, request: Request, source: str) -> Iterator[tuple[Route, int, bool]]:
    fitting = [route for route in loaded.routes if request.opset is None or request.opset in route.opsets]
    if not fitting:
        known = sorted({opset for route in loaded.routes for opset in route.opsets})
        raise ModelError(f"{source} can't be exported at opset {request.opset}. Give --opset from {known[0]} to {known[-1]}.")
    for dynamic in (False,) if loaded.batch is not None else (True, False):
        for route in fitting:
            yield route, request.opset or route.best, dynamic


def _route_name(route: Route, dynamic: bool) -> str:
    return route.name if dynamic else f"{route.name}, fixed batch"


def encoder_tensor(model: onnx.ModelProto, loaded: LoadedNetwork, reference: ReferenceBatch, layer: str, source: str) -> str:
    """The file's tensor for the framework's `layer`, found by its values on `reference`.

    The name of a tensor or node of the file is returned unchanged. Raises ModelError where there is no such layer, or its values are not in the file.
    """
    names = {name for node in iter_nodes(model.graph) for name in (node.name, *node.output)}
    layers = [] if loaded.layers is None else list(loaded.layers(reference.images))
    values = [value for name, value in layers if name == layer]
    if not values and layer in names:
        return layer
    if not values:
        raise ModelError(f"{source}: {describe_unknown('layer', layer, [name for name, _ in layers])}")
    found = GraphTensors(model, reference.images).find(values[-1])
    if found is None:
        raise ModelError(f"{source}: the exporter merged layer {layer!r} with another. Name the layer after it.")
    return found


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """The versions of onnxspace and of the distributions `packages` that are installed."""
    found = {}
    for package in ("onnxspace", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # not installed by pip
            continue
    return found


def _conversion_facts(
    loaded: LoadedNetwork, model: onnx.ModelProto, route: str, encoder: str | None, gap: float | None
) -> Facts:
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return Facts(
        loaded.framework, route, opset, versions_of(loaded.packages), loaded.sha256, encoder, gap, loaded.said,
        remarks=(*loaded.remarks, *comparison_remarks(loaded)),
    )  # fmt: skip


def comparison_remarks(loaded: LoadedNetwork) -> list[str]:
    """Remarks on why a network can't be compared with others."""
    return [] if preprocess_of(loaded.shape, loaded.said) else ["it does not take images of one or three channels"]


def annotate(model: onnx.ModelProto, facts: Facts, source: str) -> None:
    """Write the origin of a file into its metadata, without folder names, which may be private."""
    origin = {"source": source if ":" in source else Path(source).name, "framework": facts.framework, "route": facts.route}
    origin |= {"source_sha256": facts.source_sha256 or "", "encoder": facts.encoder or ""}
    origin |= {f"version.{name}": number for name, number in facts.versions.items()}
    stated = {name: value for name, value in vars(facts.said).items() if value is not None and name not in PROVENANCE}
    origin |= {f"input.{name}": str(value) for name, value in stated.items()}
    for name, value in origin.items():
        if value:
            model.metadata_props.add(key=f"onnxspace.{name}", value=value)
