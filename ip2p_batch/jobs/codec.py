"""One JSON codec for all records of a job."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec

from ..errors import JobError

T = TypeVar("T")


#: Chunk ids are file names: checked wherever they are read, so that none leads out of its folder.
ChunkId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9-]{1,64}\Z")]


class FrozenStruct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, named fields only, unknown fields refused when decoded."""


def encode(value: Any) -> bytes:
    """JSON bytes of any of the classes above."""
    return msgspec.json.format(msgspec.json.encode(value, order="deterministic"), indent=1)


def decode(data: bytes, type_: type[T], *, what: str = "this file") -> T:
    """The reverse of :func:`encode`.

    Raises:
        JobError: ``data`` is not JSON, or not that type; unknown fields are refused.
    """
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JobError(
            f"{what} is damaged: {error}.",
            hint="Delete the job folder and run the command again.",
        ) from None


def is_json(data: bytes) -> bool:
    """Whether ``data`` is JSON at all: a file that was cut short is not."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
