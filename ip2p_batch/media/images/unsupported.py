"""The error for an intact image that cannot be edited."""

from __future__ import annotations


class UnsupportedSamplesError(ValueError):
    """An intact image whose samples cannot be converted to 8 or 16 bits."""
