"""What a job is asked to do: source, items and the job itself, as pure data.

Frame and item ranges are half-open everywhere: ``[start, stop)``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..recipe import EditSize, Recipe
from .codec import FrozenStruct
from .coding import Decoding, Encoding
from .companion import MASK, Companion, ItemCompanion, hints_use
from .video_facts import VideoFacts

#: Order among the jobs that share a queue.
Priority = Literal["high", "normal", "low"]


class Source(FrozenStruct, frozen=True, kw_only=True):
    """One video file, or one folder / manifest / file of images, with its probed facts.

    Attributes:
        path: absolute path of the file or folder.
        stamp: size and modification time: a resume refuses a source that changed.
        video: facts of a video; None for images.
        items: number of images found, including unreadable ones; 0 for a video.
        start, stop: frames of a video to edit, half-open.
    """

    path: str
    stamp: str
    video: VideoFacts | None = None
    items: int = 0
    start: int = 0
    stop: int = 0

    @property
    def noun(self) -> str:
        """Unit of progress: ``frame`` or ``image``."""
        return "frame" if self.is_video else "image"

    @property
    def is_video(self) -> bool:
        return self.video is not None


class Item(FrozenStruct, frozen=True, kw_only=True):
    """One image of a folder or manifest.

    Attributes:
        source, output: absolute paths.
        width, height: upright size in pixels; 0 where the image could not be opened.
        instruction, negative_prompt, seed, num_inference_steps, guidance_scale,
            image_guidance_scale: of this image; None is the recipe's.
        error: why it cannot be edited, where planning found a reason.
        replaces: stamp of the file that its result may replace; empty where it may replace none.
            See :func:`ip2p_batch.storage.publish.file_stamp`.
        skipped: whether ``error`` only means that its output exists.
        companions: its own images of the job's companions.
    """

    source: str
    output: str
    width: int = 0
    height: int = 0
    instruction: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    image_guidance_scale: float | None = None
    error: str | None = None
    replaces: str = ""
    skipped: bool = False
    companions: tuple[ItemCompanion, ...] = ()

    def companion(self, use: str) -> ItemCompanion | None:
        """Its image of the job's companion for this use; None without one."""
        return next((own for own in self.companions if own.use == use), None)

    def own_values(self) -> dict[str, Any]:
        """The recipe fields that this image has of its own."""
        values = {name: getattr(self, name) for name in _OWN}
        return {name: value for name, value in values.items() if value is not None}

    def session_recipe(self, recipe: Recipe) -> Recipe:
        """The recipe of the session that edits this image: steps and scales may be its own."""
        own = {name: value for name, value in self.own_values().items() if name in _SESSION_OWN}
        return msgspec.structs.replace(recipe, **own) if own else recipe


#: Recipe fields that an image may override; a session applies the second group to all its images.
_SESSION_OWN = ("num_inference_steps", "guidance_scale", "image_guidance_scale")
_OWN = ("instruction", "negative_prompt", "seed", *_SESSION_OWN)


