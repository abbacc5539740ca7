"""Make a release: from a clean checkout at the tag vVERSION to the files that are uploaded.

Usage: python3 .ci/release.py HOME [FOLDER], where HOME is the address of the repository (https://HOST/OWNER/onnxspace), FOLDER
[dist] receives the wheel, the sdist and NOTES.md, the changelog's section of the version. README's links are made absolute, since
a package index shows that page alone, and HOME goes into the metadata. `.ci/package` examines and tries what is built here.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

TREE = Path(__file__).parent.parent
DATED = r"^## {version} \(\d{{4}}-\d\d-\d\d\)\n(.*?)(?=^## |\Z)"


def main(home: str, folder: str = "dist") -> None:
    """Check the state of the checkout, and build."""
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    notes = find_notes(read("CHANGELOG.md"), version)
    check_state(version)
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        git("worktree", "add", "--quiet", "--detach", str(tree))
        try:
            name_home(tree, home.rstrip("/"), version)
            subprocess.run([sys.executable, "-m", "build", "--outdir", str(Path(folder).resolve()), str(tree)], check=True)
        finally:
            git("worktree", "remove", "--force", str(tree))
    (Path(folder) / "NOTES.md").write_text(notes, "utf-8")
    print(f"{folder} has version {version}. Try it with .ci/package, then: twine upload {folder}/onnxspace-{version}*")


def read(name: str) -> str:
    return (TREE / name).read_text("utf-8")


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(TREE), *arguments], check=True, capture_output=True, text=True).stdout.strip()


def find_notes(changelog: str, version: str) -> str:
    """The changelog's section of a version, which must have a date."""
    found = re.search(DATED.format(version=re.escape(version)), changelog, re.S | re.M)
    if found is None:
        sys.exit(f"CHANGELOG.md has no heading '## {version} (YYYY-MM-DD)'.")
    return found[1].strip() + "\n"


def check_state(version: str) -> None:
    """Stop where the checkout is not what the tag of the version names, or where CITATION.cff has another version."""
    if git("status", "--porcelain"):
        sys.exit("The checkout has changes. Commit or remove them.")
    if f"v{version}" not in git("tag", "--points-at", "HEAD").split():
        sys.exit(f"HEAD has no tag v{version}: git tag v{version}")
    if f"version: {version}\n" not in read("CITATION.cff"):
        sys.exit(f"CITATION.cff does not have version {version}.")


def name_home(tree: Path, home: str, version: str) -> None:
    """Make README's links absolute, and name the repository in the metadata."""
    readme = tree / "README.md"
    readme.write_text(make_absolute(readme.read_text("utf-8"), home, version), "utf-8")
    project = tree / "pyproject.toml"
    urls = {"Source": home, "Documentation": f"{home}/tree/v{version}/docs", "Changelog": f"{home}/blob/v{version}/CHANGELOG.md",
            "Issues": f"{home}/issues"}  # fmt: skip
    table = "[project.urls]\n" + "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    project.write_text(f"{project.read_text('utf-8')}\n{table}", "utf-8")


def make_absolute(text: str, home: str, version: str) -> str:
    """Return a page with links and pictures that lead to the repository's files at the tag."""
    text = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:|#)", rf"\1{home}/raw/v{version}/", text)
    return re.sub(r"((?<!!)\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\]\()(?![a-z]+:|#)", rf"\1{home}/blob/v{version}/", text)


if __name__ == "__main__":
    main(*sys.argv[1:])
