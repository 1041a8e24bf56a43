"""Facts of a video, as probed, as pure data."""

from __future__ import annotations

from typing import Literal

from .codec import FrozenStruct
from .coding import Deinterlacing, HdrChoice

Rational = tuple[int, int]
#: Which field of an interlaced frame is shown first: the top or the bottom one.
FieldOrder = Literal["tff", "bff"]

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
        first_number: number in the name of the first file of an image sequence; None for a file.
        plays: how often an animated image is played, 0 is forever; None for other videos.
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
    first_number: int | None = None
    plays: int | None = None
    audio_streams: int = 0
    subtitle_streams: int = 0
    notes: tuple[str, ...] = ()

    @property
    def is_sequence(self) -> bool:
        """Whether the frames are files of their own."""
        return self.first_number is not None

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
