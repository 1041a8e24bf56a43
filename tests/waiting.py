"""Wait for conditions instead of fixed times, and a clock that a test sets."""

import time


def wait_for(condition, seconds=120.0):
    """Wait until ``condition()`` is true and return its value; fail after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not true within {seconds} s")


def wait_until_logged(client):
    """Wait until a Redis server has written all commands so far to its append-only file."""

    def is_written():
        facts = client.info("persistence")
        return facts["aof_buffer_length"] == facts["aof_pending_bio_fsync"] == 0

    wait_for(is_written)


class Clock:
    """A clock that a test sets, in place of ``time.monotonic``."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now
