"""The Celery app's configuration and the executor, on a real Redis."""

import json
import ssl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.errors import BrokerError, JobError
from ip2p_batch.jobs.folder import JobFolder
from ip2p_batch.queue import messages, redis_url
from ip2p_batch.queue.celery_app import make_app
from ip2p_batch.queue.celery_executor import CeleryExecutor
from ip2p_batch.queue.messages import build_message, read_message

from .jobs import image_job


def waiting(redis) -> list[dict]:
    """The messages in the queue, first come first."""
    client = redis_url.connect(redis.url)
    try:
        return [json.loads(m) for m in client.lrange("ip2p:chunks:3", 0, -1)][::-1]
    finally:
        client.close()


def body(message) -> list:
    import base64

    return json.loads(base64.b64decode(message["body"]))


def test_messages_are_small_json_references_without_pixels(tmp_path, redis, executor):
    job = image_job(tmp_path, 3)
    executor.enqueue(job, job.plan().chunks)
    executor.enqueue_assembly(job)
    messages = waiting(redis)
    assert [m["headers"]["task"] for m in messages] == ["ip2p.chunk"] * 3 + ["ip2p.assemble"]
    for sent in messages:
        assert sent["content-type"] == "application/json"
        args, kwargs, _ = body(sent)
        assert args == []
        assert set(kwargs) == {"job", "chunk", "fingerprint"}
        assert kwargs["job"] == str(tmp_path / "job")
        assert kwargs["fingerprint"] == job.job().fingerprint()
    assert [body(m)[1].get("chunk") for m in messages] == [
        "1-000000", "1-000001", "1-000002", "assemble",
    ]  # fmt: skip
    payload = [build_message(job, c.id, "f" * 64) for c in job.plan().chunks]
    assert max(len(json.dumps(p)) for p in payload) < 1000


@settings(max_examples=20)
@given(st.text("abc/é", min_size=1, max_size=60))
def test_a_message_names_an_absolute_job_folder(path):
    values = build_message(JobFolder(path), "2-000017", "0" * 64)
    assert values["job"].startswith("/")
    assert values.keys() == {"job", "chunk", "fingerprint"}


@pytest.mark.parametrize(
    "path", ["/x\0", "/x\0/etc", "/x\n", "/x\x7f", "x", "", "/x/../y", "/" * 5000]
)
def test_a_message_with_an_invalid_path_is_refused(path):
    whole = {"job": "/x", "fingerprint": "0" * 64, "chunk": "1-000000"}
    assert read_message(whole).job == "/x"
    with pytest.raises(JobError, match="Not a message of ip2p-batch") as error:
        read_message(whole | {"job": path})
    assert error.value.message.isprintable()


def test_waiting_and_unacknowledged_messages_are_counted(tmp_path, redis, executor):
    job = image_job(tmp_path, 5)
    assert executor.queue_length() == 0
    executor.enqueue(job, job.plan().chunks)
    assert executor.queue_length() == 5
    client = redis_url.connect(redis.url)
    client.rpop("ip2p:chunks:3")
    client.hset("ip2p:unacked", "tag", "message")
    client.close()
    assert executor.queue_length() == 5


def test_everything_in_redis_is_under_one_prefix(tmp_path, redis, executor):
    job = image_job(tmp_path, 1)
    executor.enqueue(job, job.plan().chunks)
    executor.workers(timeout=0.1)
    client = redis_url.connect(redis.url)
    keys = client.keys("*")
    client.close()
    assert keys and all(key.startswith(b"ip2p:") for key in keys)


def test_a_thousand_chunks_are_enqueued_over_one_connection(tmp_path, redis, executor):
    job = image_job(tmp_path, 1)
    (chunk,) = job.plan().chunks
    client = redis_url.connect(redis.url)
    before = client.info("stats")["total_connections_received"]
    executor.enqueue(job, [chunk] * 1000)
    after = client.info("stats")["total_connections_received"]
    client.close()
    assert executor.queue_length() == 1000
    assert after - before <= 3


def test_without_workers_there_is_no_answer(executor):
    assert executor.workers(timeout=0.2) == []


def test_a_wrong_url_is_refused_at_once():
    with pytest.raises(BrokerError, match="not a Redis URL"):
        CeleryExecutor("amqp://guest:secret@host//")


def test_a_lost_connection_is_one_line_without_the_password(tmp_path):
    job = image_job(tmp_path, 1)
    executor = CeleryExecutor("redis://:secret@127.0.0.1:1/0")
    calls = (
        lambda: executor.enqueue(job, job.plan().chunks),
        lambda: executor.enqueue_assembly(job),
        executor.queue_length,
        lambda: executor.workers(timeout=0.1),
    )
    for call in calls:
        with pytest.raises(BrokerError, match=r"redis://:\*\*\*@127\.0\.0\.1:1/0") as error:
            call()
        text = str(error.value) + error.value.hint
        assert "secret" not in text and "\n" not in text
        assert error.value.__cause__ is None
    executor.close()


def test_only_json_is_read():
    app = make_app("redis://host/0")
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"


def test_a_tls_broker_needs_a_valid_certificate_by_default():
    with make_app("rediss://host/0").connection_for_write() as connection:
        assert connection.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
    with make_app("rediss://host/0?ssl_cert_reqs=none").connection_for_write() as connection:
        assert connection.ssl == {"ssl_cert_reqs": ssl.CERT_NONE}


def test_one_worker_process_per_gpu_takes_one_chunk_at_a_time():
    conf = make_app("redis://host/0").conf
    assert (conf.worker_pool, conf.worker_concurrency) == ("prefork", 1)
    assert conf.worker_pool_start_method == "spawn"
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_acks_late and conf.task_retry_on_worker_lost
    assert conf.broker_transport_options["visibility_timeout"] == messages.VISIBILITY_TIMEOUT
