"""What a job is asked to do: source, items, encoding and the job itself, as pure data.

Frame and item ranges are half-open everywhere: ``[start, stop)``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..recipe import EditSize, Recipe
from .codec import FrozenStruct

Rational = tuple[int, int]
#: Order among the jobs that share a queue.
Priority = Literal["high", "normal", "low"]
VideoCodec = Literal[
    "h264", "hevc", "av1", "vp9", "prores", "dnxhr", "ffv1", "qtrle",
    "h264_nvenc", "hevc_nvenc", "av1_nvenc",
]  # fmt: skip
#: Which field of an interlaced frame is shown first: the top or the bottom one.
FieldOrder = Literal["tff", "bff"]
#: What becomes of interlaced frames; see :class:`Decoding`.
Deinterlacing = Literal["auto", "off", "ivtc"]


#: What identifies a frame of a source: its presentation time, its decoding time where the file has
#: no right presentation times, or the number of its packet in the file where it has neither.
FrameKey = Literal["pts", "dts", "order"]


class ColorFacts(FrozenStruct, frozen=True, kw_only=True):
    """How a video's samples become RGB. Values are ITU-T H.273 code points.

    Attributes:
        matrix: matrix coefficients (1 BT.709, 5/6 BT.601, 9 BT.2020), after the rule for
            untagged files was applied.
        full_range: True for 0-255 samples, False for 16-235.
        primaries: colour primaries; 2 is unspecified.
        transfer: transfer characteristics; 2 is unspecified, 16 PQ, 18 HLG.
        tagged: whether the file specifies the matrix.
    """

    matrix: int = 1
    full_range: bool = False
    primaries: int = 2
    transfer: int = 2
    tagged: bool = False


#: What becomes of HDR; see :class:`Decoding`.
HdrChoice = Literal["tonemap", "keep"]


class HdrFacts(FrozenStruct, frozen=True, kw_only=True):
    """High dynamic range of a video.

    Attributes:
        choice: whether results are SDR or HDR.
        peak: light of the brightest pixels, for the tone curve, in cd/m2.
        mastering_display: SMPTE ST 2086: x and y of green, blue, red and white in 1/50000, then
            highest and lowest light in 1/10000 cd/m2; empty if the file has none.
        light_levels: maximum content and frame-average light level in cd/m2 (CTA-861.3); 0 if
            unknown.
        dynamic: whether frames have HDR10+ metadata.
    """

    choice: HdrChoice
    peak: float
    mastering_display: tuple[int, ...] = ()
    light_levels: tuple[int, int] = (0, 0)
    dynamic: bool = False


class SpatialFacts(FrozenStruct, frozen=True, kw_only=True):
    """Spherical projection and stereoscopic layout of a video, with FFmpeg's codes.

    Attributes:
        projection: AVSphericalProjection; None for a flat video.
        pose: yaw, pitch and roll in degrees, times 65536.
        bounds: left, top, right and bottom of a part of a sphere, as fractions of 2**32.
        padding: pixels around each face of a cubemap.
        stereo: AVStereo3DType: 0 one view, 1 side by side, 2 top and bottom.
        stereo_flags: 1 if the views are swapped.
    """

    projection: int | None = None
    pose: tuple[int, int, int] = (0, 0, 0)
    bounds: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding: int = 0
    stereo: int = 0
    stereo_flags: int = 0


class VideoFacts(FrozenStruct, frozen=True, kw_only=True):
    """Facts of a video stream, as probed.

    Attributes:
        stream: index of the stream in the file, as ffprobe counts.
        width, height: size in pixels as stored, before rotation and after cropping.
        crop: pixels that are cut from decoded frames: left, top, right, bottom.
        rotation: clockwise degrees that turn a stored frame upright: 0, 90, 180, 270.
        mirrored: whether the turned frame is then mirrored left to right.
        sar: sample aspect ratio of the stored frame, ``(1, 1)`` for square.
        time_base: seconds per tick of frame times, as a fraction.
        frame_key: what identifies a frame; with ``dts`` or ``order``, the job has a table of ids.
        frame_rate: average frames per second, as a fraction.
        frames: frames that decode (that the container lists, where nothing was decoded).
        missing: frames that the container lists and that do not decode.
        is_joined: whether the clock begins again, as where transport streams were joined.
        duration: seconds, from the start of the first frame to the end of the last.
        last_ticks: duration of the last frame in ticks; 0 is one period of ``frame_rate``.
        lead_ticks: ticks by which the sound starts before the first frame.
        has_alpha: whether any pixel is less than opaque.
        bit_depth: of the stored samples.
        spatial: spherical projection or stereo layout; None for an ordinary video.
        has_captions: whether frames contain closed captions (CEA-608, CEA-708).
        interlaced: frames that are flagged as interlaced (1 if the first one is, where nothing
            was decoded).
        field_order: of most interlaced frames; None without any.
        deinterlace: what the reader does with interlaced frames; ``off`` also where every frame
            was inspected and none is interlaced.
        hdr: of an HDR video; None for SDR.
        notes: one line each for the user ("The file is truncated: ...").
    """

    stream: int = 0
    width: int
    height: int
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    rotation: int = 0
    mirrored: bool = False
    sar: Rational = (1, 1)
    time_base: Rational
    frame_key: FrameKey = "pts"
    frame_rate: Rational
    frames: int
    missing: int = 0
    duration: float
    last_ticks: int = 0
    is_joined: bool = False
    lead_ticks: int = 0
    codec: str
    container: str
    pix_fmt: str
    bit_depth: int = 8
    interlaced: int = 0
    field_order: FieldOrder | None = None
    deinterlace: Deinterlacing = "off"
    has_alpha: bool = False
    has_captions: bool = False
    spatial: SpatialFacts | None = None
    color: ColorFacts = ColorFacts()
    hdr: HdrFacts | None = None
    audio_streams: int = 0
    subtitle_streams: int = 0
    notes: tuple[str, ...] = ()

    @property
    def kept_field_order(self) -> FieldOrder | None:
        """Order of the fields in upright results; None if results are progressive.

        A half turn makes the top field the bottom one; a quarter turn makes rows columns.
        """
        if self.deinterlace != "off" or self.field_order is None or self.rotation % 180:
            return None
        swapped: FieldOrder = "bff" if self.field_order == "tff" else "tff"
        return swapped if self.rotation and self.height % 2 == 0 else self.field_order

    @property
    def keeps_hdr(self) -> bool:
        """Whether the source is HDR and results are, too."""
        return self.hdr is not None and self.hdr.choice == "keep"

    @property
    def result_depth(self) -> int:
        """Bits per sample that results have by default: 8 for HDR that becomes SDR."""
        if self.hdr is None:
            return self.bit_depth
        return max(10, self.bit_depth) if self.keeps_hdr else 8

    @property
    def decoded_size(self) -> tuple[int, int]:
        """``(width, height)`` of decoded frames, before they are cropped and turned."""
        left, top, right, bottom = self.crop
        return self.width + left + right, self.height + top + bottom

    @property
    def upright(self) -> tuple[int, int]:
        """``(width, height)`` in stored pixels after rotation."""
        return (self.height, self.width) if self.rotation % 180 else (self.width, self.height)

    @property
    def upright_sar(self) -> Rational:
        """Sample aspect ratio after rotation."""
        return (self.sar[1], self.sar[0]) if self.rotation % 180 else self.sar


class Source(FrozenStruct, frozen=True, kw_only=True):
    """One video file, or one folder / manifest / file of images, with its probed facts.

    Attributes:
        path: absolute path of the file or folder.
        stamp: size and modification time: a resume refuses a source that changed.
        video: facts of a video; None for images.
        items: number of images found, including unreadable ones; 0 for a video.
        start, stop: frames of a video to edit, half-open.
    """

    path: str
    stamp: str
    video: VideoFacts | None = None
    items: int = 0
    start: int = 0
    stop: int = 0

    @property
    def noun(self) -> str:
        """Unit of progress: ``frame`` or ``image``."""
        return "frame" if self.is_video else "image"

    @property
    def is_video(self) -> bool:
        return self.video is not None


class Item(FrozenStruct, frozen=True, kw_only=True):
    """One image of a folder or manifest.

    Attributes:
        source, output: absolute paths.
        width, height: upright size in pixels; 0 where the image could not be opened.
        instruction, negative_prompt, seed, num_inference_steps, guidance_scale,
            image_guidance_scale: of this image; None is the recipe's.
        error: why it cannot be edited, where planning found a reason.
        replaces: stamp of the file that its result may replace; empty where it may replace none.
            See :func:`ip2p_batch.storage.publish.file_stamp`.
        skipped: whether ``error`` only means that its output exists.
    """

    source: str
    output: str
    width: int = 0
    height: int = 0
    instruction: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    image_guidance_scale: float | None = None
    error: str | None = None
    replaces: str = ""
    skipped: bool = False

    def own_values(self) -> dict[str, Any]:
        """The recipe fields that this image has of its own."""
        values = {name: getattr(self, name) for name in _OWN}
        return {name: value for name, value in values.items() if value is not None}

    def session_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe of the session that edits this image: steps and scales may be its own."""
        own = {name: value for name, value in self.own_values().items() if name in _SESSION_OWN}
        return msgspec.structs.replace(recipe, **own) if own else recipe


