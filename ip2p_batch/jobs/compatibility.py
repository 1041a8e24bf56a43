"""Workers that give the same bits, and what is said of those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .plan import Chunk, ImageChunk
from .ranges import in_words
from .records import ComputeProfile, Receipt, Refusal

#: Fields of :class:`ComputeProfile` as users call them, the likeliest first.
_WORDS: Mapping[str, str] = {
    "device": "device",
    "dtype": "precision",
    "threads": "torch threads",
    "torch": "torch",
    "diffusers": "diffusers",
    "model": "weights",
}


def differences(mine: ComputeProfile, jobs: ComputeProfile) -> tuple[str, ...]:
    """In what a worker differs from a job's identity; empty where it does not.

    >>> common = {"model": "a", "torch": "2.9", "diffusers": "0.4", "dtype": "float16"}
    >>> ours = ComputeProfile(device="A100", **common)
    >>> differences(ours, ComputeProfile(device="H100", **common))
    ('device A100 instead of H100',)
    """
    return tuple(
        f"{words} {getattr(mine, name)} instead of {getattr(jobs, name)}"
        for name, words in _WORDS.items()
        if getattr(mine, name) != getattr(jobs, name)
    )


def mismatch_message(refusal: Refusal) -> str:
    """One line on a worker that takes no part; the same for all that are alike on one host."""
    return (
        f"A worker on {refusal.worker.host} does no chunks of this job, since it would give other"
        f" bits: {', '.join(refusal.mismatches)}."
    )


def mixed(chunks: Iterable[Chunk], receipts: Mapping[str, Receipt]) -> list[str]:
    """Lines for the user on chunks that workers of another kind did."""
    found: dict[tuple[type[Chunk], tuple[str, ...]], list[int]] = {}
    for chunk in chunks:
        receipt = receipts.get(chunk.id)
        if receipt is None or not receipt.mismatches:
            continue
        found.setdefault((type(chunk), receipt.mismatches), []).extend(chunk.numbers)
    return [
        f"{_subject(kind, sorted(numbers))} edited on other hardware: {', '.join(mismatches)}."
        for (kind, mismatches), numbers in found.items()
    ]


def _subject(kind: type[Chunk], numbers: list[int]) -> str:
    many = len(numbers) > 1
    if kind is ImageChunk:
        return f"{len(numbers)} pictures were" if many else "1 picture was"
    noun = kind.noun.capitalize() + ("s" if many else "")
    return f"{noun} {in_words(numbers)} {'were' if many else 'was'}"
