"""The item table of a command with several jobs, next to the folder of all results."""

from __future__ import annotations

from ..jobs.folder import JobFolder
from ..jobs.items import ItemStatus, jobless_item, read_items, table_path, write_table
from ..planning.sources import ForSources

_EXISTS = "the output exists already (--overwrite replaces it)"


def all_items(jobs: ForSources[JobFolder]) -> list[ItemStatus]:
    """The rows of all jobs and of the sources without one, sorted by their sources."""
    rows = [row for folder in jobs.made for row in read_items(folder)]
    for refused in jobs.refused:
        output = str(refused.request.output or "")
        rows.append(
            jobless_item(refused.path, output, refused.request.recipe, "failed", refused.reason)
        )
    for request in jobs.skipped:
        source, output = str(request.source), str(request.output)
        rows.append(jobless_item(source, output, request.recipe, "skipped", _EXISTS))
    return sorted(rows, key=lambda row: (row.source, row.output))


def write_all_items(jobs: ForSources[JobFolder]) -> str:
    """Write the table of all jobs, where their results have one folder.

    Returns:
        a warning, if that fails; else an empty text.
    """
    if jobs.folder is None:
        return ""
    path = table_path(jobs.folder)
    failure = write_table(all_items(jobs), path, jobs.folder, jobs.sources)
    return f"{path} is not written: {failure}." if failure else ""
