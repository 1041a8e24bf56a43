"""Broker URLs: parse, connect, check the server, and keep passwords out of messages."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ..errors import BrokerError

#: Kombu needs ``ZRANGE ... BYSCORE REV``, which came with Redis 6.2.
MIN_VERSION = (6, 2)
_URL_HINT = "Write redis://host:port/number, rediss://... or redis+socket:///path."


def parse_version(text: str) -> tuple[int, ...]:
    """``(7, 2, 4)`` for ``"7.2.4"``; at most three numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def redact_url(url: str) -> str:
    """Replace the password in ``url``, if any, by ``***``; also in malformed URLs."""
    url = re.sub(r"([?&]\w*password=)[^&]*", r"\1***", url)
    scheme, mark, rest = url.partition("://")
    if not mark or rest.startswith("/"):  # the path of a socket, which may contain an @
        return url
    credentials, at, place = rest.rpartition("@")
    if not at:
        return url
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}@{place}"


def check_broker(url: str) -> None:
    """Check that a Redis server answers and that Celery can use it.

    Raises:
        BrokerError: the URL is invalid, nothing answers, the password is refused, or the server
            is too old, a replica or a cluster. The message never contains the password.
    """
    import redis

    client = connect(url)
    shown = redact_url(url)
    try:
        client.ping()
        server = _info(client, "server")
        replication = _info(client, "replication")
    except redis.AuthenticationError:
        raise BrokerError(
            f"{shown} refuses the user or password.",
            hint="Put them into the URL: redis://user:password@host/0, or redis://:password@host/0"
            " without a user.",
        ) from None
    except (redis.RedisError, OSError, UnicodeError) as error:
        raise BrokerError(
            f"Redis does not answer at {shown}: {redact_line(str(error), url)}",
            hint="Check host, port and firewall. Without --broker, a private Redis is started.",
        ) from None
    finally:
        client.close()
    mode = str(server.get("redis_mode") or server.get("server_mode") or "standalone")  # Valkey's
    if mode != "standalone":
        raise BrokerError(
            f"{shown} runs in {mode} mode, which is not supported.",
            hint="Give the URL of a single Redis server.",
        )
    if replication.get("role") == "slave":
        raise BrokerError(f"{shown} is a read-only replica.", hint="Give the URL of its primary.")
    version = str(server.get("redis_version") or server.get("valkey_version") or "")
    if version and parse_version(version) < MIN_VERSION:
        raise BrokerError(
            f"{shown} is Redis {version}; 6.2 or newer is required.", hint="Update the server."
        )


def _info(client: Any, section: str) -> dict[str, Any]:
    import redis

    try:
        info: dict[str, Any] = client.info(section)
    except redis.ResponseError:
        return {}  # the user may lack the right to run INFO and still be able to use the queue
    return info


def connect(url: str) -> Any:
    """Make a redis-py client for a broker URL. It connects at its first command.

    Args:
        url: ``redis://[[user]:password@]host[:port][/number]``, ``rediss://...`` for TLS, or
            ``redis+socket:///path[?virtual_host=number]``, as Celery spells them.

    Raises:
        BrokerError: the URL is not a Redis URL.
    """
    import redis

    scheme, rest, database = _parse(url)
    if scheme == "redis+socket":
        return redis.Redis.from_url(f"unix://{rest}", db=database, socket_timeout=10)
    return redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5)


def _parse(url: str) -> tuple[str, str, int]:
    """Split a URL into scheme, the rest without its query, and database number.

    Raises:
        BrokerError: the URL is invalid; says how.
    """
    shown = redact_url(url)
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in ("redis", "rediss", "redis+socket"):
        raise BrokerError(f"{shown} is not a Redis URL.", hint=_URL_HINT)
    # Error texts of urllib are dropped, since they may quote a part of the password.
    try:
        parts = urlsplit(f"http://{rest}")
        query = parse_qs(parts.query)
        if scheme == "redis+socket":
            number = query.get("virtual_host", ["0"])[0]
            fault = "names no socket" if parts.path in ("", "/") else ""
        else:
            number = parts.path.strip("/") or "0"
            fault = "" if parts.hostname and parts.port != 0 else "names no host"
            if "@" in parts.path + parts.query + parts.fragment:
                fault = "has a password with / ? or #, which must be written %2F %3F %23"
        if query.keys() & {"password", "username"}:  # Kombu fails on them
            fault = "has a user or password after the ?, which must be before the @"
    except ValueError:
        number, fault = "0", "names no usable host and port"
    if not fault and not number.isdigit():
        fault = "names no database number"
    if fault:
        raise BrokerError(f"The broker URL {shown} {fault}.", hint=_URL_HINT)
    return scheme, rest.partition("?")[0], int(number)


def redact_line(text: str, url: str) -> str:
    """Join ``text`` into one line and remove the password of ``url``."""
    return " ".join(redact_text(text, url).split())


def redact_text(text: str, url: str) -> str:
    """Replace the password of ``url`` in ``text``, both percent-encoded and decoded."""
    text = text.replace(url, redact_url(url))
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    secrets = [credentials.partition(":")[2]] if at else []
    secrets += re.findall(r"[?&]\w*password=([^&]+)", url)
    for secret in filter(None, secrets):
        text = text.replace(secret, "***").replace(unquote(secret), "***")
    return text
