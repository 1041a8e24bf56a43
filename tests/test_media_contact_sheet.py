"""The before-and-after sheet."""

import cv2
import numpy as np
import pytest
from PIL import Image

from ip2p_batch.errors import OutputError
from ip2p_batch.media.contact_sheet import write_before_after, write_contact_sheet
from ip2p_batch.media.gradient import busiest_window

from .pictures import scene


def drawn(tmp_path, pairs, title="make it snow", captions=None):
    path = tmp_path / "sheet.png"
    names = captions or [f"{n}.0 s" for n in range(len(pairs))]
    write_before_after(pairs, path, title=title, captions=names)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB"
        return np.asarray(picture)


def flat(width, height, color):
    return np.full((height, width, 3), color, np.uint8)


RED, BLUE = (220, 20, 20), (20, 20, 220)


def columns_of(sheet, color):
    return np.flatnonzero((sheet == color).all(axis=-1).any(axis=0))


def test_the_source_is_left_and_the_result_right_at_the_same_height(tmp_path):
    sheet = drawn(tmp_path, [(flat(640, 360, RED), flat(640, 360, BLUE))] * 3)
    assert sheet.shape[1] <= 1400
    red, blue = (sheet == RED).all(axis=-1), (sheet == BLUE).all(axis=-1)
    assert np.array_equal(red.any(axis=1), blue.any(axis=1))
    assert columns_of(sheet, RED).max() < columns_of(sheet, BLUE).min()
    assert np.count_nonzero(np.diff(red.any(axis=1).astype(int)) == 1) == 3
    assert red.sum() == blue.sum()


def test_a_sheet_replaces_sheets_and_no_other_file(tmp_path):
    pairs = [(flat(64, 36, RED), flat(64, 36, BLUE))]
    first, second = drawn(tmp_path, pairs, title="one"), drawn(tmp_path, pairs, title="another")
    assert not np.array_equal(first, second)
    photo = tmp_path / "sheet.png"
    Image.fromarray(scene()).save(photo)
    before = photo.read_bytes()
    with pytest.raises(OutputError, match="not a report"):
        drawn(tmp_path, pairs)
    assert photo.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_portrait_pairs_share_a_row(tmp_path):
    sheet = drawn(tmp_path, [(flat(360, 640, RED), flat(360, 640, BLUE))] * 4)
    red = (sheet == RED).all(axis=-1)
    # Two rows of two pairs, then one of two crops.
    assert bands(red[:-400], axis=1) == 2 and bands(red, axis=1) == 3
    assert bands(red[:-400], axis=0) == 2
    assert sheet.shape[1] <= 1400


def bands(mask, axis):
    """The number of separate rows (axis 1) or columns (axis 0) that have true pixels."""
    return int(np.count_nonzero(np.diff(mask.any(axis=axis).astype(int)) == 1))


def detailed(width, height, at, seed=0):
    """An image of one colour with noise in a square of 100 pixels, and its edit, a negative."""
    image = flat(width, height, (90, 120, 60))
    left, top = at
    noise = np.random.default_rng(seed).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    image[top : top + 100, left : left + 100] = noise
    return image, 255 - image


def contains(sheet, part):
    """Whether ``part`` is somewhere in the sheet, pixel for pixel."""
    found = cv2.matchTemplate(sheet, np.ascontiguousarray(part), cv2.TM_SQDIFF)
    top, left = np.unravel_index(int(np.argmin(found)), found.shape)
    height, width = part.shape[:2]
    return np.array_equal(sheet[top : top + height, left : left + width], part)


def test_large_pairs_have_crops_of_their_detail_pixel_for_pixel(tmp_path):
    places = [(100, 500), (1500, 80), (700, 900)]
    pairs = [detailed(1920, 1080, at, seed) for seed, at in enumerate(places)]
    sheet = drawn(tmp_path, pairs)
    for number, (pair, (left, top)) in enumerate(zip(pairs, places, strict=True)):
        for image in pair:
            # Two of three pairs are chosen, spread evenly.
            noise = image[top : top + 100, left : left + 100]
            assert contains(sheet, noise) == (number != 1)


def test_one_large_pair_has_a_crop_as_wide_as_its_cells(tmp_path):
    pair = detailed(1280, 720, (1100, 600))
    sheet = drawn(tmp_path, [pair])
    for image in pair:
        assert contains(sheet, image[384:704, 560:1216])  # the first that has all of the noise


