"""What decides whether maps of an earlier run may be used again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import onnxspace
from onnxspace.attribution.cache_key import _hash_code

PACKAGE = Path(onnxspace.__file__).parent
FOLDERS = sorted({path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")})


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(
        shutil.copytree(
            PACKAGE, tmp_path_factory.mktemp("code") / "onnxspace", ignore=shutil.ignore_patterns("__pycache__", "assets")
        )
    )


def test_digest_is_that_of_the_whole_package(copied: Path) -> None:
    assert _hash_code(copied) == _hash_code()


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_change_in_any_folder_changes_the_digest(copied: Path, folder: Path) -> None:
    file = min((copied / folder).glob("*.py"))
    before, text = _hash_code.__wrapped__(copied), file.read_text("utf-8")
    file.write_text(text + "\n# changed\n", "utf-8")
    changed = _hash_code.__wrapped__(copied)
    file.write_text(text, "utf-8")
    assert changed != before == _hash_code.__wrapped__(copied)


def test_a_renamed_module_changes_the_digest(copied: Path) -> None:
    before, file = _hash_code.__wrapped__(copied), copied / "errors.py"
    file.rename(copied / "faults.py")
    changed = _hash_code.__wrapped__(copied)
    (copied / "faults.py").rename(file)
    assert changed != before
