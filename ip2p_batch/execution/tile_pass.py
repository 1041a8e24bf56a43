"""The tile pass over full-size results, if the recipe asks for it.

The model draws in 8 bits. Its noise is then removed (:mod:`ip2p_batch.transfer.model_noise`), which
also gives the result the depth of the source.
"""

from __future__ import annotations

from ..editing.editor import EditSession, Overrides, TileSession
from ..editing.tile_options import TileOptions
from ..errors import EditError, NotFinite
from ..frame import Frame, FullImage, Mask
from ..media.depth import to_8_bits
from ..transfer.model_noise import without_noise
from .chunk_run import ChunkRun


class TilePass:
    """Draws results of one session again; in the caller's thread, which uses the device.

    Attributes:
        notes: by frame number, as :attr:`EditSession.notes`.
    """

    def __init__(self, run: ChunkRun, session: TileSession) -> None:
        self.notes: dict[int, str] = {}
        self._run = run
        self._session = session
        self._options = TileOptions.of_job(run.job)

    def refine(
        self,
        source: FullImage,
        result: FullImage,
        frame: Frame,
        overrides: Overrides | None = None,
        *,
        mask: Mask | None = None,
    ) -> FullImage:
        """Draw one result again.

        Args:
            source, result: the full-size source, and the edit that was transferred to it.
            frame: its place.
            overrides: of an image; None: the recipe applies.
            mask: what may change, at full size; None: everything.

        Returns:
            of the shape and depth of the source, without the model's noise.

        Raises:
            EditError: the model failed.
        """
        self._run.watchdog.restart()
        pair = (
            Frame(frame.index, frame.pts, to_8_bits(source), mask=mask),
            frame.with_image(to_8_bits(result)),
        )
        own = None if overrides is None else [overrides]
        with self._run.timer.stage("edit"):
            try:
                (refined,) = self._session.refine([pair], self._options, overrides=own)
            except NotFinite:
                self.notes[frame.index] = "gave no finite image in the tile pass and skips it"
                return result
            return without_noise(source, refined.image)


def tile_pass(run: ChunkRun, session: EditSession) -> TilePass | None:
    """The run's tile pass; None if its recipe asks for none.

    Raises:
        EditError: the editor has no tile pass.
    """
    if run.job.recipe.detail != "tiles":
        return None
    if not isinstance(session, TileSession):
        raise EditError("This editor has no tile pass.", hint="Use --detail source.")
    return TilePass(run, session)