def test_images_that_the_sheet_shows_completely_have_no_crop(tmp_path):
    for width, height in ((640, 360), (300, 200)):
        pair = detailed(width, height, (80, 90))
        sheet = drawn(tmp_path, [pair] * 2)
        assert sheet.shape[0] < 2 * 460 + 250
    # 640 pixels nearly fill a cell, so they are not resampled.
    wide = detailed(640, 360, (400, 200))
    sheet = drawn(tmp_path, [wide])
    assert contains(sheet, wide[0]) and contains(sheet, wide[1])


def test_pairs_of_two_sizes_have_no_crop(tmp_path):
    source, result = detailed(1280, 720, (1100, 600))
    mixed = drawn(tmp_path, [(source, result[:700])])
    equal = drawn(tmp_path, [(source, result)])
    assert equal.shape[0] - mixed.shape[0] > 300


def test_a_pair_with_a_thin_image_has_a_crop_of_its_height(tmp_path):
    source = np.random.default_rng(0).integers(0, 256, (40, 3000, 3), dtype=np.uint8)
    result = 255 - source
    sheet = drawn(tmp_path, [(source, result)])
    left, _ = busiest_window(source, (656, 40))
    for image in (source, result):
        assert contains(sheet, image[:, left : left + 656])


def test_crops_of_one_video_show_two_places(tmp_path):
    source = flat(1280, 720, (90, 120, 60))
    for left, top, size in ((200, 100, 120), (1000, 500, 100)):
        source[top : top + size, left : left + size] = detailed(size, size, (0, 0), size)[0][
            :size, :size
        ]
    sheet = drawn(tmp_path, [(source, 255 - source)] * 4)
    assert contains(sheet, source[100:200, 200:300]) and contains(sheet, source[500:600, 1000:1100])


def test_images_keep_their_aspect_ratio(tmp_path):
    pairs = [(flat(300, 300, RED), flat(300, 300, BLUE))] * 2
    green = (0, 160, 0)
    sheet = drawn(tmp_path, [*pairs, (flat(400, 100, green), flat(400, 100, BLUE))])
    mask = (sheet == green).all(axis=-1)
    width, height = mask.any(axis=0).sum(), mask.any(axis=1).sum()
    assert width / height == pytest.approx(4, rel=0.03)


@pytest.mark.parametrize(
    "title", ["x" * 500, "make " * 200, "", "雪\n\tb\0\ud800", "Füge Schnee hinzu"]
)
def test_any_title_and_caption_is_drawn(tmp_path, title):
    sheet = drawn(tmp_path, [(scene(), scene())], title=title, captions=[title])
    assert sheet.shape[1] <= 1400


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2000, 3), (3, 2000), (1600, 1200)])
def test_any_size_is_drawn(tmp_path, width, height):
    sheet = drawn(tmp_path, [(scene(width, height), scene(width, height))])
    assert 100 < sheet.shape[1] <= 1400 and sheet.shape[0] < 1400


def test_pairs_and_captions_must_match(tmp_path):
    for pairs, captions in (([], []), ([(scene(), scene())], [])):
        with pytest.raises(ValueError, match="give one for each"):
            write_before_after(pairs, tmp_path / "a.png", title="", captions=captions)


def test_a_sheet_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        write_before_after(
            [(scene(), scene())], tmp_path / "file" / "a.png", title="", captions=["a"]
        )
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError):
        write_before_after([(scene(), scene())], tmp_path / "folder.png", title="", captions=["a"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_contact_sheet_has_a_column_for_each_heading_and_the_first_in_every_band(tmp_path):
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    columns = [
        (str(n), [np.full((40, 40, 3), color, np.uint8)] * 2) for n, color in enumerate(colors)
    ]
    write_contact_sheet(columns, tmp_path / "sheet.png", cell=40, across=3)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).reshape(-1, 3)
    counts = [int((sheet == color).all(axis=1).sum()) // 1600 for color in colors]
    assert counts == [4, 2, 2, 2]  # two bands of two rows: the first column is in both


def test_columns_of_different_lengths_are_refused(tmp_path):
    one = np.zeros((40, 40, 3), np.uint8)
    for columns in ([], [("a", [one]), ("b", [one, one])]):
        with pytest.raises(ValueError, match="the same length"):
            write_contact_sheet(columns, tmp_path / "sheet.png")
