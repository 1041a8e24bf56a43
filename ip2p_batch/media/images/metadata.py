"""The metadata of an opened image, as far as it is true for its edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, Any

from PIL import Image as Pillow

from . import exif, ifd, jpeg, photoshop, user_comment, xmp

#: Key of the PNG text chunk that holds the recipe. Other formats have it in XMP.
COMMENT_KEY = "ip2p-batch"
_EXIF_KEYS = ("Raw profile type exif", "Raw profile type APP1")
#: Text chunks of a PNG in which other programs store EXIF, XMP and IPTC.
_METADATA_KEYS = (
    *_EXIF_KEYS, *photoshop.PNG_KEYS, "XML:com.adobe.xmp", "Raw profile type xmp",
)  # fmt: skip
_GAIN_MAP = "the HDR gain map was left out; the result has standard range"
_MOTION = "the video of the motion photo was left out"


@dataclass(slots=True)
class Metadata:
    r"""What a result keeps of its source.

    Attributes:
        exif: EXIF block without ``Exif\0\0``, true for the upright image; or empty.
        xmp: XMP packet, true for the upright image.
        resources: Photoshop's image resources, IPTC data included.
        comments: of a JPEG file.
        text: text chunks of a PNG file.
        style: compression of a JPEG file.
        warnings: one line for each loss.
    """

    exif: bytes = b""
    xmp: bytes | None = None
    resources: bytes = b""
    comments: tuple[bytes, ...] = ()
    text: dict[str, str] = field(default_factory=dict)
    style: jpeg.Style | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Early:
    """What is read before an image is decoded: decoding a TIFF closes its file."""

    exif: exif.Cleaned
    segments: jpeg.Segments
    style: jpeg.Style | None
    iptc: bytes
    has_video: bool


def read_early(image: Pillow.Image, name: str, *, turned: bool, size: tuple[int, int]) -> Early:
    """Read the metadata that is out of reach after decoding.

    Args:
        image: opened and not decoded, of format ``name``.
        turned: whether rows and columns are exchanged in the upright image.
        size: ``(width, height)`` upright.
    """
    file: Any = getattr(image, "fp", None)
    block, segments, iptc, has_video = exif.Cleaned(b""), jpeg.NO_SEGMENTS, b"", False
    if name == "tiff" and file is not None:
        data = _FileData(file)
        block = exif.of_tiff(data, size)
        resources, iptc = _tiff_resources(data)
        segments = segments._replace(resources=resources)
    if name == "jpeg" and file is not None:
        segments = jpeg.read_segments(file)
        if getattr(image, "n_frames", 1) > 1 and jpeg.has_gain_map(file):
            segments = segments._replace(gain_map=True)
        has_video = jpeg.has_motion_video(file)
    style = jpeg.style(image, turned=turned) if name == "jpeg" else None
    return Early(block, segments, style, iptc, has_video)


def read(
    image: Pillow.Image,
    name: str,
    early: Early,
    size: tuple[int, int],
    *,
    turned: bool,
    profile: bytes | None,
) -> Metadata:
    """Gather the metadata of a decoded image.

    Args:
        size: ``(width, height)`` upright.
        turned: whether the pixels were turned or mirrored.
        profile: the ICC profile of the result.
    """
    block = early.exif if name == "tiff" else exif.clean(_exif_block(image), size)
    converted = image.info.get("icc_profile") != profile
    packet = xmp.clean(image.info.get("xmp"), size, converted=converted)
    resources = early.segments.resources
    for key in photoshop.PNG_KEYS if name == "png" else ():
        resources += photoshop.from_raw_profile(str(image.info.get(key, "")))
    warnings = [*block.warnings, *packet.warnings]
    if packet.gain_map or early.segments.gain_map:
        warnings.append(_GAIN_MAP)
    if packet.motion or early.has_video:
        warnings.append(_MOTION)
    if early.segments.others:
        names = ", ".join(early.segments.others)
        warnings.append(f"data of other programs was left out: {names}")
    return Metadata(
        exif=block.block,
        xmp=packet.packet,
        resources=photoshop.clean(resources, early.iptc, turned=turned),
        comments=early.segments.comments,
        text=_text(image) if name == "png" else {},
        style=early.style,
        warnings=warnings,
    )


def recipe_of(image: Pillow.Image, name: str) -> str | None:
    """The recipe that an opened image records; None if there is none.

    In a text chunk of a PNG, else in XMP; earlier versions stored it in EXIF's UserComment.
    """
    if name == "png":
        text = image.info.get(COMMENT_KEY)
        return str(text) if text is not None else None
    found = xmp.recipe_of(image.info.get("xmp"))
    if found is not None:
        return found
    file: Any = getattr(image, "fp", None)
    if name == "tiff":
        return None if file is None else user_comment.old_recipe(_FileData(file))
    return user_comment.old_recipe(_exif_block(image).removeprefix(exif.HEADER))


class _FileData:
    """A file whose slices are read when they are needed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.seek(0, 2)
        self._length = file.tell()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._length)
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


def _tiff_resources(data: ifd.Data) -> tuple[bytes, bytes]:
    try:
        first = ifd.read_directories(data).first
    except ValueError:
        return b"", b""
    values = (first.get(number) for number in (photoshop.TIFF_RESOURCES, photoshop.TIFF_IPTC))
    resources, iptc = (b"" if tag is None else tag.data for tag in values)
    return resources, iptc


def _exif_block(image: Pillow.Image) -> bytes:
    block = image.info.get("exif")
    if isinstance(block, bytes) and block:
        return block
    for key in _EXIF_KEYS:
        text = image.info.get(key)
        data = photoshop.from_raw_profile(text) if isinstance(text, str) else b""
        if data:
            return data
    return b""


def _text(image: Pillow.Image) -> dict[str, str]:
    chunks = getattr(image, "text", {})
    return {
        str(key): str(value)
        for key, value in chunks.items()
        if key not in (*_METADATA_KEYS, COMMENT_KEY) and key.isascii() and 0 < len(key) < 80
    }
