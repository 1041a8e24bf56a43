"""List the images of a folder, with their sizes and the paths of their results."""

import os

import numpy as np
import pytest
from PIL import Image

from ip2p_batch.errors import SourceError
from ip2p_batch.jobs.codec import decode, encode
from ip2p_batch.jobs.spec import Item
from ip2p_batch.media.images import naming
from ip2p_batch.media.images.listing import find_items, list_folder, measure_items

from . import pictures
from .pictures import save


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(items, folder):
    return [item.source.removeprefix(f"{folder}/") for item in items]


# -- folders ------------------------------------------------------------------------------


def test_images_in_all_subfolders_are_listed_and_mirrored(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    touch(source, "b.JPG", "a.png", "deep/er/c.webp", "deep/d.tif", "e.avif", "f.bmp", "g.jpeg")
    touch(source, "notes.txt", "clip.mp4", "png")
    items = find_items(source, out, format=None)
    names = ["a.png", "b.JPG", "deep/d.tif", "deep/er/c.webp", "e.avif", "f.bmp", "g.jpeg"]
    assert found(items, source) == names
    assert [item.output for item in items] == [str(out / name) for name in names]
    assert not any(item.error for item in items)


def test_the_order_does_not_depend_on_file_creation(tmp_path):
    names = [f"{n}.png" for n in ("z", "a", "Z", "10", "9", "é", "a b")]
    touch(tmp_path / "1", *names)
    touch(tmp_path / "2", *reversed(names))
    first, second = (found(find_items(tmp_path / n, tmp_path / "o"), tmp_path / n) for n in "12")
    assert first == second == sorted(names, key=os.fsencode)


def test_names_change_only_with_the_format(tmp_path):
    touch(tmp_path / "in", "a.jpeg", "b.PNG", "c.tar.webp")
    items = find_items(tmp_path / "in", tmp_path / "out", format="jpeg")
    assert [os.path.basename(i.output) for i in items] == ["a.jpeg", "b.jpg", "c.tar.jpg"]


def test_hidden_files_and_the_output_folder_are_skipped(tmp_path):
    touch(tmp_path, "a.png", ".b.png", ".git/c.png", "edited/a.png", "edited/deep/x.png")
    assert found(find_items(tmp_path, tmp_path / "edited"), tmp_path) == ["a.png"]
    (tmp_path / "same").symlink_to(tmp_path / "edited")
    assert found(find_items(tmp_path, tmp_path / "same"), tmp_path) == ["a.png"]


def test_formats_that_cannot_be_edited_become_errors(tmp_path):
    touch(tmp_path, "a.psd", "b.dng", "c.CR2")
    errors = [item.error for item in find_items(tmp_path, tmp_path / "out")]
    assert errors == [
        "Photoshop images are not supported",
        "camera raw images are not supported",
        "camera raw images are not supported",
    ]


def test_the_later_of_two_images_with_one_output_is_refused(tmp_path):
    touch(tmp_path, "in/a.jpg", "in/a.png", "in/b.png")
    items = find_items(tmp_path / "in", tmp_path / "out", format="png")
    assert [item.error for item in items] == [
        None,
        f"{tmp_path}/out/a.png is already the output of {tmp_path}/in/a.jpg",
        None,
    ]


def test_a_result_never_replaces_another_source(tmp_path):
    touch(tmp_path, "in/in/x.png", "in/x.png")
    items = find_items(tmp_path / "in", tmp_path)
    assert found(items, tmp_path / "in") == ["in/x.png", "x.png"]
    assert "is itself an image to edit" in (items[0].error or "")
    assert items[1].error is None and items[1].output == str(tmp_path / "x.png")
    assert all(item.error for item in find_items(tmp_path / "in", tmp_path / "in"))


def test_links_are_followed_only_inside_the_folder(tmp_path):
    touch(tmp_path, "in/real.png", "in/sub/more.png", "outside/secret.png")
    folder = tmp_path / "in"
    (folder / "inside.png").symlink_to("real.png")
    (folder / "leaves.png").symlink_to(tmp_path / "outside/secret.png")
    (folder / "broken.png").symlink_to("nothing.png")
    (folder / "folder").symlink_to(tmp_path / "outside")
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "sub" / "loop.png").symlink_to("loop.png")
    (folder / "notes").symlink_to(tmp_path / "nothing")
    items = find_items(folder, tmp_path / "out")
    errors = dict(zip(found(items, folder), [item.error for item in items], strict=True))
    assert errors == {
        "broken.png": "a broken link",
        "folder": "a link to a folder outside; --follow-links follows such links",
        "inside.png": None,
        "leaves.png": "a link to a file outside; --follow-links follows such links",
        "real.png": None,
        "sub/loop.png": "a broken link",
        "sub/more.png": None,
    }


