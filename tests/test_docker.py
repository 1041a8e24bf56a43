"""The Docker images, as far as they can be tested without an engine that builds them."""

import importlib.util
import re
import subprocess
import sys
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import typer
import yaml

from ip2p_batch.cli.app import app
from ip2p_batch.queue.local_workers import LocalWorkers
from ip2p_batch.queue.messages import SOFT_SHUTDOWN
from ip2p_batch.queue.private_redis import PrivateRedis
from workers import launcher

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSE = DOCKER / "compose.yaml"


@pytest.fixture
def services():
    return yaml.safe_load(COMPOSE.read_text())["services"]


def run(*command: str | Path) -> str:
    """What a tool has to complain of; empty where it is content."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    lines = re.sub(r"(?m)^#.*\n", "", dockerfile.read_text()).replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (ln.partition(" ") for ln in lines) if word]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_passes_the_linter(dockerfile):
    hadolint = Path(sys.executable).with_name("hadolint")
    assert run(hadolint, "--failure-threshold", "style", dockerfile) == ""


def test_the_compose_file_fits_the_published_schema():
    builtin = ("--builtin-schema", "vendor.compose-spec")
    assert run(sys.executable, "-m", "check_jsonschema", *builtin, COMPOSE) == ""


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_a_dockerfile_copies_is_there_and_let_through(dockerfile):
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = [p[1:] for p in patterns if p.startswith("!")]
    copied = [
        source
        for word, rest in instructions(dockerfile)
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert source == "." or source in let_through


def test_the_package_is_let_through_whole():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {project["project"]["readme"], *project["project"]["license-files"]}
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    let_through = (ROOT / ".dockerignore").read_text().split()
    for name in needed:
        assert f"!{name}" in let_through
    for pattern in found:
        assert any(fnmatch(line, f"!{pattern}") for line in let_through)


def test_images_run_without_root_and_receive_signals_directly():
    for dockerfile in DOCKERFILES:
        said = instructions(dockerfile)
        assert [rest for word, rest in said if word == "USER"][-1] == "1000:1000"
        for word, rest in said:
            assert word not in ("ENTRYPOINT", "CMD") or rest.startswith("[")


def test_compose_builds_what_there_is(services):
    for service in services.values():
        if "build" not in service:
            continue
        build = service["build"]
        dockerfile = (DOCKER / build["context"] / build["dockerfile"]).resolve()
        assert dockerfile in DOCKERFILES
        stages = [rest.split()[-1] for word, rest in instructions(dockerfile) if word == "FROM"]
        assert build.get("target", stages[-1]) in stages


def test_compose_gives_commands_that_there_are(services):
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name in ("worker", "worker-cpu", "cli"):
        first, *options = services[name]["command"]
        declared = {o for parameter in known[first].params for o in parameter.opts}
        assert {o for o in options if o.startswith("-")} <= declared


def test_containers_are_given_the_time_that_workers_take_to_leave(services):
    needed = SOFT_SHUTDOWN + launcher._RELEASE_SECONDS
    for name in ("worker", "worker-cpu"):
        assert int(services[name]["stop_grace_period"].removesuffix("s")) >= 1.5 * needed


def test_redis_keeps_its_queue(services):
    redis = services["redis"]
    flags = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert flags["--appendonly"] == "yes"
    assert flags["--maxmemory-policy"] == "noeviction"
    assert "--requirepass" in flags


def test_every_variable_of_the_compose_file_is_in_the_example():
    used = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", COMPOSE.read_text()))
    shown = set(re.findall(r"(?m)^#?([A-Z0-9_]+)=", (DOCKER / "env.example").read_text()))
    assert used == shown


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="containers are Linux")
def test_the_health_check_sees_a_worker_and_that_it_is_gone(tmp_path):
    spec = importlib.util.spec_from_file_location("healthcheck", DOCKER / "healthcheck.py")
    healthcheck = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(healthcheck)
    proc = Path("/proc")

    def ours(parent: int) -> set[int]:
        """Others may be at work on this machine, too."""
        return {
            pid
            for pid in healthcheck.workers(proc)
            if f"\nPPid:\t{parent}\n" in (proc / str(pid) / "status").read_text()
        }

    with PrivateRedis() as redis, LocalWorkers(redis.url, 1, "cpu", tmp_path / "log") as fleet:
        deadline = time.monotonic() + 60
        while not (found := ours(fleet._process.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(found) == 1
        assert run(sys.executable, "-I", "-S", DOCKER / "healthcheck.py") == ""
    assert not found & set(healthcheck.workers(proc))
