"""Codecs of results, and how each is encoded.

Segments of one job join without another encode because all use one frozen specification: the same
encoder, options, number of encoder threads and colour tags, and closed groups of pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...jobs.coding import Encoding, VideoCodec


@dataclass(frozen=True, slots=True)
class Codec:
    """How to encode a codec so that its segments can be joined.

    Attributes:
        encoder: FFmpeg's name.
        crf: default constant rate factor, visually close to the edit; None if the codec has none.
        crf_range: lowest and highest ``crf``, both allowed.
        crf_option: the encoder's name of ``crf``.
        segment_format: FFmpeg's name of the container of segments.
        suffix: of segment files.
        containers: suffixes of output files that can hold the codec.
        options: encoder options.
        format_options: encoder options by the pixel format.
        pix_fmts: pixel formats of frames with even sides that are chosen by themselves, by
            ascending depth, then chroma resolution.
        odd_pix_fmts: the same if a side is odd, since chroma cannot be halved then.
        alpha_pix_fmts: the same for a source with transparency; empty if the codec drops it.
        more_pix_fmts: further ones that ``Encoding.pixel_format`` may name.
        halves_odd: whether the encoder accepts halved chroma where a side is odd.
        encoder_formats: what the encoder takes in place of a pixel format.
        tag: codec tag in MP4, where some players reject the default one.
        min_size: smallest width and height in pixels. Below 64, x265 writes outside its memory and
            SVT-AV1 refuses.
        unreliable_dts: whether the encoder gives packets of short segments random decoding times.
        fields_option: name of the encoder's option with parameters for interlaced frames; empty if
            it needs none; None if the codec cannot keep fields.
        caption_options: encoder options that write closed captions into the frames; None if the
            encoder writes none.
        matrices: colour matrices that the codec can name (H.273 codes), always in limited range;
            the first replaces others. Empty: all, in both ranges.
        needs_gpu: whether it only runs on an NVIDIA GPU.
    """

    encoder: str
    crf: int | None
    crf_range: tuple[int, int]
    segment_format: str
    suffix: str
    containers: tuple[str, ...]
    crf_option: str = "crf"
    options: Mapping[str, str] = field(default_factory=dict)
    format_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pix_fmts: tuple[str, ...] = ("yuv420p", "yuv420p10le")
    odd_pix_fmts: tuple[str, ...] = ("yuv444p", "yuv444p10le")
    alpha_pix_fmts: tuple[str, ...] = ()
    more_pix_fmts: tuple[str, ...] = ()
    halves_odd: bool = True
    encoder_formats: Mapping[str, str] = field(default_factory=dict)
    tag: str = ""
    min_size: tuple[int, int] = (1, 1)
    unreliable_dts: bool = False
    fields_option: str | None = None
    caption_options: Mapping[str, str] | None = None
    matrices: tuple[int, ...] = ()
    needs_gpu: bool = False

    @property
    def states_shape(self) -> bool:
        """Whether streams state the shape of their pixels themselves (H.264, HEVC)."""
        return self.encoder.removesuffix("_nvenc") in ("libx264", "libx265", "h264", "hevc")

    @property
    def choices(self) -> tuple[str, ...]:
        """Every pixel format in which the codec can be written, without repetition."""
        names = (*self.pix_fmts, *self.odd_pix_fmts, *self.more_pix_fmts, *self.alpha_pix_fmts)
        return tuple(dict.fromkeys(names))


_MP4_FAMILY = (".mp4", ".m4v", ".mov")
_RGB = ("bgr0", "gbrp10le", "gbrp12le", "gbrp14le", "gbrp16le")
#: Without gbrap14le, which FFmpeg 5 does not decode.
_RGBA = ("bgra", "gbrap10le", "gbrap12le", "gbrap16le")


def _yuv(*depths: int, chroma: Sequence[str] = ("420", "422", "444")) -> tuple[str, ...]:
    return tuple(f"yuv{c}p{d}le" if d > 8 else f"yuv{c}p" for d in depths for c in chroma)


def _nvenc(
    name: str, crf: int, deep: bool, odd: tuple[str, ...], containers: tuple[str, ...]
) -> Codec:
    """An encoder of NVIDIA GPUs. Its results depend on GPU and driver."""
    return Codec(
        encoder=name,
        crf=crf,
        crf_range=(1, 51),
        crf_option="cq",
        segment_format="mp4",
        suffix=".mp4",
        containers=containers,
        options={"preset": "p6", "rc": "vbr", "b": "0", "forced-idr": "1"},
        pix_fmts=("yuv420p", "yuv420p10le") if deep else ("yuv420p",),
        odd_pix_fmts=odd,
        halves_odd=False,
        encoder_formats={"yuv420p10le": "p010le"},
        tag="hvc1" if name == "hevc_nvenc" else "",
        min_size=(146, 64),
        unreliable_dts=True,
        caption_options={"a53cc": "1"},
        needs_gpu=True,
    )


CODECS: Mapping[str, Codec] = {
    "h264": Codec(
        encoder="libx264",
        crf=18,
        crf_range=(0, 51),
        segment_format="mp4",
        suffix=".mp4",
        containers=(*_MP4_FAMILY, ".mkv", ".ts"),
        # mbtree spends fewer bits on frames that few others refer to, which are those at a
        # segment's end, and the next keyframe is visible as a seam. Measured on an unedited
        # video: seam ratio 1.47 with mbtree, 1.34 without it at 7 % more bytes.
        options={"preset": "medium", "x264-params": "open-gop=0:stitchable=1:mbtree=0"},
        fields_option="x264-params",
        caption_options={"a53cc": "1"},
        more_pix_fmts=_yuv(8, 10),
        halves_odd=False,
    ),
    "hevc": Codec(
        encoder="libx265",
        crf=20,
        crf_range=(0, 51),
        segment_format="mp4",
        suffix=".mp4",
        containers=(*_MP4_FAMILY, ".mkv", ".ts"),
        # The number of frame threads changes the output, so it is fixed. The info message would be
        # in the header of one segment only.
        options={
            "preset": "medium",
            "x265-params": "open-gop=0:frame-threads=2:info=0:log-level=none",
        },
        more_pix_fmts=_yuv(8, 10, 12),
        halves_odd=False,
        tag="hvc1",
        caption_options={"a53cc": "1"},
        min_size=(64, 64),
        # x265 reads uninitialized memory if a segment has fewer frames than its lookahead. One in
        # five segments of a few frames could not be written because of it (x265 4.2, FFmpeg 8
        # and 9).
        unreliable_dts=True,
    ),
    "av1": Codec(
        encoder="libsvtav1",
        crf=24,
        crf_range=(1, 63),
        segment_format="mp4",
        suffix=".mp4",
        containers=(".mp4", ".mkv", ".webm"),
        options={"preset": "8", "svtav1-params": "lp=2"},
        min_size=(64, 64),
        # SVT-AV1 knows 4:2:0 only, and rounds half an odd side up.
        odd_pix_fmts=("yuv420p", "yuv420p10le"),
    ),
    "vp9": Codec(
        encoder="libvpx-vp9",
        crf=24,
        crf_range=(0, 63),
        # Only Matroska holds the transparency of VP9.
        segment_format="matroska",
        suffix=".mkv",
        containers=(".webm", ".mkv"),
        options={"deadline": "good", "cpu-used": "3", "tile-columns": "1", "row-mt": "0"},
        format_options={"yuva420p": {"auto-alt-ref": "0"}},
        pix_fmts=("yuv420p",),
        odd_pix_fmts=("yuv420p",),
        alpha_pix_fmts=("yuva420p",),
        more_pix_fmts=_yuv(8),
    ),
    # Lossless, and in RGB: exactly the editor's pixels.
    "ffv1": Codec(
        encoder="ffv1",
        crf=None,
        crf_range=(0, 0),
        segment_format="matroska",
        suffix=".mkv",
        containers=(".mkv", ".avi"),
        options={"level": "3", "slices": "4", "slicecrc": "1", "g": "1"},
        pix_fmts=_RGB,
        odd_pix_fmts=_RGB,
        alpha_pix_fmts=_RGBA,
        fields_option="",
        more_pix_fmts=_yuv(8, 10, 12, 16),
    ),
    # For editing programs: every frame is a keyframe.
    "prores": Codec(
        encoder="prores_ks",
        crf=None,
        crf_range=(0, 0),
        segment_format="mov",
        suffix=".mov",
        containers=(".mov", ".mkv", ".mxf"),
        options={"vendor": "apl0"},
        format_options={
            "yuv422p10le": {"profile": "hq"},
            "yuv444p10le": {"profile": "4444"},
            "yuva444p10le": {"profile": "4444", "alpha_bits": "16"},
        },
        pix_fmts=("yuv422p10le", "yuv444p10le"),
        # The encoder writes noise into the last columns of 4:2:2 frames of an odd width.
        odd_pix_fmts=("yuv444p10le",),
        halves_odd=False,
        alpha_pix_fmts=("yuva444p10le",),
        fields_option="",
        matrices=(1, 5, 6, 9),
    ),
    "dnxhr": Codec(
        encoder="dnxhd",
        crf=None,
        crf_range=(0, 0),
        segment_format="mov",
        suffix=".mov",
        containers=(".mov", ".mxf"),
        format_options={
            "yuv422p": {"profile": "dnxhr_hq"},
            "yuv422p10le": {"profile": "dnxhr_hqx"},
            "yuv444p10le": {"profile": "dnxhr_444"},
        },
        pix_fmts=("yuv422p", "yuv422p10le", "yuv444p10le"),
        odd_pix_fmts=("yuv422p", "yuv422p10le", "yuv444p10le"),
        min_size=(256, 120),
    ),
    # QuickTime Animation, lossless.
    "qtrle": Codec(
        encoder="qtrle",
        crf=None,
        crf_range=(0, 0),
        segment_format="mov",
        suffix=".mov",
        containers=(".mov",),
        pix_fmts=("rgb24",),
        odd_pix_fmts=("rgb24",),
        alpha_pix_fmts=("argb",),
    ),
    "h264_nvenc": _nvenc(
        "h264_nvenc", 19, False, ("yuv444p",), (*_MP4_FAMILY, ".mkv", ".ts")
    ),
    "hevc_nvenc": _nvenc("hevc_nvenc", 21, True, ("yuv444p",), (*_MP4_FAMILY, ".mkv", ".ts")),
    "av1_nvenc": _nvenc(
        "av1_nvenc", 25, True, ("yuv420p", "yuv420p10le"), (".mp4", ".mkv", ".webm")
    ),
}  # fmt: skip

#: The codec where neither the encoding nor the output names one.
DEFAULT_CODEC: VideoCodec = "h264"


def codec_name(encoding: Encoding) -> str:
    """The codec's name; H.264 for an encoding that names none."""
    return encoding.codec or DEFAULT_CODEC


def codec_of(encoding: Encoding) -> Codec:
    """The codec of an encoding; see :func:`codec_name`."""
    return CODECS[codec_name(encoding)]


def segment_suffix(encoding: Encoding) -> str:
    """Suffix of segment files, dot included."""
    return codec_of(encoding).suffix