#: Recipe fields that an image may override; a session applies the second group to all its images.
_SESSION_OWN = ("num_inference_steps", "guidance_scale", "image_guidance_scale")
_OWN = ("instruction", "negative_prompt", "seed", *_SESSION_OWN)


MetadataChoice = Literal["all", "no-gps", "none"]


class Encoding(FrozenStruct, frozen=True, kw_only=True):
    """How results are encoded.

    Attributes:
        codec: video codec; None is chosen by the output's suffix and the source's transparency.
            The job of a video has the choice. ``ffv1`` and ``qtrle`` are lossless, and those of
            ``nvenc`` need an NVIDIA GPU.
        pixel_format: FFmpeg's name of the pixel format of a video, one that the codec can be
            written in; None has the source's depth, as far as the codec can.
        crf: constant rate factor of the codec, lower is better; None is the codec's default.
        format: image format (``png``, ``jpeg``, ``webp``, ``tiff``, ``bmp``, ``avif``); None
            keeps each image's own.
        audio: what happens to the sound of a video. ``auto`` copies it, and converts it where the
            container cannot hold it: to FLAC, or to PCM in ``.mov`` and Opus in ``.webm``.
            ``copy`` never converts, ``flac`` and ``aac`` convert all sound that has another codec,
            ``none`` leaves it out.
        quality: image quality 1-100 for lossy formats; None is the source's for JPEG to JPEG, else
            the format's default.
        metadata: what a result keeps of its source's metadata: ``all``, ``no-gps`` (all but GPS
            coordinates) or ``none`` (of images only colour profile and resolution, of videos only
            languages and chapters).
        embed_recipe: whether images record their recipe.
        mark_ai: whether results state in XMP that they were edited with generative AI (IPTC digital
            source type): images except BMP, and MP4 and MOV videos.
    """

    codec: VideoCodec | None = None
    pixel_format: str | None = None
    crf: int | None = None
    format: Literal["png", "jpeg", "webp", "tiff", "bmp", "avif"] | None = None
    quality: int | None = None
    audio: Literal["auto", "copy", "flac", "aac", "none"] = "auto"
    metadata: MetadataChoice = "all"
    embed_recipe: bool = True
    mark_ai: bool = True


