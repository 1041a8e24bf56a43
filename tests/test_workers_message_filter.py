"""A real worker drops hostile messages, runs nothing of them, and continues."""

import base64
import json
import os
import pickle
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ip2p_batch
from ip2p_batch import scheduler
from ip2p_batch.jobs.codec import encode
from ip2p_batch.jobs.spec import Job
from ip2p_batch.queue import redis_url
from ip2p_batch.queue.celery_app import make_app
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.messages import build_message
from ip2p_batch.queue.private_redis import PrivateRedis
from ip2p_batch.storage.atomic import write_atomic
from workers import message_filter

from .jobs import image_job
from .waiting import wait_for
from .worker_processes import run_launcher


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A worker that may use one folder and only bundled models."""
    base = tmp_path_factory.mktemp("target")
    (base / "root").mkdir()
    env = {"IP2P_ALLOWED_ROOTS": str(base / "root"), "IP2P_ALLOWED_MODELS": "identity, tiny"}
    with PrivateRedis() as redis, run_launcher(redis.url, base / "log", **env) as process:
        target = Target(base, redis, process)
        yield target
        target.executor.close()


class Target:
    def __init__(self, base, redis, process):
        self.base, self.redis, self.process = base, redis, process
        self.root, self.log = base / "root", base / "log"
        self.executor = CeleryExecutor(redis.url)
        self.number = 0

    def job(self, pictures=1, root=None, **options):
        self.number += 1
        return image_job((root or self.root) / str(self.number), pictures, **options)

    def push(self, *raw):
        client = redis_url.connect(self.redis.url)
        for text in raw:
            client.lpush("ip2p:chunks", text)
        client.close()

    def log_text(self):
        return self.log.read_text(errors="replace")

    def worker(self):
        """The pids of the processes that take the messages."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return wait_for(lambda: path.read_text().split())

    def still_works(self):
        """Whether the worker does a valid job."""
        job = self.job(root=self.root / "valid")
        scheduler.dispatch_next(job, self.executor)
        assert wait_for(job.result).frames == 1
        wait_for(lambda: self.executor.queue_length() == 0)
        return True


def good(job, **changes):
    """A valid message, with changes to its parts."""
    kwargs = build_message(job, job.plan().chunks[0].id, job.job().fingerprint())
    parts = {
        "args": [], "kwargs": kwargs, "embed": {}, "body": None, "type": "application/json",
        "encoding": "utf-8", "headers": {"task": "ip2p.chunk", "id": "1"},
        "properties": {
            "delivery_tag": os.urandom(8).hex(), "body_encoding": "base64", "priority": 0,
            "delivery_info": {"exchange": "", "routing_key": "chunks"},
        },
    }  # fmt: skip
    for name, value in changes.items():
        old = parts[name]
        parts[name] = old | value if isinstance(old, dict) and isinstance(value, dict) else value
    return raw(**parts)


