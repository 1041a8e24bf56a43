"""Whole jobs with masks: the source's pixels stay, bit for bit, and protected frames unedited."""

from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from ip2p_batch import scheduler
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.media.images.reader import read_still
from ip2p_batch.media.video import probe
from ip2p_batch.media.video.reader import VideoReader
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler.local_executor import LocalExecutor

from . import clips
from .sequences import write_sequence


class Inverting(IdentityEditor):
    """Inverts frames, and notes which."""

    def __init__(self):
        super().__init__(transform=self._invert)
        self.seen = 0

    def _invert(self, image):
        self.seen += 1
        return 255 - image


def edit(source, output, settings, editor=None, *, start=None, end=None, **recipe):
    """Run a job in this process; returns its result and the editor."""
    values: dict[str, Any] = {"instruction": "x", "model": "identity"}
    values |= {"size": 64, "chunk_frames": 4}
    encoding = recipe.pop("encoding", Encoding())
    decoding = recipe.pop("decoding", Decoding())
    request = scheduler.EditRequest(
        source=source,
        output=output,
        recipe=Recipe(**values | recipe),
        encoding=encoding,
        decoding=decoding,
        start=start,
        end=end,
        overwrite=True,
    )
    folder = scheduler.create_job(request, settings)
    editor = editor or Inverting()
    for event in scheduler.follow_job(folder, LocalExecutor(lambda _: editor, WorkerCache(1))):
        assert event.kind != "failed", event
    return folder.result(), editor


def box(height, width, top, left, side):
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + side, left : left + side] = 255
    return mask


