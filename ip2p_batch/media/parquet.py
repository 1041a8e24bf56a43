"""Read Parquet tables, if pyarrow is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import SourceError

_ROWS_PER_BATCH = 4096


Rows = Callable[[Sequence[str]], Iterator[dict[str, Any]]]


def read_parquet(path: Path) -> tuple[list[str], Rows]:
    """Open a Parquet file.

    Returns:
        the names of its columns, and a function that yields the rows of some of them as Python
        values. Other columns, such as embedded images, are not read.

    Raises:
        SourceError: pyarrow is not installed, or the file is not Parquet.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise SourceError(
            f"{path}: reading Parquet tables requires pyarrow.",
            path=path,
            hint='Install it with `pip install "ip2p-batch[parquet]"`, or save the table as CSV.',
        ) from None
    try:
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
    except (OSError, pyarrow.ArrowException) as error:
        raise _damaged(path, error) from None

    def rows(columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        try:
            for batch in file.iter_batches(_ROWS_PER_BATCH, columns=list(columns)):
                yield from batch.to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise _damaged(path, error) from None
        finally:
            file.close()

    return names, rows


def _damaged(path: Path, error: Exception) -> SourceError:
    reason = str(error).split("\n")[0][:120]
    return SourceError(
        f"{path}: it is not a Parquet table ({reason})", path=path, hint="Save the table again."
    )