def test_links_to_outside_are_followed_on_request_and_each_folder_is_read_once(tmp_path):
    touch(tmp_path, "in/real.png", "in/sub/more.png", "outside/a.png", "outside/deep/b.png")
    touch(tmp_path, "blobs/1f2e", "out/old.png")
    folder = tmp_path / "in"
    (folder / "photo.png").symlink_to(tmp_path / "blobs/1f2e")  # as in a cache of the model hub
    (folder / "first").symlink_to(tmp_path / "outside")
    (folder / "second").symlink_to(tmp_path / "outside")
    (folder / "results").symlink_to(tmp_path / "out")
    (folder / "pipe.png").symlink_to("/dev/null")
    (tmp_path / "outside/back").symlink_to(folder)
    (tmp_path / "outside/deep/up").symlink_to(tmp_path / "outside")
    listed = list_folder(folder, tmp_path / "out", follow_links=True)
    items = listed.items
    errors = dict(zip(found(items, folder), [item.error for item in items], strict=True))
    assert errors == {
        "first/a.png": None,
        "first/deep/b.png": None,
        "photo.png": None,
        "pipe.png": "not a regular file",
        "real.png": None,
        "sub/more.png": None,
    }


def test_a_link_that_leads_to_the_folder_above_lists_no_image_twice(tmp_path):
    touch(tmp_path, "all/in/a.png", "all/b.png")
    folder = tmp_path / "all/in"
    (folder / "up").symlink_to(tmp_path / "all")
    items = list_folder(folder, tmp_path / "out", follow_links=True).items
    assert found(items, folder) == ["a.png", "up/b.png"]


def test_folders_of_thumbnails_and_deleted_files_are_left_out_and_counted(tmp_path):
    touch(tmp_path, "a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/b.jpg")
    touch(tmp_path, "sub/__MACOSX/._c.jpg", "sub/c.jpg", "$RECYCLE.BIN/x.png", ".thumbnails/a.png")
    listed = list_folder(tmp_path, tmp_path / "out")
    assert found(listed.items, tmp_path) == ["a.jpg", "sub/c.jpg"]
    assert listed.notes == (
        "Left out: 5 folders of thumbnails or deleted files (#recycle, $RECYCLE.BIN, ...).",
    )


@pytest.mark.parametrize(
    ("suffix", "name"),
    [(".jfif", "JPEG"), (".jpe", "JPEG"), (".pjpeg", "JPEG"), (".jfi", "JPEG"), (".JIF", "JPEG"),
     (".jpg_large", "JPEG"), (".apng", "PNG"), (".dib", "BMP"), (".btf", "TIFF")],
)  # fmt: skip
def test_other_suffixes_of_a_format_are_listed_and_kept(tmp_path, suffix, name):
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (8, 6)).save(path, name)
    items = measure_items(find_items(tmp_path, tmp_path / "out"))
    assert [(i.error, i.width, i.height) for i in items] == [(None, 8, 6)]
    assert items[0].output == str(tmp_path / "out" / path.name)
    converted = find_items(tmp_path, tmp_path / "out", format=name.lower())
    assert converted[0].output == items[0].output


@pytest.mark.parametrize(
    ("first", "second"), [("A.jpg", "a.JPG"), ("\u00e4.png", "A\u0308.png"), ("ß.png", "SS.png")]
)
def test_names_that_some_disks_take_for_one_are_named(tmp_path, first, second):
    touch(tmp_path, first, second, "b.png")
    if len(os.listdir(tmp_path)) < 3:
        pytest.skip("this disk takes the two names for one")
    listed = list_folder(tmp_path, tmp_path / "out")
    assert not any(item.error for item in listed.items)
    (note,) = listed.notes
    assert first in note and second in note and "b.png" not in note


def test_on_a_disk_that_ignores_case_the_later_of_two_names_is_refused(tmp_path, monkeypatch):
    touch(tmp_path, "A.jpg", "a.jpg")
    monkeypatch.setattr(naming, "ignores_case", lambda path: True)
    items = find_items(tmp_path, tmp_path / "out")
    assert [item.error for item in items] == [
        None,
        f"{tmp_path}/out/a.jpg is already the output of {tmp_path}/A.jpg",
    ]


def test_a_disk_ignores_case_where_a_name_in_other_letters_is_the_same_folder(tmp_path):
    folder = tmp_path / "Photos"
    folder.mkdir()
    assert not naming.ignores_case(folder / "new" / "deep")
    (tmp_path / "pHOTOS").symlink_to(folder)  # as such a disk would answer
    assert naming.ignores_case(folder / "new" / "deep")


def test_names_with_line_breaks_are_accepted_and_undecodable_ones_refused(tmp_path):
    touch(tmp_path, "line\nbreak.png", "tab\t.png")
    try:
        with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    items = find_items(tmp_path, tmp_path / "out")
    by_name = dict(zip(found(items, tmp_path), items, strict=True))
    assert by_name["line\nbreak.png"].error is None and by_name["tab\t.png"].error is None
    bad = by_name["caf\\xe9.png"]
    assert bad.error == "its name is not UTF-8; rename the file"
    for item in measure_items(items):
        assert decode(encode(item), Item) == item


