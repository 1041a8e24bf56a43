"""State in a finished video that it was edited with AI, where a standard has a place for it."""

from __future__ import annotations

from pathlib import Path

from ..images import xmp

#: Containers with a place for XMP: the box of this UUID at the top level (XMP Specification, part
#: 3, "MPEG-4"; ExifTool and Adobe's programs read it in MOV files, too).
CONTAINERS = ("mp4", "mov")
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def append_mark(output: Path) -> None:
    """Append XMP with the IPTC digital source type to a closed MP4 or MOV file.

    At the end, no offset in the file changes.
    """
    packet = xmp.finished(None, mark_ai=True, recipe=None) or b""
    size = 8 + len(_XMP_UUID) + len(packet)
    with output.open("ab") as file:
        file.write(size.to_bytes(4, "big") + b"uuid" + _XMP_UUID + packet)