def product(width=120, height=80, seed=0):
    """A noisy disc on transparent ground, RGBA."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    alpha = np.clip((20 - distance) * 255, 0, 255)
    return np.dstack([rng.integers(0, 256, (height, width, 3)), alpha]).astype(np.uint8)


def read(path, *, deep=False):
    still = read_still(path, deep=deep)
    return still.image, still.alpha


# -- images ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size"), [(200, 64), (4, 120)])
def test_a_folder_of_products_gets_backgrounds_and_keeps_every_product(
    tmp_path, settings, count, size
):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for n in range(count):
        Pillow.fromarray(product(seed=n)).save(source / f"{n:03d}.png")
    result, editor = edit(
        source, output, settings, mask="alpha", mask_invert=True, size=size, temporal_filter=0
    )
    assert not result.failed and editor.seen == count
    for n in range(count):
        before = product(seed=n)
        image, alpha = read(output / f"{n:03d}.png")
        opaque = before[..., 3] == 255
        assert np.array_equal(image[opaque], before[..., :3][opaque])
        assert alpha is None or (alpha == 255).all(), "the background is filled"
        assert np.abs(image[~opaque].astype(int) - 0).mean() > 1


def test_opacity_as_a_mask_edits_the_product_and_keeps_the_opacity(tmp_path, settings):
    source = tmp_path / "a.png"
    Pillow.fromarray(product()).save(source)
    edit(source, tmp_path / "out.png", settings, mask="alpha", size=120)
    image, alpha = read(tmp_path / "out.png")
    assert np.array_equal(alpha, product()[..., 3])
    inside = product()[..., 3] == 255
    assert np.array_equal(image[inside], 255 - product()[..., :3][inside])


def test_a_deep_image_keeps_16_bits_outside_of_a_drawn_mask(tmp_path, settings):
    source = tmp_path / "in_%03d.png"
    write_sequence(source, 1, deep=True)
    still = next(tmp_path.glob("in_*.png"))
    before, _ = read(still, deep=True)
    mask = box(64, 64, 10, 20, 24)
    Pillow.fromarray(mask).save(tmp_path / "mask.png")
    for feather in (0, 5):
        edit(still, tmp_path / "out.png", settings, mask=str(tmp_path / "mask.png"), size=64,
             mask_feather=feather)  # fmt: skip
        after, _ = read(tmp_path / "out.png", deep=True)
        assert after.dtype == np.uint16 == before.dtype
        assert np.array_equal(after[mask == 0], before[mask == 0])
        assert (after != before).any(axis=2)[mask > 0].mean() > 0.9


def test_an_image_with_an_empty_mask_is_not_edited_and_a_full_one_changes_nothing(
    tmp_path, settings
):
    source, masks = tmp_path / "in", tmp_path / "masks"
    source.mkdir(), masks.mkdir()
    for name, level in (("a", 0), ("b", 255)):
        Pillow.fromarray(product()[..., :3].copy()).save(source / f"{name}.png")
        Pillow.fromarray(np.full((80, 120), level, np.uint8)).save(masks / f"{name}.png")
    _, editor = edit(source, tmp_path / "out", settings, mask=str(masks), size=64)
    assert editor.seen == 1
    edit(source, tmp_path / "plain", settings, size=64)
    assert np.array_equal(read(tmp_path / "out/a.png")[0], product()[..., :3])
    full, plain = (read(tmp_path / f"{name}/b.png")[0] for name in ("out", "plain"))
    assert np.array_equal(full, plain)


def test_images_without_transparency_or_with_a_mask_of_another_size_are_named(tmp_path, settings):
    source, masks = tmp_path / "in", tmp_path / "masks"
    source.mkdir(), masks.mkdir()
    for name in "ab":
        Pillow.fromarray(product()[..., :3].copy()).save(source / f"{name}.png")
        size = (120, 80) if name == "a" else (60, 40)
        Pillow.new("L", size, 255).save(masks / f"{name}.png")
    result, _ = edit(source, tmp_path / "out", settings, mask=str(masks))
    ((path, reason),) = result.failed
    assert path.endswith("b.png") and "60x40 pixels, and the source 120x80" in reason
    result, _ = edit(source, tmp_path / "out2", settings, mask="alpha")
    assert [reason for _, reason in result.failed] == [
        "it has no transparency to make a mask of"
    ] * 2
    with pytest.raises(SourceError, match="60x40 pixels, and the source 120x80"):
        edit(source / "b.png", tmp_path / "b.png", settings, mask=str(masks / "b.png"))


# -- videos ---------------------------------------------------------------------------------


def test_outside_of_a_mask_a_whole_16_bit_clip_is_bit_equal(tmp_path, settings):
    source, output = tmp_path / "in/f_%03d.png", tmp_path / "out/f_%03d.png"
    height, width = 96, 128
    write_sequence(source, 10, deep=True, size=(width, height))
    masks = tmp_path / "masks"
    masks.mkdir()
    for n in range(10):
        mask = box(height, width, 10, 4 * n, 22) if n not in (3, 4) else np.zeros((height, width))
        Pillow.fromarray(mask.astype(np.uint8)).save(masks / f"m{n}.png")
    changed = []
    for size, feather in ((64, 0), (64, 4), (128, 4)):
        edit(source, output, settings, mask=str(masks), size=size, mask_feather=feather)
        pairs = zip(sorted(source.parent.iterdir()), sorted(output.parent.iterdir()), strict=True)
        for n, (before, after) in enumerate(pairs):
            old, new = read(before, deep=True)[0], read(after, deep=True)[0]
            mask = np.asarray(Pillow.open(masks / f"m{n}.png"))
            assert new.dtype == np.uint16
            assert np.array_equal(new[mask == 0], old[mask == 0])
            if mask.any():
                changed.append((new != old).any(axis=2)[mask > 0].mean())
    assert len(changed) == 24 and min(changed) > 0.8


def test_the_soft_edge_of_a_frame_is_that_of_an_image(tmp_path, settings):
    source, output = tmp_path / "in/f_%03d.png", tmp_path / "out/f_%03d.png"
    write_sequence(source, 3, size=(64, 64))
    mask = tmp_path / "mask.png"
    Pillow.fromarray(box(64, 64, 8, 8, 40)).save(mask)
    values: dict[str, Any] = {"mask": str(mask), "mask_feather": 8, "carryover": 0}
    edit(source, output, settings, temporal_filter=0, **values)
    first = min(source.parent.iterdir())
    edit(first, tmp_path / "alone.png", settings, **values)
    frame, image = read(min(output.parent.iterdir()))[0], read(tmp_path / "alone.png")[0]
    assert np.array_equal(frame, image)
    assert not np.array_equal(frame, read(first)[0])


def test_protected_frames_do_not_reach_the_editor(tmp_path, settings):
    source = clips.make(tmp_path / "in.mkv", 12)
    masks = tmp_path / "masks"
    masks.mkdir()
    for n in range(12):
        Pillow.new("L", (64, 64), 255 * (n >= 6)).save(masks / f"{n}.png")
    _, editor = edit(source, tmp_path / "out.mkv", settings, mask=str(masks), carryover=0,
                     temporal_filter=0, encoding=Encoding(codec="ffv1"))  # fmt: skip
    assert editor.seen == 6
    edit(source, tmp_path / "plain.mkv", settings, carryover=0, temporal_filter=0,
         encoding=Encoding(codec="ffv1"))  # fmt: skip
    edit(source, tmp_path / "same.mkv", settings, IdentityEditor(), carryover=0, temporal_filter=0,
         encoding=Encoding(codec="ffv1"))  # fmt: skip
    some, all_, none = (clips.images_of(tmp_path / f"{n}.mkv") for n in ("out", "plain", "same"))
    assert all(np.array_equal(a, b) for a, b in zip(some[:6], none[:6], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(some[6:], all_[6:], strict=True))


def test_a_screen_is_replaced_and_what_stands_before_it_stays(tmp_path, settings):
    source = tmp_path / "a.png"
    image = np.full((80, 120, 3), (40, 180, 70), np.uint8)
    own = product()
    image[own[..., 3] > 0] = own[own[..., 3] > 0][:, :3] // 4 + (150, 0, 60)
    Pillow.fromarray(image).save(source)
    edit(source, tmp_path / "out.png", settings, mask="chroma:green", size=120)
    result, _ = read(tmp_path / "out.png")
    inside = own[..., 3] > 0
    assert np.array_equal(result[inside], image[inside])
    assert np.array_equal(result[~inside], 255 - image[~inside])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mask": "alpha"}, "the video has no transparency"),
        ({"mask": "chroma:pink"}, "a screen is green, blue"),
        ({"mask": "missing.png"}, "missing.png"),
        ({"mask_grow": 3}, "there is none"),
        ({"mask_feather": 3}, "there is none"),
        ({"mask_invert": True}, "there is none"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_before_anything_is_queued(
    tmp_path, settings, values, message
):
    source = clips.make(tmp_path / "in.mkv", 3)
    with pytest.raises((RecipeError, SourceError), match=message) as caught:
        edit(source, tmp_path / "out.mkv", settings, **values)
    assert "\n" not in caught.value.message


def test_a_mask_of_another_size_or_count_is_refused(tmp_path, settings):
    source = clips.make(tmp_path / "in.mkv", 3)
    Pillow.new("L", (32, 32), 255).save(tmp_path / "small.png")
    with pytest.raises(RecipeError, match="32x32 pixels, and the source 64x64"):
        edit(source, tmp_path / "out.mkv", settings, mask=str(tmp_path / "small.png"))
    (tmp_path / "two").mkdir()
    for n in range(2):
        Pillow.new("L", (64, 64), 255).save(tmp_path / f"two/{n}.png")
    with pytest.raises(RecipeError, match="has 2 images, and the source has 3 frames"):
        edit(source, tmp_path / "out.mkv", settings, mask=str(tmp_path / "two"))


def test_boxes_with_times_edit_only_their_frames_and_places(tmp_path, settings):
    source = clips.make(tmp_path / "in.mkv", 12)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("start,end,x,y,width,height\n0.16,0.32,0,0,32,64\n")
    result, editor = edit(source, tmp_path / "out.mkv", settings, mask=f"boxes:{boxes}",
                          carryover=0, temporal_filter=0, mask_feather=0,
                          encoding=Encoding(codec="ffv1"))  # fmt: skip
    assert editor.seen == 4
    assert any("8 of 12 frames lie outside" in line for line in result.warnings)
    edit(source, tmp_path / "same.mkv", settings, IdentityEditor(), carryover=0, temporal_filter=0,
         encoding=Encoding(codec="ffv1"))  # fmt: skip
    some, none = (clips.images_of(tmp_path / f"{n}.mkv") for n in ("out", "same"))
    for n, (after, before) in enumerate(zip(some, none, strict=True)):
        assert np.array_equal(after[:, 36:], before[:, 36:])
        assert np.array_equal(after, before) is (n not in range(4, 8))
    with pytest.raises(RecipeError, match="no frame that is edited has a box"):
        edit(source, tmp_path / "o.mkv", settings, mask=f"boxes:{boxes}", start=0.4)


def test_a_drawn_mask_is_followed_from_its_time_in_both_directions(tmp_path, settings):
    source = clips.make(tmp_path / "in.mkv", 8)
    Pillow.fromarray(box(64, 64, 16, 16, 32)).save(tmp_path / "m.png")
    values: Any = {"mask": f"track:{tmp_path}/m.png@0.12", "carryover": 0, "temporal_filter": 0}
    result, editor = edit(source, tmp_path / "out.mkv", settings, scenes=False, **values)
    assert editor.seen == 8 and result.frames == 8
    with pytest.raises(RecipeError, match="is not among the edited ones"):
        edit(source, tmp_path / "o.mkv", settings, end=0.1, **values)
    with pytest.raises(RecipeError, match=r"frame at 99 s is not among the edited ones"):
        edit(source, tmp_path / "o.mkv", settings, mask=f"track:{tmp_path}/m.png@99")
    still = tmp_path / "a.png"
    Pillow.fromarray(product()).save(still)
    for mask in ("track:m.png", "boxes:m.csv"):
        with pytest.raises(RecipeError, match="is for videos"):
            edit(still, tmp_path / "o.png", settings, mask=mask)


@pytest.mark.parametrize("kind", ["yuv420p", "gbrp10le", "hdr"])
def test_outside_of_a_mask_a_lossless_video_equals_one_without_an_edit(tmp_path, settings, kind):
    """The encoder rounds colours, so the comparison is with a job that changes nothing.

    HDR is rounded even without an edit; there it is one with a black mask.
    """
    source, decoding = tmp_path / "in.mkv", Decoding(hdr="keep" if kind == "hdr" else "tonemap")
    if kind == "hdr":
        clips.make_hdr(source, 5, size=(96, 64))
    elif kind == "yuv420p":
        clips.make(source, 5, size=(96, 64))
    else:
        clips.make_deep(source, 5, pix_fmt=kind, size=(96, 64))
    Pillow.fromarray(box(64, 96, 16, 32, 32)).save(tmp_path / "m.png")
    values: Any = {"encoding": Encoding(codec="ffv1"), "decoding": decoding, "chunk_frames": 3}
    Pillow.new("L", (96, 64)).save(tmp_path / "black.png")
    plain: Any = {"mask": str(tmp_path / "black.png")} if kind == "hdr" else {"temporal_filter": 0}
    edit(source, tmp_path / "same.mkv", settings, IdentityEditor(), **values, **plain)
    edit(source, tmp_path / "out.mkv", settings, mask=str(tmp_path / "m.png"), **values)
    if kind == "yuv420p":  # the result is RGB, so it can be compared with the source itself
        outside = box(64, 96, 16, 32, 32) == 0
        for one, other in zip(read_video(source), read_video(tmp_path / "out.mkv"), strict=True):
            assert np.array_equal(one[outside], other[outside])
    before, after = (planes(tmp_path / f"{name}.mkv") for name in ("same", "out"))
    assert len(before) == len(after) == 5
    for old, new in zip(before, after, strict=True):
        for one, other in zip(old, new, strict=True):
            scale = 64 // len(one)  # of chroma planes
            kept = box(64, 96, 16, 32, 32)[::scale, ::scale] == 0
            if scale > 1:  # chroma is an average over luma's pixels
                kept = cv2.erode(kept.astype(np.uint8), np.ones((3, 3))) > 0
            assert np.array_equal(one[kept], other[kept])
    assert not np.array_equal(before[2][0], after[2][0])


def read_video(path):
    """All frames as a job reads them, RGB."""
    index = probe.index_video(path)
    with VideoReader(path, index.facts, index.pts, index.ids) as reader:
        return [frame.image for frame in reader.frames(0, len(index.pts))]


def planes(path):
    """The samples of all planes of all frames, as stored."""
    with av.open(str(path)) as container:
        return [_planes(frame) for frame in container.decode(video=0)]


def _planes(frame):
    if frame.format.name == "bgr0":  # FFV1's RGB of 8 bits
        return list(frame.to_ndarray(format="rgb24").transpose(2, 0, 1))
    rows = [np.frombuffer(bytes(p), np.uint16).reshape(p.height, -1) for p in frame.planes]
    return [row[:, : plane.width] for row, plane in zip(rows, frame.planes, strict=True)]