def raw(*, args, kwargs, embed, body, type, encoding, headers, properties):
    if body is None:
        body = json.dumps([args, kwargs, embed]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(), "content-type": type,
            "content-encoding": encoding, "headers": headers, "properties": properties,
        }
    )  # fmt: skip


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def hostile(job, tmp_path):
    """Messages that a worker must drop, each by what is wrong with it."""
    bomb = tmp_path / "bomb"
    call = {"task": "ip2p.assemble", "args": [], "kwargs": {}, "options": {}}
    secrets = tmp_path / "secrets"
    return {
        "no JSON": "}{", "nothing": "", "not UTF-8": b"\xff\xfe", "a number": "7", "null": "null",
        "a list": "[]", "an empty object": "{}", "no properties": '{"body": "", "headers": {}}',
        "deep": "[" * 60000, "too long": '{"body": "' + "A" * message_filter.MAX_BYTES + '"}',
        "pickle": good(job, type="application/x-python-serialize", encoding="binary",
                       body=pickle.dumps(([], Bomb(bomb), {}))),
        "pickle that says it is JSON": good(job, body=pickle.dumps(Bomb(bomb))),
        "yaml": good(job, type="application/x-yaml",
                     body=f"!!python/object/apply:os.mkdir ['{bomb}']".encode()),
        "compressed": good(job, headers={"compression": "application/x-gzip"}),
        "another task": good(job, headers={"task": "celery.map"}),
        "no such task": good(job, headers={"task": "os.system"}),
        "no task": good(job, headers={"task": None}), "no id": good(job, headers={"id": None}),
        "a time to wait": good(job, headers={"eta": "2999-01-01T00:00:00"}),
        "a limit to die of": good(job, headers={"timelimit": [1, None]}),
        "no number": good(job, headers={"ip2p_folder_missing": "x"}),
        "many times": good(job, headers={"ip2p_chunk_taken": "1000"}),
        "many retries": good(job, headers={"retries": -1000}),
        "positional": good(job, args=["/etc"]),
        "a callback": good(job, embed={"callbacks": [call]}),
        "an errback": good(job, embed={"errbacks": [call]}),
        "a chord": good(job, embed={"chord": call}),
        "a chain": good(job, embed={"chain": [call]}),
        "unknown field": good(job, kwargs={"pixels": "AAAA"}),
        "no path": good(job, kwargs={"job": 7}), "relative": good(job, kwargs={"job": "root/job"}),
        "upwards": good(job, kwargs={"job": f"{job.path}/../../x"}),
        "NUL": good(job, kwargs={"job": f"{job.path}\0/etc"}),
        "a line of its own": good(job, kwargs={"job": "/x\nERROR root all is lost"}),
        "long": good(job, kwargs={"job": "/" + "x" * 5000}),
        "half a character": good(job, kwargs={"job": "/x/\ud800"}),
        "not a chunk": good(job, kwargs={"chunk": "../../etc/passwd"}),
        "a list of chunks": good(job, kwargs={"chunk": ["1-000000"]}),
        "no fingerprint": good(job, kwargs={"fingerprint": "../x"}),
        "assembly of a chunk": good(job, headers={"task": "ip2p.assemble"}),
        "elsewhere": good(job, kwargs={"job": str(secrets)}),
        "everything": good(job, kwargs={"job": "/"}),
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_hostile_messages_do_nothing_and_the_worker_continues(target, tmp_path):
    assert target.still_works()
    before = target.worker()
    job = target.job()
    messages = hostile(job, tmp_path)
    target.push(*messages.values())
    wait_for(lambda: target.executor.queue_length() == 0, 90)
    assert target.still_works()
    assert target.worker() == before, "the worker was restarted"
    assert target.log_text().count("message dropped") == len(messages)
    assert "Traceback" not in target.log_text()
    assert not any(line.startswith("ERROR root") for line in target.log_text().splitlines())
    assert list(tmp_path.iterdir()) == []  # no pickle was loaded, nothing was written
    assert not job.receipts.ids() and not list(job.failures.all()) and not job.result()
    assert max(map(len, target.log_text().splitlines())) < 6000


@settings(max_examples=40)
@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_any_other_json_is_refused_with_a_reason(value):
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        message_filter.read(json.dumps(value).encode())


def test_a_valid_message_passes_unchanged(tmp_path):
    text = good(image_job(tmp_path, 1))
    assert message_filter.read(text.encode()) == json.loads(text)


def test_a_job_folder_outside_the_roots_is_refused_by_name(target, tmp_path):
    outside = image_job(tmp_path, 1)
    (target.root / "gate").symlink_to(outside.path)
    (target.root / "gate2").symlink_to(tmp_path)
    for path in (outside.path, target.root / "gate", target.root / "gate2" / "job"):
        target.push(good(outside, kwargs={"job": str(path)}))
        wait_for(
            lambda path=path: (
                f"{path} is outside the folders that this worker may" in target.log_text()
            )
        )
    assert target.still_works()
    assert sorted(p.name for p in outside.path.iterdir()) == [
        "items.jsonl", "job.json", "plan.json", "recipe.toml",
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()


def changed(job, **fields):
    """The same job folder with another ``job.json``, as an attacker could write it."""
    values = {name: getattr(job.job(), name) for name in Job.__struct_fields__}
    write_atomic(job.path / "job.json", encode(Job(**(values | fields))))
    return job


def failure(target, job):
    scheduler.dispatch_next(job, target.executor)
    (failed,) = wait_for(lambda: list(job.failures.all()))
    assert failed.attempts == 1, "a refusal is not retried"
    return failed


def test_a_source_outside_the_roots_is_a_failure_that_says_so(target, tmp_path):
    demo = Path(ip2p_batch.__file__).parent / "demo" / "clip.mp4"
    job = _video_job(target, tmp_path, demo)
    failed = failure(target, job)
    assert failed.error == "OutsideRoots"
    assert str(demo) in failed.message and "IP2P_ALLOWED_ROOTS" in failed.message
    assert str(target.root) in failed.hint


def _video_job(target, tmp_path, source):
    from ip2p_batch.recipe import Recipe
    from ip2p_batch.settings import Settings

    recipe = Recipe(instruction="x", model="identity", size=64, carryover=0, temporal_filter=0)
    request = scheduler.EditRequest(
        source=source, recipe=recipe, output=target.root / "o.mp4", end=0.2
    )
    env = {"IP2P_JOBS_DIR": str(target.root / "jobs")}
    return scheduler.create_job(request, Settings.from_env(env))


def test_an_output_outside_the_roots_is_a_failure_that_says_so(target, tmp_path):
    demo = target.root / "clip.mp4"
    demo.write_bytes((Path(ip2p_batch.__file__).parent / "demo" / "clip.mp4").read_bytes())
    job = changed(_video_job(target, tmp_path, demo), output=str(tmp_path / "o.mp4"))
    failed = failure(target, job)
    assert (failed.chunk, failed.error) == ("assemble", "OutsideRoots")
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("timbrooks/instruct-pix2pix", "ModelError", "IP2P_ALLOWED_MODELS"),
        ("identityy", "ModelError", "IP2P_ALLOWED_MODELS"),
        ("{root}/model", "ModelError", "IP2P_ALLOWED_MODELS"),
        ("{base}/tiny", "ModelError", "IP2P_ALLOWED_MODELS"),
    ],
)
def test_a_model_that_is_not_allowed_is_a_failure(target, model, error, words):
    (target.base / "tiny").mkdir(exist_ok=True)
    (target.root / "model").mkdir(exist_ok=True)
    job = target.job(model=model.format(root=target.root, base=target.base))
    failed = failure(target, job)
    assert failed.error == error and words in failed.message
    assert target.still_works()


