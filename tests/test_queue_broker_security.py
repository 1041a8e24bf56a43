"""A Redis on a network: TLS, and a user with only the rights that docs/deploy.md lists.

A whole job runs through it, and its password appears in no file, log or process list.
"""

import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import redis as redis_py
from kombu import pools

from ip2p_batch import scheduler
from ip2p_batch.errors import BrokerError
from ip2p_batch.queue import private_redis, redis_url
from ip2p_batch.queue.celery_executor import CeleryExecutor

from .jobs import image_job
from .waiting import wait_for
from .worker_processes import ROOT, run_launcher, worker_env

PASSWORD = "tell-n0body/of#this"


class TlsProxy:
    """Takes TLS connections and passes on what they say: the bundled server has no TLS itself."""

    def __init__(self, certificate, key, port):
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._target = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain):
        try:
            client = self._context.wrap_socket(plain, server_side=True)
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:  # a client that does not trust us
            plain.close()
            return
        threading.Thread(target=self._pass, args=(server, client), daemon=True).start()
        self._pass(client, server)

    def _pass(self, source, target):
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self):
        self._socket.close()


def authority(folder):
    """A certificate authority of one's own, and a certificate for 127.0.0.1 by it."""
    folder.mkdir()

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-nodes")
    openssl(
        "req",
        "-x509",
        *new,
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=own",
        "-days",
        "2",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,keyCertSign",
    )
    openssl("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=redis")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl(
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-set_serial",
        "1",
        "-out",
        "server.pem",
        "-days",
        "2",
        "-extfile",
        "names",
    )
    return folder


def documented_rule():
    """The ACL rule that docs/deploy.md gives."""
    (rule,) = re.findall(r"ACL SETUSER (ip2p .*)", (ROOT / "docs" / "deploy.md").read_text())
    return rule.replace("PASSWORD", PASSWORD).split()


class Guarded:
    def __init__(self, port, tls, certificates):
        self.port, self.tls, self.certificates = port, tls, certificates

    def plain(self):
        return f"redis://ip2p:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/0"

    def url(self, query="ssl_ca_certs={ca}", host="127.0.0.1"):
        query = query.format(ca=self.certificates / "ca.pem")
        return f"rediss://ip2p:{quote(PASSWORD, safe='')}@{host}:{self.tls}/0?{query}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    base = tmp_path_factory.mktemp("guarded")
    certificates = authority(base / "tls")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [private_redis.find_server(), "--port", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--save", "", "--dir", str(base)], stdout=subprocess.DEVNULL
    )
    try:
        with redis_py.Redis(port=port) as admin:
            wait_for(lambda: _pings(admin))
            admin.execute_command("ACL", "SETUSER", *documented_rule())
            admin.execute_command("ACL", "SETUSER", "default", "off")
        proxy = TlsProxy(certificates / "server.pem", certificates / "server.key", port)
        yield Guarded(port, proxy.port, certificates)
        proxy.close()
    finally:
        process.kill()
        process.wait()


def _pings(client):
    try:
        return client.ping()
    except redis_py.ConnectionError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_job_runs_over_tls_as_the_documented_user_and_shows_no_password(tmp_path, guarded):
    url = guarded.url()
    redis_url.check_broker(url)
    job = image_job(tmp_path, 4, each=2)
    executor = CeleryExecutor(url)
    log = tmp_path / "log"
    with run_launcher(url, log) as process:
        events = list(scheduler.follow_job(job, executor))
        assert events[-1].kind == "done", events[-1]
        (worker,) = executor.workers()
        assert worker.startswith("cpu0-")
        assert executor.queue_length() == 0
        family = list(_family(process.pid))
        assert len(family) >= 3  # launcher, worker, and its child
        for pid in family:
            for name in ("cmdline", "comm"):
                assert _clean(Path(f"/proc/{pid}/{name}").read_bytes()), name
    executor.close()
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert _clean(repr(events).encode())
    assert not list(
        filter(lambda p: p.is_file() and not _clean(p.read_bytes()), tmp_path.rglob("*"))
    )


