"""The edit sizes of a model: what ``--size auto`` means."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import msgspec
from msgspec import Meta

from .kinds import FACTS

#: File in a model folder with the edit sizes of ``--size auto``; optional.
EDIT_SIZES_FILE = "ip2p_edit_sizes.json"

#: Pixels of a longest side; the limits are those of ``--size``.
_EditSize = Annotated[int, Meta(ge=64, le=4096)]


class EditSizeRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The edit size of sources up to a size.

    Attributes:
        up_to: longest side of the source in pixels, at least 1.
        edit_size: longest side at which it is edited, in pixels.
    """

    up_to: Annotated[int, Meta(ge=1)]
    edit_size: _EditSize


class EditSizes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The edit sizes of a model: what ``--size auto`` means.

    Attributes:
        training_size: longest side in pixels that the model was trained for.
        sizes: by the size of the source, ascending; the last row is for larger sources, too.
        measured: the command, machine, versions and date of the measurement; empty where nothing
            was measured.

    Raises:
        ValueError: no row, rows that do not ascend, or an edit size above ``training_size``.
    """

    training_size: _EditSize
    sizes: tuple[EditSizeRow, ...]
    measured: str = ""

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("`sizes` has no row")
        for row, following in pairwise(self.sizes):
            if following.up_to <= row.up_to or following.edit_size < row.edit_size:
                raise ValueError("the rows of `sizes` do not ascend")
        if self.sizes[-1].edit_size > self.training_size:
            raise ValueError(
                f"edit size {self.sizes[-1].edit_size} is above the training size,"
                f" {self.training_size}"
            )

    @classmethod
    def unmeasured(cls, training_size: int) -> EditSizes:
        """One edit size for every source: ``training_size``, in pixels."""
        row = EditSizeRow(up_to=4096, edit_size=training_size)
        return cls(training_size=training_size, sizes=(row,))

    def table(self) -> tuple[tuple[int, int], ...]:
        """The rows as ``(up_to, edit_size)``, as a job stores them."""
        return tuple((row.up_to, row.edit_size) for row in self.sizes)

    def trained_at(self, size: int) -> EditSizes:
        """The edit sizes of this model after fine-tuning on squares of ``size`` pixels.

        Training at a larger size invalidates the measured rows.
        """
        return self if size <= self.training_size else EditSizes.unmeasured(min(size, 4096))


#: Edit sizes of models without a table. InstructPix2Pix on Stable Diffusion 1.5 was trained at 256
#: pixels; its authors' demo runs it at 512, the size of its base model.
DEFAULT_EDIT_SIZES = EditSizes.unmeasured(FACTS["sd"].training_size)
