"""Correction: frames are pulled the way their borders have to be pulled. See ``carryover``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .carryover import Between, Border
from .sampling import Lane

Tensor = torch.Tensor


class Pulls:
    """Makes border lanes reach their finished latents, and other lanes follow.

    At each step a border's clean prediction x0 is replaced by its finished latents z, and the
    difference ``z - x0`` of the two borders beside a frame, warped and blended to its place, is
    added to the frame's own prediction.

    Args:
        guides: each border's lane, one frame each; to be advanced before the lanes that follow.
        borders: the borders, with finished latents.
        stop: the step from which on nothing is pulled any more.
    """

    def __init__(self, guides: Sequence[Lane], borders: Sequence[Border], stop: int) -> None:
        self._stop = stop
        self._found: dict[int, Tensor] = {}
        for lane, border in zip(guides, borders, strict=True):
            assert border.handed.final is not None
            self._let(lane, self._to(border.index, border.handed.final))

    def follow(self, lane: Lane, places: Sequence[Between]) -> None:
        """Pull ``lane``, whose frames lie at ``places``, along."""

        def pull(clean: Tensor) -> Tensor:
            moved = [place.blend(*(self._found[end] for end in place.ends)) for place in places]
            # What is hidden from both borders goes its own way.
            deltas = [delta * (1 - hidden) for delta, hidden in moved]
            return clean + torch.stack(deltas).to(clean.device)

        self._let(lane, pull)

    def _let(self, lane: Lane, pull: Callable[[Tensor], Tensor]) -> None:
        lane.pull, lane.pull_stop = pull, self._stop

    def _to(self, border: int, final: Tensor) -> Callable[[Tensor], Tensor]:
        def pull(clean: Tensor) -> Tensor:
            wanted = final[None].to(clean.device).expand_as(clean)
            self._found[border] = (wanted - clean)[0].cpu()
            return wanted

        return pull
