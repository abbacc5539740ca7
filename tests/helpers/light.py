"""What an installation without Torch and ONNX does, as a program: `python light.py` in an environment of the group `light`.

It writes fingerprints, runs the commands of docs/light.md in a temporary folder, and raises AssertionError for the first that
ends otherwise.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np

from onnxspace.cli import main as onnxspace
from onnxspace.inputs.probes import Probes
from onnxspace.similarity.fingerprints.file import Fingerprint, project, write_fingerprint
from onnxspace.storage.map_file import to_unit_maps

COMPARING = (
    "score a.fp b.fp c.fp --output result",
    "space create zoo.space --images 4",
    "space add zoo.space a.fp b.fp",
    "space list zoo.space",
    "space affinity zoo.space",
    "space rank zoo.space a",
    "space tree zoo.space",
    "space nearest zoo.space c.fp",
    "space duplicates zoo.space",
    "space verify zoo.space",
    "report zoo.space -o zoo.html",
    "report result -o result.html",
    "evaluate --oracle truth.csv --predicted result/affinity.csv --relevant 1",
    "space remove zoo.space a",
    "space compact zoo.space",
)
COMPUTING = (
    "score a.onnx b.onnx --images 4",
    "score a.fp b.onnx",
    "inspect a.onnx",
    "layers a.onnx b.onnx --images 4",
    "fingerprint a.onnx -o d.fp --images 4",
    "space add zoo.space a.onnx",
    "check a.onnx --against a.fp",
    "explain a.onnx a.png -o maps.png",
    "transfer a.onnx b.onnx --data photos",
)


def main() -> None:
    """Run all commands."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder)
        for line in COMPARING:
            code, message = run(line, folder)
            assert code == 0, (line, code, message)
        for line in COMPUTING:
            code, message = run(line, folder)
            assert code == 2, (line, code, message)
            assert "not installed" in message, (line, message)
            assert "pip install onnxspace" in message, (line, message)
            assert "unexpectedly" not in message, (line, message)


def write_inputs(folder: Path) -> None:
    """Write three fingerprints, a table of ground truth, photos, and two files that are named like models."""
    probes = Probes.generate(4)
    for number, name in enumerate("abc"):
        maps = to_unit_maps(np.random.default_rng(number).standard_normal((4, probes.size**2)))[0]
        facts = Fingerprint(
            name,
            f"{number:064x}",
            "features",
            "elrp",
            probes.name,
            probes.size,
            probes.sha256,
            project(maps).astype(np.float16),
        )
        write_fingerprint(folder / f"{name}.fp", facts)
    write_photos(folder, probes)
    (folder / "truth.csv").write_text(",a,b,c\na,,1,2\nb,2,,1\nc,1,2,\n", "utf-8")
    for name in ("a.onnx", "b.onnx"):
        (folder / name).write_bytes(b"never read")


def write_photos(folder: Path, probes: Probes) -> None:
    """Write images as a.png and as two classes of photos."""
    from PIL import Image

    Image.fromarray(probes.images[0]).save(folder / "a.png")
    for number, image in enumerate(probes.images):
        (target := folder / "photos" / "xy"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(target / f"{number}.png")


def run(line: str, folder: Path) -> tuple[int, str]:
    """Run a command in a folder, in this process, which lacks the libraries; returns its exit code and what it wrote to stderr."""
    error, code = io.StringIO(), 0
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        try:
            onnxspace(line.split())
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, error.getvalue()


if __name__ == "__main__":
    main()
