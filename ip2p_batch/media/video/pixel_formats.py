"""Facts about FFmpeg's pixel formats, by their names."""

from __future__ import annotations

from typing import cast

import av

from .types import PixelFormat


def format_depth(pix_fmt: str) -> int:
    """Bits per sample of a pixel format, at most 16.

    >>> format_depth("yuv420p"), format_depth("gbrp12le")
    (8, 12)
    """
    return component_depth(cast(PixelFormat, av.VideoFormat(pix_fmt)))


def component_depth(pixel_format: PixelFormat) -> int:
    """Bits per sample of a frame's pixel format, at most 16."""
    return min(16, max((component.bits for component in pixel_format.components), default=8))


def is_rgb(pix_fmt: str) -> bool:
    """Whether a pixel format stores R'G'B'.

    >>> is_rgb("bgr0"), is_rgb("yuv444p")
    (True, False)
    """
    return bool(av.VideoFormat(pix_fmt).is_rgb)


def has_alpha(pix_fmt: str) -> bool:
    """Whether a pixel format has an opacity channel.

    >>> has_alpha("yuva420p"), has_alpha("bgr0")
    (True, False)
    """
    components = cast(PixelFormat, av.VideoFormat(pix_fmt)).components
    return any(component.is_alpha for component in components)


def chroma_share(pix_fmt: str) -> float:
    """Colour samples for each pixel: 1 for RGB and 4:4:4, 0.5 for 4:2:2, 0 for grey.

    >>> [chroma_share(name) for name in ("bgr0", "yuv444p", "nv16", "yuv420p10le", "gray")]
    [1.0, 1.0, 0.5, 0.25, 0.0]
    """
    pixel_format = av.VideoFormat(pix_fmt)
    colours = sum(not component.is_alpha for component in pixel_format.components)
    if colours == 1:
        return 1.0 if pixel_format.is_rgb or pix_fmt == "pal8" else 0.0
    return pixel_format.chroma_width(16) * pixel_format.chroma_height(16) / 256


def chroma_name(pix_fmt: str) -> str:
    """Name of a chroma resolution for messages: ``4:2:2``, ``RGB``.

    >>> [chroma_name(name) for name in ("bgr0", "yuv444p", "nv16", "yuv420p10le")]
    ['RGB', '4:4:4', '4:2:2', '4:2:0']
    """
    if is_rgb(pix_fmt):
        return "RGB"
    names = {1.0: "4:4:4", 0.5: "4:2:2", 0.25: "4:2:0", 0.0: "grey"}
    return names.get(chroma_share(pix_fmt), "reduced chroma")
