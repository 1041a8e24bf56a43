"""Hub ids, and files that were downloaded from the hub before. Nothing is downloaded here."""

from __future__ import annotations

import re
from pathlib import Path

_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id with an owner, ``owner/name``."""
    return _ID.fullmatch(name) is not None


def downloaded(name: str, file: str, revision: str | None) -> Path | None:
    """A file of a hub id in the cache of downloads; None if it is not there."""
    if not is_hub_id(name):
        return None
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, file, revision=revision)
    return Path(path) if isinstance(path, str) else None
