"""Everything that the docs name exists: files, links, commands, options, variables, modules."""

import re
from functools import cache
from pathlib import Path

import pytest
import typer

import ip2p_batch
from ip2p_batch.cli.app import app

ROOT = Path(__file__).parents[1]
NAMES = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [ROOT / name for name in NAMES] + sorted((ROOT / "docs").glob("*.md"))
FOLDERS = "ip2p_batch|workers|training|benchmarks|examples|tests|docker|docs"
SOURCES = ("ip2p_batch", "workers", "training", "benchmarks", "examples", "tests", "docker")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def sources() -> str:
    """The text of all source files except this one."""
    files = [
        path
        for folder in SOURCES
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".yaml", ".Dockerfile", ".example"} and path != Path(__file__)
    ]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


@cache
def options() -> dict[str, set[str]]:
    """The options of each command."""
    group = typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        names = [n for p in command.params for n in (*p.opts, *p.secondary_opts)]
        found[name] = {"--help", *names}
    return found


@cache
def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    prose = re.sub(r"(?ms)^```.*?^```", "", text(page))
    headings = re.findall(r"(?m)^#+ (.+)$", prose)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@cache
def code(page: Path) -> list[str]:
    """Lines of code blocks, joined where they end in a backslash, and inline code."""
    blocks = re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", text(page))
    prose = re.sub(r"(?ms)^ *```.*?^ *```", "", text(page))
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return lines + [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose)]


@pages
def test_every_path_in_the_docs_exists(page):
    found = re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*\w(?!\w*\()", text(page))
    paths = {path for path in found if "." in Path(path).name}
    made_by_the_user = {"docker/.env"}
    missing = {path for path in paths - made_by_the_user if not any(ROOT.glob(path))}
    assert not missing


@pages
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (fragment and fragment not in anchors(path)):
            broken.append(target)
    assert not broken


@pages
def test_every_command_in_the_docs_exists_with_its_options(page):
    wrong = []
    for line in code(page):
        # The program as a word of its own, not in a path or as the name of an image.
        for call in re.findall(r"(?:^|[\s/(])(?:ip2p-batch|rm cli) ([^|#&;]+)", line):
            words = re.sub(r"\"[^\"]*\"", "TEXT", call).split()
            command = words[0]
            if not re.fullmatch(r"[a-z][a-z-]*", command):
                continue  # `ip2p-batch --help` and prose such as "ip2p-batch's"
            given = {w.partition("=")[0].rstrip(",.:") for w in words[1:] if re.match(r"-+\w", w)}
            if command not in options():
                wrong.append(line)
            else:
                wrong += [f"{o} in: {line}" for o in given - options()[command]]
    assert not wrong


@pages
def test_every_option_in_the_docs_belongs_to_some_command(page):
    known = set().union(*options().values())
    named = {o for line in code(page) for o in re.findall(r"(?<![\w-])--[a-z][\w-]+", line)}
    own = {option for option in named - known if not re.search(rf"{option}\b", sources())}
    others = {
        "--no-deps",
        "--nproc-per-node",
        "--time",
        "--build",
        "--port",
    }  # docker, pip, torchrun
    assert not own - others


@pages
def test_every_environment_variable_in_the_docs_is_read_somewhere(page):
    named = set(re.findall(r"\bIP2P_[A-Z][A-Z_]*[A-Z]\b", text(page)))
    assert not {name for name in named if not re.search(rf"\b{name}\b", sources())}


def test_every_environment_variable_that_is_read_is_in_the_docs():
    package = "\n".join(p.read_text() for p in (ROOT / "ip2p_batch").rglob("*.py"))
    read = set(re.findall(r"\"(IP2P_[A-Z_]+)\"", package))
    assert len(read) > 10
    assert not {name for name in read if name not in text(ROOT / "docs" / "deploy.md")}


@pages
def test_every_module_that_the_docs_run_exists(page):
    for name in re.findall(r"python -m ([a-z][\w.]*\w)", text(page)):
        if name in {"pip", "venv", "pytest"}:
            continue
        path = ROOT / Path(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


@pages
def test_every_make_target_in_the_docs_exists(page):
    targets = set(re.findall(r"(?m)^([a-z]+):", text(ROOT / "Makefile")))
    named = {m for line in code(page) for m in re.findall(r"(?:^|\s)make ([a-z]+)\b", line)}
    assert not {name for name in named if name not in targets and not name.startswith("it")}


@pages
def test_every_public_name_in_the_docs_exists(page):
    named = set(re.findall(r"\bip2p_batch\.([a-z_]+)\(", text(page)))
    assert not {name for name in named if not hasattr(ip2p_batch, name)}


def test_the_benchmarks_that_the_docs_list_are_programs():
    for name in re.findall(r"python -m benchmarks\.(\w+)", text(ROOT / "docs" / "performance.md")):
        assert "__main__" in (ROOT / "benchmarks" / f"{name}.py").read_text(), name


def fidelity_rows():
    lines = text(ROOT / "docs/fidelity.md").splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0].strip() != "input or fact"]


def test_every_row_of_the_fidelity_table_names_tests_that_exist():
    for row in fidelity_rows():
        named = re.findall(r"`(test_\w+)\.py::(test_\w+)`", row[2])
        assert len(row) == 3 and named, row
        for module, name in named:
            source = (ROOT / f"tests/{module}.py").read_text(encoding="utf-8")
            assert f"def {name}(" in source, f"{row[0]}: no {name} in {module}.py"
