"""Redis: a private one for the time of a command, and a check of one that is given.

The private server listens on a unix socket only. A guardian process (``guardian.py``) owns it and
waits for the end of a pipe from the command; so the server also goes when the command is killed.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ..errors import BrokerError

#: Kombu needs ``ZRANGE ... BYSCORE REV``, which came with Redis 6.2.
MIN_VERSION = (6, 2)
_URL_HINT = "Write redis://host:port/number, rediss://... or redis+socket:///path."


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def redact_url(url: str) -> str:
    """``url`` with the password, if any, replaced by ``***``; also where it is misspelt."""
    url = re.sub(r"([?&]\w*password=)[^&]*", r"\1***", url)
    scheme, mark, rest = url.partition("://")
    if not mark or rest.startswith("/"):  # a socket's path, which may hold an @
        return url
    credentials, at, place = rest.rpartition("@")
    if not at:
        return url
    user, colon, _ = credentials.partition(":")
    return f"{scheme}://{user}{':***' if colon else ''}@{place}"


def check(url: str) -> None:
    """See that a broker answers and can serve.

    Raises:
        BrokerError: the URL is of no use, nothing answers there, it refuses the password, it is
            too old, or a cluster. The message never holds the password.
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
            hint="Write them into the URL: redis://user:password@host/0 (redis://:password@host/0"
            " without a user).",
        ) from None
    except (redis.RedisError, OSError, UnicodeError) as error:
        raise BrokerError(
            f"Redis does not answer at {shown}: {redact_line(str(error), url)}",
            hint="Check host, port and firewall. Without --broker a private Redis is used.",
        ) from None
    finally:
        client.close()
    mode = str(server.get("redis_mode") or server.get("server_mode") or "standalone")  # Valkey's
    if mode != "standalone":
        raise BrokerError(
            f"{shown} runs in {mode} mode, which cannot be used.",
            hint="Give the URL of a single Redis server.",
        )
    if replication.get("role") == "slave":
        raise BrokerError(
            f"{shown} is a replica and cannot be written.", hint="Give the URL of its primary."
        )
    version = str(server.get("redis_version") or server.get("valkey_version") or "")
    if version and _version(version) < MIN_VERSION:
        raise BrokerError(
            f"{shown} is Redis {version}; 6.2 or newer is needed.", hint="Update that server."
        )


def _info(client: Any, section: str) -> dict[str, Any]:
    import redis

    try:
        found: dict[str, Any] = client.info(section)
    except redis.ResponseError:
        return {}  # a user who may not ask is still one who may work
    return found


def connect(url: str) -> Any:
    """A redis-py client for a Celery broker URL; connects at its first command.

    Raises:
        BrokerError: the URL is not one of Redis.
    """
    import redis

    scheme, rest, database = _parse(url)
    if scheme == "redis+socket":
        return redis.Redis.from_url(f"unix://{rest}", db=database, socket_timeout=10)
    return redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5)


def _parse(url: str) -> tuple[str, str, int]:
    """Scheme, what follows it without its query, and database number; else BrokerError."""
    shown = redact_url(url)
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in ("redis", "rediss", "redis+socket"):
        raise BrokerError(f"{shown} is not the URL of a Redis.", hint=_URL_HINT)
    # The library's own words are not passed on: they may quote a piece of the password.
    try:
        parts = urlsplit(f"http://{rest}")
        query = parse_qs(parts.query)
        if scheme == "redis+socket":
            number = query.get("virtual_host", ["0"])[0]
            wrong = "names no socket" if parts.path in ("", "/") else ""
        else:
            number = parts.path.strip("/") or "0"
            wrong = "" if parts.hostname and parts.port != 0 else "names no host"
            if "@" in parts.path + parts.query + parts.fragment:
                wrong = "holds a password with / ? or # in it, which must be written %2F %3F %23"
        if query.keys() & {"password", "username"}:  # Kombu stumbles over them
            wrong = "has user or password behind its ?, and they belong before the @"
    except ValueError:
        number, wrong = "0", "names no usable host and port"
    if not wrong and not number.isdigit():
        wrong = "names no database number"
    if wrong:
        raise BrokerError(f"The broker URL {shown} {wrong}.", hint=_URL_HINT)
    return scheme, rest.partition("?")[0], int(number)


def redact_line(text: str, url: str) -> str:
    """``text`` as one line, without the password of ``url``."""
    return " ".join(redact_text(text, url).split())


def redact_text(text: str, url: str) -> str:
    """``text`` without the password of ``url``, as the URL spells it and as it is."""
    text = text.replace(url, redact_url(url))
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    secrets = [credentials.partition(":")[2]] if at else []
    secrets += re.findall(r"[?&]\w*password=([^&]+)", url)
    for secret in filter(None, secrets):
        text = text.replace(secret, "***").replace(unquote(secret), "***")
    return text