class Decoding(FrozenStruct, frozen=True, kw_only=True):
    """How a source is read.

    Attributes:
        stream: index of the video stream in the file, as ffprobe counts; None is the stream with
            the default flag, and the one with the largest frames among several. Never a cover.
        deinterlace: ``auto`` makes frames flagged as interlaced progressive (bwdif), one frame for
            each; ``ivtc`` restores the frames of telecined film (fieldmatch, decimate): four of
            five, each at the time of the frame that shows it first; ``off`` keeps
            the fields, and encodes the result as interlaced.
        hdr: what becomes of HDR video (PQ, HLG): ``tonemap`` gives SDR in BT.709; ``keep`` edits a
            tone-mapped copy and applies the edit to the HDR frames.
        follow_links: whether links of a folder are followed to files and folders outside of it.
    """

    stream: Annotated[int, Meta(ge=0)] | None = None
    deinterlace: Deinterlacing = "auto"
    hdr: HdrChoice = "tonemap"
    follow_links: bool = False


class Job(FrozenStruct, frozen=True, kw_only=True):
    """Source, recipe and destination: all that a worker needs, stored as ``job.json``.

    Attributes:
        size_table: the edit size by the size of the source, for ``--size auto``: rows of
            ``(up_to, edit size)``, ascending, both as longest sides in pixels. The last row is for
            larger sources, too. Empty exactly where the recipe has a size in pixels.
        tile_size: side in pixels of the tiles of ``--detail tiles``: the model's training size, to
            a multiple of 64; 0 without tiles.
        options: fingerprint of the options that a video is edited with, for repeated runs; not in
            the fingerprint of the job, which has the options themselves.
        replaces: stamp of the file that a video's result may replace; as :attr:`Item.replaces`.
        reference_digest: SHA-256 of the pixels of ``reference.png``; empty without one.
        allow_mixed_hardware: whether workers with other compute profiles may edit it.
        priority: among the jobs of a broker; not in the fingerprint, since pixels do not
            depend on it.

    Raises:
        ValueError: the recipe's size is ``auto`` and there is no table, or the other way round; the
            same for tiles and their size.
    """

    id: str
    source: Source
    recipe: Recipe
    output: str
    size_table: tuple[tuple[Annotated[int, Meta(ge=1)], EditSize], ...] = ()
    tile_size: Annotated[int, Meta(ge=0)] = 0
    decoding: Decoding = Decoding()
    encoding: Encoding = Encoding()
    overwrite: bool = False
    options: str = ""
    replaces: str = ""
    reference_digest: str = ""
    allow_mixed_hardware: bool = False
    priority: Priority = "normal"
    version: int = 1

    def __post_init__(self) -> None:
        if (self.recipe.size == "auto") != bool(self.size_table):
            raise ValueError("a job has a table of edit sizes exactly if its size is auto")
        if (self.recipe.detail == "tiles") != bool(self.tile_size):
            raise ValueError("a job has a size of tiles exactly if its detail is tiles")

    def edit_size(self, width: int, height: int) -> int:
        """The longest side at which a source of ``width`` x ``height`` pixels is edited.

        A pure function: planning and every worker get the same size.

        Args:
            width, height: upright, in stored pixels.
        """
        if self.recipe.size != "auto":
            return self.recipe.size
        return table_edit_size(self.size_table, max(width, height))

    def fingerprint(self) -> str:
        """SHA-256 over everything that determines the result; every receipt contains it."""
        sizes = (self.size_table, self.tile_size)
        options = (self.decoding, self.encoding)
        parts = (self.recipe, sizes, options, self.source, self.reference_digest)
        return _sha256(parts)

    def item_fingerprint(self, item: Item) -> str:
        """SHA-256 over everything that determines one image's result, except for the source.

        Equal for equal options in different jobs: a table of edit sizes counts by its outcome, and
        an image's own instruction, seed and so on count as the recipe's.
        """
        own = item.own_values() | {"size": self.edit_size(item.width, item.height)}
        recipe = msgspec.structs.replace(self.recipe, reference_image=None, **own)
        decoding = msgspec.structs.replace(self.decoding, follow_links=False)
        parts = (recipe, self.tile_size, decoding, self.encoding, self.reference_digest)
        return _sha256(parts)


def _sha256(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def table_edit_size(table: Sequence[tuple[int, int]], longest: int) -> int:
    """The edit size of a source with this longest side, by a table as :attr:`Job.size_table`.

    >>> [table_edit_size([(720, 192), (4096, 256)], side) for side in (640, 1280, 9000)]
    [192, 256, 256]
    """
    return next((size for up_to, size in table if longest <= up_to), table[-1][1])
