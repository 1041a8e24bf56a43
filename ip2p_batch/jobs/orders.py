"""Orders to a job under way: markers in its folder, which everybody who works at it looks for.

They need neither broker nor workers, and take effect whoever the job was handed to.
"""

from __future__ import annotations

from .folder import JobFolder


def cancel(folder: JobFolder) -> None:
    """Ask all workers to drop this job; they look between denoising steps."""
    if not folder.ended:
        folder.mark_once("cancel")


def pause(folder: JobFolder) -> None:
    """Have a job stand still: workers finish the chunks in hand, and take no more of it.

    Its messages in the queue end as they come up, so they keep nobody from other jobs.
    """
    if not folder.ended:
        folder.mark_once("pause")
