"""The sessions of a chunk of images: one for each set of steps and scales among its images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..editing.editor import ChunkContext, EditSession
from ..jobs.spec import Item
from ..recipe import Recipe
from .chunk_run import ChunkRun
from .tile_pass import TilePass, tile_pass
from .video import NewSession


class ImageSession(NamedTuple):
    """A session, and its tile pass if the recipe asks for one."""

    session: EditSession
    tiles: TilePass | None


class ImageSessions:
    """Creates each session when its first image comes."""

    def __init__(self, run: ChunkRun, new_session: NewSession) -> None:
        self._run = run
        self._new_session = new_session
        self._sessions: dict[Recipe, ImageSession] = {}
        self.first = self._get(run.job.recipe)

    def of(self, item: Item) -> ImageSession:
        """The session that edits ``item``."""
        return self._get(item.session_recipe(self._run.job.recipe))

    def _get(self, recipe: Recipe) -> ImageSession:
        if recipe not in self._sessions:
            session = self._new_session(ChunkContext(), recipe)
            self._sessions[recipe] = ImageSession(session, tile_pass(self._run, session))
        return self._sessions[recipe]

    @property
    def warnings(self) -> tuple[str, ...]:
        every = [line for session, _ in self._sessions.values() for line in session.warnings]
        return tuple(dict.fromkeys(every))

    def notes(self, index: int) -> Iterator[str]:
        """What was done about an image, in words."""
        for session, tiles in self._sessions.values():
            for notes in (session.notes, tiles.notes if tiles else {}):
                if index in notes:
                    yield notes[index]
