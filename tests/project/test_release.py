"""`.ci/release.py` makes README's links absolute and refuses a version without a dated changelog."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from tests.helpers.paths import REPOSITORY

HOME = "https://host.example/owner/onnxspace"


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", REPOSITORY / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[page](docs/a.md#b)", f"[page]({HOME}/blob/v1.0/docs/a.md#b)"),
        ("![p](docs/a.png)", f"![p]({HOME}/raw/v1.0/docs/a.png)"),
        ("[![p](docs/a.png)](docs/a.md)", f"[![p]({HOME}/raw/v1.0/docs/a.png)]({HOME}/blob/v1.0/docs/a.md)"),
        ("[x](https://a.example) [y](#here)", "[x](https://a.example) [y](#here)"),
    ],
)
def test_links(release: ModuleType, text: str, expected: str) -> None:
    assert release.make_absolute(text, HOME, "1.0") == expected


def test_readme_keeps_no_relative_link(release: ModuleType) -> None:
    text = release.make_absolute((REPOSITORY / "README.md").read_text("utf-8"), HOME, "1.0")
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    assert re.findall(r"\]\((?!https://|#)[^)]*\)", prose) == []


def test_a_version_needs_a_dated_section(release: ModuleType) -> None:
    assert release.find_notes("# C\n\n## 1.0 (2026-01-02)\n\n- a\n\n## 0.9 (2025-01-02)\n\n- b\n", "1.0") == "- a\n"
    with pytest.raises(SystemExit, match=r"no heading '## 1\.0"):
        release.find_notes("## 1.0 (unreleased)\n\n- a\n", "1.0")