def _clean(data):
    spellings = (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD))
    return not any(spelling.encode() in data for spelling in spellings)


def _family(pid):
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def test_a_worker_that_cannot_connect_reports_it_without_the_password(tmp_path, guarded):
    log = tmp_path / "log"
    with run_launcher(guarded.plain().replace("redis://ip2p:", "redis://unknown:"), log):
        wait_for(lambda: "Cannot connect" in log.read_text())
    assert _clean(log.read_bytes())


@pytest.mark.parametrize(
    ("command", "change"),
    [
        ("edit", lambda url: url.replace("ip2p:", "ip2p:no")),
        ("edit", lambda url: f"{url}x"),
        ("doctor", lambda url: url.replace("ip2p:", "ip2p:no")),
        ("worker", lambda url: re.sub(r":\d+/", ":1/", url)),
    ],
)
def test_no_command_shows_the_password_when_redis_refuses_or_is_offline(
    tmp_path, guarded, command, change
):
    picture = image_job(tmp_path, 1).job().source.path
    arguments = {"edit": [picture, "x", "-o", str(tmp_path / "o"), "--json"], "doctor": ["--json"]}
    done = subprocess.run(
        [sys.executable, "-m", "ip2p_batch", command, *arguments.get(command, [])],
        env=worker_env(change(guarded.plain())), capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert _clean(done.stdout + done.stderr), done.stderr
    assert b"Traceback" not in done.stderr
    assert not [p for p in _written(tmp_path) if not _clean(p.read_bytes())]


def _written(tmp_path):
    for root in (tmp_path, Path(os.environ["XDG_STATE_HOME"])):
        yield from (p for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    "query", ["ssl_cert_reqs=required&ssl_ca_certs={ca}", "ssl_ca_certs={ca}", "ssl_cert_reqs=none"]
)
def test_a_certificate_is_checked_against_the_given_authority(guarded, query):
    url = guarded.url(query)
    redis_url.check_broker(url)
    executor = CeleryExecutor(url)
    assert executor.queue_length() == 0
    assert executor.workers(timeout=0.1) == []
    executor.close()


@pytest.mark.parametrize("query", ["", "ssl_cert_reqs=required", "ssl_ca_certs={other}"])
@pytest.mark.parametrize("connect", ["check", "celery"])
def test_a_certificate_of_another_authority_is_refused(tmp_path, guarded, query, connect):
    if "other" in query:
        query = query.format(other=authority(tmp_path / "other") / "ca.pem")
    url = guarded.url(query).rstrip("?")
    pools.reset()  # Kombu's know two URLs apart by host and user only, in one process
    with pytest.raises(BrokerError, match=r"(?i)certificate") as error:
        if connect == "check":
            redis_url.check_broker(url)
        else:
            CeleryExecutor(url).workers(timeout=0.1)
    assert _clean(error.value.message.encode())


def test_a_certificate_for_another_host_is_refused(guarded):
    for ask in (redis_url.check_broker, lambda url: CeleryExecutor(url).workers(timeout=0.1)):
        with pytest.raises(BrokerError, match=r"(?i)certificate|hostname"):
            ask(guarded.url(host="localhost"))


def test_the_documented_user_may_do_nothing_else(guarded):
    client = redis_url.connect(guarded.plain())
    for command in (
        ["CONFIG", "GET", "*"], ["KEYS", "*"], ["FLUSHALL"], ["ACL", "LIST"], ["SHUTDOWN"],
        ["GET", "other"], ["PUBLISH", "other", "x"], ["MONITOR"], ["DEBUG", "SLEEP", "0"],
        ["REPLICAOF", "127.0.0.1", "1"], ["MODULE", "LIST"], ["CLIENT", "LIST"],
        ["EVAL", "return redis.call('get', 'other')", "0"],
    ):  # fmt: skip
        with pytest.raises(redis_py.ResponseError, match=r"(?i)permission|not allowed"):
            client.execute_command(*command)
    client.close()
