"""Read the header of a safetensors file: names and shapes of its tensors, no weights."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ..errors import ModelError

#: Largest header that is read, in bytes. That of a Stable Diffusion XL checkpoint has 0.3 MB.
HEADER_LIMIT = 16 << 20

#: Of each tensor, by its name.
Shapes = Mapping[str, tuple[int, ...]]

_Size = Annotated[int, Meta(ge=0)]


class _Tensor(msgspec.Struct):
    shape: tuple[_Size, ...]


def read_shapes(path: Path) -> Shapes:
    """The shapes of the tensors in a safetensors file.

    The file starts with the header's length as 8 bytes, little endian, then the header as JSON
    (https://github.com/huggingface/safetensors, "Format").

    Raises:
        ModelError: the file cannot be read or is not a safetensors file, or its header is larger
            than :data:`HEADER_LIMIT`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if length > HEADER_LIMIT and file.read(1) == b"{":
                raise ModelError(
                    f"{path} has a header of {length} bytes; at most {HEADER_LIMIT} are read.",
                    hint="Check where the file comes from.",
                )
            header = file.read(length) if length <= HEADER_LIMIT else b""
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        tensors = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        tensors.pop("__metadata__", None)
        return {
            name: msgspec.json.decode(entry, type=_Tensor).shape for name, entry in tensors.items()
        }
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ModelError(
            f"{path} is not a safetensors file.",
            hint="Check the file, or download it again: a download may have stopped early.",
        ) from None