def test_a_pipe_with_an_image_suffix_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    items = find_items(tmp_path, tmp_path / "out")
    assert items[0].error == "not a regular file"


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="cannot be listed") as caught:
        find_items(tmp_path / "missing", tmp_path / "out")
    assert caught.value.hint


# -- measure_items ------------------------------------------------------------------------


def test_sizes_are_upright_and_damaged_files_become_errors(tmp_path):
    folder = tmp_path / "in"
    save(folder / "a.png")
    for orientation, suffix in ((6, ".jpg"), (8, ".tiff"), (5, ".webp"), (7, ".avif"), (6, ".png")):
        pictures.oriented(folder / f"turned{orientation}{suffix}", orientation)
    (folder / "bomb.png").write_bytes(pictures.bomb())
    (folder / "cut.jpg").write_bytes(pictures.truncated("JPEG"))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image at all")
    (folder / "gone.png").write_bytes(b"")
    items = find_items(folder, tmp_path / "out")
    (folder / "gone.png").unlink()
    steps = []
    done = measure_items(items, progress=lambda *step: steps.append(step))
    assert [i.source for i in done] == [i.source for i in items]
    errors = {os.path.basename(i.source): i.error for i in done if i.error}
    assert errors == {
        "bomb.png": "30000x30000 is 900 million pixels, more than the limit of 200 million"
        " (IP2P_MAX_PIXELS)",
        "empty.jpg": "the file is empty",
        "text.jpg": "text, not an image",
        "gone.png": "cannot be read: No such file or directory",
    }
    sizes = {os.path.basename(i.source): (i.width, i.height) for i in done if not i.error}
    assert sizes.pop("cut.jpg") == (64, 64)  # only a complete read shows that it is truncated
    assert set(sizes.values()) == {(48, 32)} and len(sizes) == 6
    assert steps == [("reading image headers", len(items), len(items))]


def test_the_limit_on_pixels_can_be_set(tmp_path):
    save(tmp_path / "a.png")
    items = find_items(tmp_path, tmp_path / "out")
    assert "limit" in (measure_items(items, max_pixels=100)[0].error or "")


def test_a_size_that_the_output_format_cannot_hold_is_an_error_at_planning(tmp_path):
    save(tmp_path / "a.png", np.zeros((2, 17_000, 3), np.uint8))
    items = measure_items(find_items(tmp_path, tmp_path / "out", format="webp"))
    assert items[0].error == "17000x2 is too large for WEBP (16383 pixels a side)"


def test_items_with_an_error_do_not_change(tmp_path):
    item = Item(source=str(tmp_path / "a"), output="", error="line 3: no")
    assert measure_items([item]) == [item]
    assert measure_items([]) == []


# -- videos, and what is left out -----------------------------------------------------------


def test_videos_in_all_subfolders_are_listed_apart_from_images(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    touch(source, "a.png", "b.MP4", "deep/c.mkv", "deep/d.jpg", "e.mov")
    listed = list_folder(source, out)
    assert found(listed.items, source) == ["a.png", "deep/d.jpg"]
    assert found(listed.videos, source) == ["b.MP4", "deep/c.mkv", "e.mov"]
    assert [v.output for v in listed.videos] == [
        str(out / name) for name in ("b.MP4", "deep/c.mkv", "e.mov")
    ]


def test_other_files_and_hidden_ones_are_counted_by_kind(tmp_path):
    touch(tmp_path, "a.png", "x/b.exr", "c.exr", "d.txt", "LICENSE", ".DS_Store", ".git/config")
    listed = list_folder(tmp_path, tmp_path / "out")
    assert listed.notes == (
        "Left out: 2 .exr (b.exr, c.exr), 1 .txt (d.txt), 1 file without a suffix (LICENSE),"
        " 1 hidden file (.DS_Store), 1 hidden folder (.git).",
    )


def test_a_typescript_file_is_left_out_and_a_transport_stream_is_not(tmp_path):
    (tmp_path / "program.ts").write_text("export const a = 1")
    (tmp_path / "film.ts").write_bytes(b"\x47\x40\x11\x10\x00" + bytes(183))
    (tmp_path / "camera.mts").write_bytes(bytes(4) + b"\x47" + bytes(187))
    listed = list_folder(tmp_path, tmp_path / "out")
    assert found(listed.videos, tmp_path) == ["camera.mts", "film.ts"]
    assert listed.notes == ("Left out: 1 .ts (program.ts).",)


def test_a_broken_link_to_a_video_is_a_video_with_an_error(tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "gone.mp4")
    (video,) = list_folder(tmp_path, tmp_path / "out").videos
    assert video.error == "a broken link"
