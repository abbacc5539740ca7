"""What an installed wheel does, as a program: `python -P smoke.py MODELS`, where MODELS is the folder `models` of a checkout.

It runs the main commands on copies of four models in a temporary folder, prints the versions of the libraries, and raises
AssertionError for the first command that ends otherwise than stated here.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from PIL import Image

MODELS = ("shapes-torch", "shapes-keras", "colour-tflite", "edges-torch")
#: A command, the exit code that it ends with, and a text that it prints.
COMMANDS = (
    ("--version", 0, "onnxspace "),
    ("inspect shapes-torch.onnx", 0, "taken: "),
    ("score shapes-torch.onnx shapes-keras.onnx edges-torch.onnx --images 16 --output result", 0, "1. shapes-keras  1.000"),
    ("report result -o result.html", 0, ""),
    ("check shapes-keras.onnx --against shapes-torch.onnx", 0, "1 as expected"),
    ("check edges-torch.onnx --against shapes-torch.onnx", 1, "1 not as expected"),
    ("fingerprint colour-tflite.onnx -o colour.fp --images 16", 0, ""),
    ("score colour.fp shapes-torch.onnx", 0, "Most alike"),
    ("explain shapes-torch.onnx edges-torch.onnx picture.png -o maps.png", 0, ""),
    ("space create zoo.space --images 16", 0, ""),
    ("space add zoo.space shapes-torch.onnx edges-torch.onnx", 0, "added shapes-torch"),
    ("space rank zoo.space", 0, "Most alike"),
    ("report zoo.space -o zoo.html", 0, ""),
    ("score shapes-torch.onnx missing.onnx", 2, "missing.onnx"),
)
LIBRARIES = ("numpy", "scipy", "onnx", "onnxruntime-gpu", "onnx2torch", "torch", "torchvision", "protobuf", "click", "pillow")


def main(models: str) -> None:
    """Run all commands."""
    print(f"Python {sys.version.split()[0]};", ", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in MODELS:
            for file in Path(models).glob(f"{name}.onnx*"):
                shutil.copy(file, folder)
        Image.linear_gradient("L").save(folder / "picture.png")
        for line, code, text in COMMANDS:
            found = run(line, folder)
            assert found.returncode == code, (line, found)
            assert text in found.stdout + found.stderr, (line, found)


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of onnxspace in a folder."""
    command = [sys.executable, "-P", "-m", "onnxspace", *line.split()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