def test_control_commands_that_would_stop_a_worker_are_rejected(target):
    before = target.worker()
    with make_app(target.redis.url) as app:
        assert app.control.ping(timeout=10, limit=1)
        for command, arguments in (
            ("shutdown", {}), ("pool_shrink", {"n": 1}),
            ("pool_restart", {"modules": ["antigravity"]}),
            ("add_consumer", {"queue": "other"}), ("cancel_consumer", {"queue": "chunks"}),
            ("time_limit", {"task_name": "ip2p.chunk", "hard": 1}),
            ("rate_limit", {"task_name": "ip2p.chunk", "rate_limit": "1/h"}),
            ("terminate", {"signal": "KILL", "task_id": "1"}), ("objgraph", {}),
        ):  # fmt: skip
            (answer,) = app.control.broadcast(
                command, arguments=arguments, reply=True, timeout=10, limit=1
            )
            assert "rejected" in str(answer), command
        client = redis_url.connect(target.redis.url)
        for text in ("{}", "7", "}{", '{"properties": 1}'):
            client.publish("ip2p:/0.celery.pidbox", text)
        client.close()
        assert app.control.ping(timeout=10, limit=1)
    assert target.still_works()
    assert target.worker() == before


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_damaged_unacknowledged_messages_are_dropped_and_the_others_restored(target):
    """After the visibility timeout a worker restores the messages of dead workers."""
    assert target.still_works()
    before = target.worker()
    job = target.job()
    valid = json.loads(good(job))
    entries = {
        "no JSON": "}{", "not UTF-8": b"\xff\xfe", "a number": "7", "null": "null", "empty": "",
        "a short list": "[]", "numbers": "[1, 2, 3]", "deep": "[" * 60000,
        "a text": '["x", "", "chunks"]', "an empty message": '[{}, "", "chunks"]',
        "headers of no kind": '[{"headers": 1, "properties": {}}, "", "chunks"]',
        "elsewhere": json.dumps([valid, "", "other"]),
        "no queue": json.dumps([valid, {"a": 1}, ["x"]]),
        "not ours": json.dumps([json.loads(good(job, kwargs={"pixels": "A"})), "", "chunks"]),
        b"\xff a tag": "[",
    }  # fmt: skip
    old = len(target.log_text())
    client = redis_url.connect(target.redis.url)
    tags = {**entries, "good": json.dumps([valid, "", "chunks"]), "gone": None}
    client.hset("ip2p:unacked", mapping={k: v for k, v in tags.items() if v is not None})
    client.zadd("ip2p:unacked_index", dict.fromkeys(tags, 1.0))
    wait_for(lambda: not client.hlen("ip2p:unacked") and not client.zcard("ip2p:unacked_index"))
    assert wait_for(job.result).frames == 1
    assert client.llen("ip2p:other") == 0
    assert target.log_text()[old:].count("message dropped") == len(entries)
    # A key of another type under that name: nothing is restored, and the worker continues.
    client.set("ip2p:unacked_index", "x")
    wait_for(lambda: "were not restored" in target.log_text(), 60)
    client.delete("ip2p:unacked_index")
    client.close()
    assert target.still_works()
    assert target.worker() == before, "the worker was restarted"
    assert "Traceback" not in target.log_text()[old:]
    assert max(map(len, target.log_text()[old:].splitlines())) < 6000
