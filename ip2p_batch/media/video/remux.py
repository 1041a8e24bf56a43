"""Commands that make a file with right times, for hints. Each was tried on the formats it names."""

from __future__ import annotations

from fractions import Fraction

#: Formats that mkvmerge reads (74.0); FFmpeg cannot copy packets without times into another file.
_MKVMERGE = {
    "avi", "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpeg", "mpegts", "mpegvideo", "flv", "ogg",
    "h264", "hevc", "ivf", "obu",
}  # fmt: skip


def copy_command(container: str) -> str:
    """The command that writes a searchable copy of a file of this format.

    Args:
        container: FFmpeg's name of the format.
    """
    if container in _MKVMERGE:
        return "mkvmerge -o NEW.mkv FILE"
    return "ffmpeg -i FILE -c:v libx264 -crf 12 -c:a flac NEW.mkv"


def retime_command(rate: Fraction) -> str:
    """The command that gives each frame the next time at a constant rate."""
    times = f"N*{rate.denominator}/{rate.numerator}/TB"
    encode = "-fps_mode passthrough -c:v libx264 -crf 12 -c:a flac"
    return f"ffmpeg -i FILE -vf setpts={times} {encode} NEW.mkv"
