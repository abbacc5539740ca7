"""Make the zoo: train, export, verify, write the manifest.

python models/make.py                  # everything, about twenty minutes
python models/make.py --only NAME      # one network (after the one that it starts from)
python models/make.py --export         # export again from the weights in .work
python models/make.py --check          # compare the files with the manifest
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.metadata import version

import numpy as np
import onnx

import graph
import tasks
from tasks import FOLDER, SPECS, Spec

MANIFEST = FOLDER / "manifest.json"
PACKAGES = {"torch": ("torch",), "keras": ("keras", "tensorflow-cpu", "tf2onnx"), "jax": ("jax", "flax", "jax2onnx")}
DATA = {
    True: (
        "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits)",
        "CC BY 4.0 (data), Apache-2.0 (network)",
    ),
    False: ("models/scenes.py, drawn from a seed", "CC0-1.0 (data), Apache-2.0 (network)"),
}
TOLERANCE = 1e-4


def sidecar(spec: Spec) -> None:
    """Write NAME.onnxspace.toml where the input isn't 2v - 1."""
    if set(spec.input.mean) == {0.5}:
        return
    lines = [f'scale = "{spec.input.scale}"', f"mean = {list(spec.input.mean)}", f"std = {list(spec.input.std)}"]
    spec.path.with_suffix(".onnxspace.toml").write_text("\n".join(lines) + "\n")


def verify(spec: Spec, x: np.ndarray) -> str:
    """The encoder's name, once file and framework agree at two batch sizes."""
    module = importlib.import_module(f"{spec.framework}_zoo")
    for size in (1, 5):
        apart = graph.difference(spec.path, x[:size], module.predict(spec, x[:size]))
        assert apart < TOLERANCE, f"{spec.name}: output differs by {apart:.1e}"
    name, code = graph.encoder(spec.path, x[:5])
    native = module.gradient(spec, x[:5])[0]
    assert code.shape == native.shape, f"{spec.name}: {name} is {code.shape}, not {native.shape}"
    assert np.abs(code - native).max() < TOLERANCE * np.abs(native).max(), name
    return name


def entry(spec: Spec) -> dict:
    """The manifest's record of one finished file."""
    x, truth = spec.batch(tasks.data(spec.label, held_out=True))
    source, licence = DATA[spec.label == "digits"]
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES[spec.framework])
    kind = {"TorchScript": "torch.onnx.export(dynamo=False)", "dynamo": "torch.onnx.export(dynamo=True)"}.get(
        spec.exporter, spec.exporter
    )
    opset = next(o.version for o in onnx.load(spec.path).opset_import if not o.domain)
    return {
        "name": spec.name,
        "file": spec.path.name,
        "task": spec.task,
        "framework": spec.framework,
        "exporter": f"{kind} ({packages})",
        "opset": opset,
        "encoder": verify(spec, x),
        "preprocessing": asdict(spec.input),
        "metric": tasks.measure(spec.label, graph.run(spec.path, x)[0], truth),
        "starts_from": spec.start or None,
        "related": list(spec.related),
        "sha256": graph.sha256(spec.path),
        "licence": licence,
        "data": source,
    }


def make(spec: Spec, train: bool) -> None:
    """Train, export and record one network."""
    began = time.monotonic()
    module = importlib.import_module(f"{spec.framework}_zoo")
    if train:
        module.train(spec)
    ready = time.monotonic() - began
    module.export(spec, spec.path)
    graph.clean(spec.path)
    sidecar(spec)
    record = entry(spec)
    known = {one["name"]: one for one in manifest()} | {spec.name: record}
    rows = [known[name] for name in SPECS if name in known]
    MANIFEST.write_text(json.dumps({"models": rows}, indent=1) + "\n")
    print(f"{spec.name}: {record['metric']}, weights ready in {ready:.0f} s", flush=True)


def manifest() -> list[dict]:
    """The records so far."""
    return json.loads(MANIFEST.read_text())["models"] if MANIFEST.exists() else []


def make_all(options: list[str]) -> None:
    """Make each network in a process of its own: exporters patch what they import."""
    for name in SPECS:
        subprocess.run([sys.executable, __file__, "--only", name, *options], check=True)
    subprocess.run([sys.executable, FOLDER / "native_maps.py"], check=True)


def check() -> list[str]:
    """What differs from the manifest: digests, and the metric computed again."""
    listed = {record["name"] for record in manifest()}
    wrong = [f"{name}: not in the manifest" for name in SPECS if name not in listed]
    for record in manifest():
        spec = SPECS[record["name"]]
        if graph.sha256(spec.path) != record["sha256"]:
            wrong.append(f"{spec.name}: the file has changed")
        x, truth = spec.batch(tasks.data(spec.label, held_out=True))
        value = tasks.measure(spec.label, graph.run(spec.path, x)[0], truth)["value"]
        if abs(value - record["metric"]["value"]) > 0.005:
            wrong.append(f"{spec.name}: metric {value}, not {record['metric']['value']}")
    return wrong


def main() -> int:
    """Read the command line; 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SPECS, metavar="NAME", help="make one network")
    parser.add_argument("--export", action="store_true", help="no training: weights of .work")
    parser.add_argument("--check", action="store_true", help="compare files and manifest")
    options = parser.parse_args()
    if options.check:
        wrong = check()
        print("\n".join(wrong) or f"{len(SPECS)} files as in the manifest")
        return int(bool(wrong))
    if options.only:
        make(SPECS[options.only], not options.export)
    else:
        make_all(["--export"] if options.export else [])
    return 0


if __name__ == "__main__":
    sys.exit(main())