class Job(FrozenStruct, frozen=True, kw_only=True):
    """Source, recipe and destination: all that a worker needs, stored as ``job.json``.

    Attributes:
        size_table: the edit size by the size of the source, for ``--size auto``: rows of
            ``(up_to, edit size)``, ascending, both as longest sides in pixels. The last row is for
            larger sources, too. Empty exactly where the recipe has a size in pixels.
        tile_size: side in pixels of the tiles of ``--detail tiles``: the model's training size, to
            a multiple of 64; 0 without tiles.
        net_digests: of the control nets that are folders, in the recipe's order; empty texts for
            others. See :func:`ip2p_batch.models.control_nets.digest`.
        depth_digests: of the depth estimators that are folders, one text for each control net;
            empty texts for others. See :mod:`ip2p_batch.hints.depth_model`.
        options: fingerprint of the options that a video is edited with, for repeated runs; not in
            the fingerprint of the job, which has the options themselves.
        replaces: stamp of the file that a video's result may replace; as :attr:`Item.replaces`.
        reference_digest: SHA-256 of the pixels of ``reference.png``; empty without one.
        companions: hints and masks of the user's own, see :class:`Companion`.
        mask_digest: SHA-256 of ``masks.zip``; empty without one.
        allow_mixed_hardware: whether workers with other compute profiles may edit it.
        priority: among the jobs of a broker; not in the fingerprint, since pixels do not
            depend on it.

    Raises:
        ValueError: the recipe's size is ``auto`` and there is no table, or the other way round; the
            same for tiles and their size.
    """

    id: str
    source: Source
    recipe: Recipe
    output: str
    size_table: tuple[tuple[Annotated[int, Meta(ge=1)], EditSize], ...] = ()
    tile_size: Annotated[int, Meta(ge=0)] = 0
    net_digests: tuple[str, ...] = ()
    depth_digests: tuple[str, ...] = ()
    decoding: Decoding = Decoding()
    encoding: Encoding = Encoding()
    overwrite: bool = False
    options: str = ""
    replaces: str = ""
    reference_digest: str = ""
    companions: tuple[Companion, ...] = ()
    mask_digest: str = ""
    allow_mixed_hardware: bool = False
    priority: Priority = "normal"
    version: int = 1

    def __post_init__(self) -> None:
        if (self.recipe.size == "auto") != bool(self.size_table):
            raise ValueError("a job has a table of edit sizes exactly if its size is auto")
        if (self.recipe.detail == "tiles") != bool(self.tile_size):
            raise ValueError("a job has a size of tiles exactly if its detail is tiles")

    def edit_size(self, width: int, height: int) -> int:
        """The longest side at which a source of ``width`` x ``height`` pixels is edited.

        A pure function: planning and every worker get the same size.

        Args:
            width, height: upright, in stored pixels.
        """
        if self.recipe.size != "auto":
            return self.recipe.size
        return table_edit_size(self.size_table, max(width, height))

    def fingerprint(self) -> str:
        """SHA-256 over everything that determines the result; every receipt contains it."""
        sizes = (self.size_table, self.tile_size)
        options = (self.decoding, self.encoding)
        nets = (self.net_digests, self.depth_digests)
        files = (self.reference_digest, self.companions, nets, self.mask_digest)
        parts = (self.recipe, sizes, options, self.source, files)
        return _sha256(parts)

    def item_fingerprint(self, item: Item) -> str:
        """SHA-256 over everything that determines one image's result, except for the source.

        Equal for equal options in different jobs: a table of edit sizes counts by its outcome, and
        an image's own instruction, seed and so on count as the recipe's. Files that the recipe
        names count by their stamps.
        """
        own = item.own_values() | {"size": self.edit_size(item.width, item.height)}
        recipe = self._without_paths(**own)
        decoding = msgspec.structs.replace(self.decoding, follow_links=False)
        companions = [(own.use, own.stamp) for own in item.companions]
        files = (self.reference_digest, companions, self.net_digests, self.depth_digests)
        parts = (recipe, self.tile_size, decoding, self.encoding, files)
        return _sha256(parts)

    def companion(self, use: str) -> Companion | None:
        """The companion for this use; None without one."""
        return next((own for own in self.companions if own.use == use), None)

    def _without_paths(self, **changes: Any) -> Recipe:
        """The recipe with other values, and without the paths of files that are in the job."""
        uses = {own.use for own in self.companions}
        control = tuple(
            msgspec.structs.replace(net, hints=use) if (use := hints_use(n)) in uses else net
            for n, net in enumerate(self.recipe.control)
        )
        mask = MASK if MASK in uses else self.recipe.mask
        files = {"reference_image": None, "control": control, "mask": mask}
        return msgspec.structs.replace(self.recipe, **files, **changes)


def _sha256(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def table_edit_size(table: Sequence[tuple[int, int]], longest: int) -> int:
    """The edit size of a source with this longest side, by a table as :attr:`Job.size_table`.

    >>> [table_edit_size([(720, 192), (4096, 256)], side) for side in (640, 1280, 9000)]
    [192, 256, 256]
    """
    return next((size for up_to, size in table if longest <= up_to), table[-1][1])
