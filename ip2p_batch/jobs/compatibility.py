"""Compatibility of workers: all chunks of a job are edited with one compute profile.

Results of workers with different profiles are not bit-identical. The user may allow that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from ..errors import IncompatibleWorker
from .folder import JobFolder
from .plan import Chunk, ImageChunk
from .records import ComputeProfile, Receipt, Refusal
from .spec import Job

#: Fields of :class:`ComputeProfile` as users call them, the likeliest difference first.
_WORDS: Mapping[str, str] = {
    "device": "device",
    "dtype": "precision",
    "threads": "torch threads",
    "torch": "torch",
    "diffusers": "diffusers",
    "model": "weights",
    "nets": "control nets",
}


def require_compatible(
    folder: JobFolder, job: Job, profile: ComputeProfile | None
) -> tuple[str, ...]:
    """Fix the job's compute profile where it has none yet, else compare this worker's with it.

    Args:
        profile: None for an editor without a model, whose results are the same everywhere.

    Returns:
        The differences, where the job allows them.

    Raises:
        IncompatibleWorker: the profiles differ.
        OutputError: the job folder cannot be written.
    """
    if profile is None:
        return ()
    mismatches = differences(profile, folder.hardware.fix_profile(profile))
    if mismatches and not job.allow_mixed_hardware:
        raise IncompatibleWorker(
            f"This worker's results would differ from the finished chunks of {job.id}:"
            f" {', '.join(mismatches)}.",
            mismatches=mismatches,
            hint="Continue with workers like the first one, or allow other ones:"
            f" `ip2p-batch resume {job.id} --allow-mixed-hardware`.",
        )
    return mismatches


def differences(profile: ComputeProfile, jobs: ComputeProfile) -> tuple[str, ...]:
    """Return how a worker's profile differs from a job's; empty where it does not.

    >>> common = {"model": "a", "torch": "2.9", "diffusers": "0.4", "dtype": "float16"}
    >>> worker = ComputeProfile(device="A100", **common)
    >>> differences(worker, ComputeProfile(device="H100", **common))
    ('device A100 instead of H100',)
    """
    return tuple(
        f"{words} {getattr(profile, name)} instead of {getattr(jobs, name)}"
        for name, words in _WORDS.items()
        if getattr(profile, name) != getattr(jobs, name)
    )


def mismatch_message(refusal: Refusal) -> str:
    """Return one line on an incompatible worker, the same for all such workers of one host."""
    return (
        f"A worker on {refusal.worker.host} skips this job, since its results would not be"
        f" bit-identical: {', '.join(refusal.mismatches)}."
    )


def mixed(chunks: Iterable[Chunk], receipts: Mapping[str, Receipt]) -> list[str]:
    """Return one line for the user per group of chunks that differ from the job's profile."""
    groups: dict[tuple[type[Chunk], tuple[str, ...]], list[int]] = {}
    for chunk in chunks:
        receipt = receipts.get(chunk.id)
        if receipt is None or not receipt.mismatches:
            continue
        groups.setdefault((type(chunk), receipt.mismatches), []).extend(chunk.numbers)
    return [
        f"{_subject(kind, sorted(numbers))} edited on other hardware: {', '.join(mismatches)}."
        for (kind, mismatches), numbers in groups.items()
    ]


def ranges_text(numbers: Sequence[int]) -> str:
    """Return sorted numbers as text, runs as ranges.

    >>> ranges_text([1, 2, 3, 7, 9, 10])
    '1-3, 7, 9-10'
    """
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def _subject(kind: type[Chunk], numbers: list[int]) -> str:
    many = len(numbers) > 1
    if kind is ImageChunk:
        return f"{len(numbers)} images were" if many else "1 image was"
    noun = kind.noun.capitalize() + ("s" if many else "")
    return f"{noun} {ranges_text(numbers)} {'were' if many else 'was'}"
