"""Every dependency has its reason in docs/dependencies.md, and its version in constraints.txt."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
TRAIN = [Requirement(line) for line in PROJECT["optional-dependencies"]["train"]]
PARQUET = [Requirement(line) for line in PROJECT["optional-dependencies"]["parquet"]]
JXL = [Requirement(line) for line in PROJECT["optional-dependencies"]["jxl"]]
#: The first is the project itself, for its extra.
DEV = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"][1:]]
#: Torch pins these itself, and they differ from one build of it to the next.
TORCHS_OWN = re.compile(r"nvidia-|cuda-|triton|setuptools")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [re.fullmatch(r"([\w.-]+)==([\w.]+)", ln) for ln in lines if not ln.startswith("#")]
    assert all(found), "a line that is no exact version"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def section(title: str) -> set[str]:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    body = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"(?m)^\| `([\w-]+)` \| \S", body))


@pytest.mark.parametrize(
    ("title", "wanted"),
    [
        ("Runtime", RUNTIME),
        ("Training", TRAIN),
        ("Parquet", PARQUET),
        ("JPEG XL", JXL),
        ("Development", DEV),
    ],
)
def test_each_dependency_has_its_line_and_each_line_its_dependency(title, wanted):
    assert section(title) == {requirement.name for requirement in wanted}


@pytest.mark.parametrize("requirement", RUNTIME + TRAIN + PARQUET + JXL + DEV, ids=lambda r: r.name)
def test_the_pinned_version_lies_in_the_range(requirement):
    pin = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin, prereleases=True)


def test_every_package_that_comes_along_is_pinned_too():
    pinned, seen = pins(), set()
    waiting = [
        (requirement, "this project") for requirement in RUNTIME + TRAIN + PARQUET + JXL + DEV
    ]
    while waiting:
        requirement, wanted_by = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in seen or TORCHS_OWN.match(name):
            continue
        seen.add(key)
        assert name in pinned, f"{name}, wanted by {wanted_by}"
        extras = ["", *requirement.extras]
        for line in metadata.requires(name) or []:
            further = Requirement(line)
            if not further.marker or any(further.marker.evaluate({"extra": e}) for e in extras):
                waiting.append((further, name))
