"""Exact times of copied sound, from the number of samples in its packets.

Matroska and FLV round times to milliseconds, MPEG transport streams to 1/90000 s. MP4 stores the
duration of each packet in samples, so rounded times would become packets of uneven length.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, cast

import av

from .pyav import fraction, ratio
from .types import Packet, Stream

#: Samples of an AC-3 packet (ETSI TS 102 366); E-AC-3 may have fewer.
_AC3_SAMPLES = 1536
_OPUS = ("opus", "libopus")
#: Seconds by which a rounded time may differ from the count of samples, in addition to one tick.
#: A larger difference is a gap or an overlap.
_TOLERANCE = Fraction(1, 1000)


class SampleClock:
    """Replaces the times of a sound stream's packets by a count of samples.

    Args:
        rate: samples per second.
        samples: samples of each packet, except perhaps of the last; 0 if its bytes say (Opus).
        delay: samples of the encoder's delay, which come before time 0 if the sound starts there.
    """

    def __init__(self, rate: int, samples: int, delay: int = 0) -> None:
        self._rate = rate
        self._delay = delay
        self._samples = samples
        self._next: int | None = None

    def place(self, packet: Packet) -> None:
        """Set time and duration of the next packet in samples, if its time is known."""
        if packet.pts is None or not packet.time_base:
            return
        base = fraction(ratio(packet.time_base))
        given = packet.pts * base * self._rate
        tolerance = (base + _TOLERANCE) * self._rate
        if self._next is None or abs(given - self._next) > tolerance:
            is_delayed = self._next is None and abs(given + self._delay) <= tolerance
            self._next = -self._delay if is_delayed else round(given)
        duration = (packet.duration or 0) * base * self._rate
        samples = self._samples or opus_samples(bytes(cast(Any, packet)))
        if duration and abs(duration - samples) > base * self._rate:
            samples = round(duration)
        packet.time_base = Fraction(1, self._rate)
        packet.pts = packet.dts = self._next
        packet.duration = samples
        self._next += samples


def sample_clock(stream: Stream) -> SampleClock | None:
    """A clock for a stream of the source whose times are rounded; None if they need none.

    Args:
        stream: with sound.
    """
    context: Any = stream.codec_context
    rate = int(context.sample_rate or 0)
    samples = packet_samples(context)
    if not rate or not stream.time_base or not (samples or context.name in _OPUS):
        return None
    is_exact = (Fraction(1, rate) / fraction(ratio(stream.time_base))).denominator == 1
    header = bytes(context.extradata or b"")
    is_opus = context.name in _OPUS and len(header) >= 12  # RFC 7845, section 5.1: pre-skip
    delay = int.from_bytes(header[10:12], "little") if is_opus else 0
    return None if is_exact else SampleClock(rate, samples, delay)


def packet_samples(context: Any) -> int:
    """Samples of each packet of a codec, except perhaps of the last; 0 if unknown or not constant.

    Args:
        context: codec context of a sound stream that is read.
    """
    name, header = context.name, bytes(context.extradata or b"")
    if name in ("ac3", "eac3"):
        return _AC3_SAMPLES
    if name == "flac" and len(header) >= 4:  # RFC 9639, STREAMINFO: shortest and longest block
        shortest, longest = (int.from_bytes(header[n : n + 2], "big") for n in (0, 2))
        return longest if shortest == longest else 0
    if name == "alac" and len(header) >= 16:  # Apple Lossless magic cookie in its box: frameLength
        return int.from_bytes(header[12:16], "big")
    return int(context.frame_size or 0)


def opus_samples(data: bytes) -> int:
    """Samples at 48 kHz of an Opus packet (RFC 6716, section 3).

    >>> opus_samples(bytes([0b11111_000])), opus_samples(bytes([0b10000_011, 3]))
    (960, 360)
    """
    if not data:
        return 0
    mode, code = data[0] >> 3, data[0] & 3
    if mode < 12:
        frame = (480, 960, 1920, 2880)[mode % 4]
    elif mode < 16:
        frame = (480, 960)[mode % 2]
    else:
        frame = (120, 240, 480, 960)[mode % 4]
    frames = (1, 2, 2, data[1] & 63 if len(data) > 1 else 0)[code]
    return frame * frames


def pcm_after(packet: Packet, stream: Stream, start: Fraction) -> Packet | None:
    """The samples of an uncompressed packet from a time on; None for other codecs.

    Args:
        packet: begins before ``start`` and ends after it.
        stream: of the source.
        start: seconds.
    """
    context: Any = stream.codec_context
    name = context.name
    is_plain = re.fullmatch(r"pcm_([suf]\d+[lb]e|[su]8|alaw|mulaw)", name)
    if is_plain is None or packet.pts is None or not packet.time_base:
        return None
    size = _sample_bytes(name) * int(context.layout.nb_channels)
    base = fraction(ratio(packet.time_base))
    skipped = round((start - packet.pts * base) * context.sample_rate)
    data = bytes(cast(Any, packet))[skipped * size :]
    if not size or not data:
        return None
    rest = av.Packet(data)
    rest.time_base = Fraction(1, context.sample_rate)
    rest.pts = rest.dts = round(start * context.sample_rate)
    rest.duration = len(data) // size
    return cast(Packet, rest)


def _sample_bytes(name: str) -> int:
    digits = "".join(character for character in name if character.isdigit())
    return int(digits or 8) // 8
