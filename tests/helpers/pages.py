"""Results to make pages of, written without explaining anything; and a page taken apart."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.inputs.probes import Probes
from onnxspace.report.result_folder import write_results
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.gram import affinity_matrix
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.storage.map_file import to_unit_maps
from onnxspace.workflows.report import write_report

HOSTILE = (
    "</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "<b>bold</b>", "a&amp;b", "<!-- ",
    "%{x}", "= 1 + 1", "new\nline\x1b[31m", "\u202eright", "\udcff", "__proto__",
)  # fmt: skip


def records(names: tuple[str, ...]) -> tuple[ModelRecord, ...]:
    return tuple(
        ModelRecord(name, f"zoo/{i}.onnx", hashlib.sha256(f"{i}".encode()).hexdigest(), "/flatten", "input", 17, "torch 2.6", ("a guess",))
        for i, name in enumerate(names)
    )  # fmt: skip


def maps(count: int, images: int, size: int) -> list[NDArray[np.float16]]:
    """Unit maps [images, size²] of models in families of three."""
    random = np.random.default_rng(5)
    shared = random.standard_normal((1 + count // 3, images, size**2), dtype=np.float32)
    return [to_unit_maps(shared[i // 3] + random.standard_normal((images, size**2), dtype=np.float32))[0] for i in range(count)]


def result(
    place: Path, names: tuple[str, ...], images: int = 4, size: int = 24, warnings: tuple[str, ...] = (), probe: str = ""
) -> Affinity:
    """A folder as `score --output` writes it."""
    (place / "maps").mkdir(parents=True)
    models, paths = records(names), []
    for model, values in zip(models, maps(len(names), images, size), strict=True):
        paths.append(place / "maps" / f"{model.sha256[:12]}.npy")
        np.save(paths[-1], values)
    probes = Probes.generate(images, size)
    facts = {"name": probe or probes.name, "images": images, "size": size, "sha256": probes.sha256}
    found = Affinity(models, affinity_matrix(paths), "elrp", facts, (Failure("x.onnx", "x.onnx is broken."),), warnings)
    with patch("onnxspace.report.heatmap.draw_affinity", lambda _result, path: path.touch()):  # no page shows it
        write_results(place, replace(found, failed=()))
    (place / "score.json").write_text(json.dumps(found.to_dict()), "utf-8")
    return found


class Page(HTMLParser):
    """The elements of a page, its addresses, its scripts, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {"script": [], "style": [], "": []}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.content[self._inside].append(data if self._inside else data.strip())

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    @property
    def data(self) -> dict[str, Any]:
        """The numbers that the page's script draws."""
        found: dict[str, Any] = json.loads(self.content["script"][0])
        return found

    def addresses(self) -> set[str]:
        named = ("src", "href", "action", "srcset", "poster", "data", "formaction", "xlink:href", "background")
        return {value or "" for _, given in self.elements for name, value in given.items() if name in named}

    def policy(self) -> dict[str, list[str]]:
        content = next(given["content"] for _, given in self.elements if given.get("http-equiv") == "Content-Security-Policy")
        return {part.split()[0]: part.split()[1:] for part in re.split(r";\s*", content or "")}


NAMES = tuple(f"model-{i}" for i in range(7))


def page_of(source: Path, **options: Any) -> Page:
    goal = source.parent / "page.html"
    write_report(source, goal, **options)
    return Page(goal.read_text("utf-8"))


def decoded(uri: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
