"""An opened HEIC image, in the form of Pillow's own: size and metadata now, pixels later."""

from __future__ import annotations

from typing import IO, cast

from PIL import Image as Pillow
from PIL import ImageFile

from ..unsupported import UnsupportedSamplesError
from .file import HeifFile

_KEY = "ip2p_batch.heif"


class HeifImage(ImageFile.ImageFile):
    """An HEIC image; its size is the upright one, and its EXIF orientation no longer counts."""

    format = "HEIF"

    def _open(self) -> None:
        heif = HeifFile(cast(IO[bytes], self.fp))
        if error := heif.kind_error():
            raise UnsupportedSamplesError(f"of a kind that cannot be edited: {error}")
        self._size = heif.size()
        self._mode = "RGB"
        exif, xmp = heif.metadata()
        icc = heif.boxes.icc()
        known = {"exif": exif and b"Exif\0\0" + exif, "xmp": xmp, "icc_profile": icc}
        self.info = {key: value for key, value in known.items() if value}
        self.info[_KEY] = heif


def heif_of(image: Pillow.Image) -> HeifFile:
    """The file of an opened :class:`HeifImage`."""
    return cast(HeifFile, image.info[_KEY])
