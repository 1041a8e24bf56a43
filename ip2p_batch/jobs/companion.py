"""Companions of a job: a user's own images, one for each frame or image of the source."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .codec import FrozenStruct

#: ``video``: also an image sequence or an animated image; ``folder``: images in the order of the
#: frames; ``image``: one for all; ``items``: a folder with an image for each item.
CompanionKind = Literal["video", "folder", "image", "items"]
#: The use of a mask.
MASK = "mask"


def hints_use(net: int) -> str:
    """The use of hints for a control net, by its place in the recipe."""
    return f"hints-{net}"


class Companion(FrozenStruct, frozen=True, kw_only=True):
    """A video, image sequence, folder or image that a recipe names, as planning found it.

    Attributes:
        use: what it is for, unique in a job: :data:`MASK` or :func:`hints_use`.
        path: absolute path.
        kind: see :data:`CompanionKind`.
        stamp: size and modification time of all its files; empty for ``items``, whose images have
            stamps of their own. See :func:`ip2p_batch.media.companion.files.companion_stamp`.
        count: number of images; 0 for ``items``.
        first: number of the source's frame that its first image belongs to.
        width, height: upright size in stored pixels; 0 for ``items``.
    """

    use: str
    path: str
    kind: CompanionKind
    stamp: str = ""
    count: Annotated[int, Meta(ge=0)] = 0
    first: Annotated[int, Meta(ge=0)] = 0
    width: int = 0
    height: int = 0


class ItemCompanion(FrozenStruct, frozen=True, kw_only=True):
    """The companion image of one item.

    Attributes:
        use: as :attr:`Companion.use`.
        path: absolute path of the image.
        stamp: its size and modification time.
    """

    use: str
    path: str
    stamp: str
