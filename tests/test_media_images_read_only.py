"""Formats that are read and not written: JPEG 2000, GIF, HEIC."""

import numpy as np
import pytest
from PIL import Image

from ip2p_batch.errors import SourceError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.images.listing import find_items, list_folder, measure_items
from ip2p_batch.media.images.manifest import read_manifest
from ip2p_batch.media.images.reader import read_still
from ip2p_batch.media.images.writer import write_still
from ip2p_batch.media.source import classify_source
from ip2p_batch.planning.images import image_warnings

from . import pictures
from .heif_files import heic

SCENE = pictures.scene(96, 64)


@pytest.mark.parametrize("suffix", [".jp2", ".j2k", ".jpx"])
def test_jpeg_2000_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(SCENE).save(path, "JPEG2000", no_jp2=suffix == ".j2k")
    still = read_still(path)
    assert np.array_equal(still.image, SCENE) and not still.warnings


def test_alpha_and_16_bit_grey_of_jpeg_2000_are_read(tmp_path):
    alpha = np.dstack([SCENE, SCENE[..., 0]])
    Image.fromarray(alpha).save(tmp_path / "a.jp2")
    still = read_still(tmp_path / "a.jp2")
    assert np.array_equal(still.image, SCENE) and np.array_equal(still.alpha, SCENE[..., 0])
    grey = np.linspace(0, 65535, 96 * 64).astype(np.uint16).reshape(64, 96)
    Image.fromarray(grey).save(tmp_path / "b.jp2")
    still = read_still(tmp_path / "b.jp2", deep=True)
    assert np.array_equal(still.image[..., 0], grey) and not still.warnings
    assert read_still(tmp_path / "b.jp2").warnings == ["16-bit samples reduced to 8 bits"]


def test_a_gif_of_one_image_is_an_image_and_an_animated_one_a_video(tmp_path):
    colors = [Image.new("P", (40, 30), 1), Image.new("P", (40, 30), 2)]
    for image in colors:
        image.putpalette([0, 0, 0, 220, 40, 40, 40, 200, 60])
    colors[0].save(tmp_path / "still.gif", transparency=0)
    colors[0].save(tmp_path / "moving.gif", save_all=True, append_images=colors[1:])
    assert (read_still(tmp_path / "still.gif").image == (220, 40, 40)).all()
    assert classify_source(tmp_path / "still.gif") == "still"
    assert classify_source(tmp_path / "moving.gif") == "video"
    listed = list_folder(tmp_path, tmp_path / "out")
    assert [item.output for item in listed.items] == [str(tmp_path / "out" / "still.png")]
    assert [item.source for item in listed.videos] == [str(tmp_path / "moving.gif")]


def test_results_of_formats_that_are_only_read_have_another_one(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.HEIC").write_bytes(heic([SCENE]))
    Image.fromarray(SCENE).save(folder / "b.gif")
    Image.fromarray(SCENE).save(folder / "c.jp2")
    Image.fromarray(SCENE).save(folder / "d.png")
    listed = list_folder(folder, out)
    names = ["a.jpg", "b.png", "c.png", "d.png"]
    assert [item.output for item in listed.items] == [str(out / name) for name in names]
    assert image_warnings(measure_items(listed.items)) == [
        "1 GIF image: the format is only read; results are PNG (--format selects another).",
        "1 HEIC image: the format is only read; results are JPEG (--format selects another).",
        "1 JPEG 2000 image: the format is only read; results are PNG (--format selects another).",
    ]
    chosen = list_folder(folder, out, format="webp").items
    assert {item.output[-5:] for item in chosen} == {".webp"}
    (tmp_path / "list.csv").write_text("path\nin/a.HEIC\nin/c.jp2\n")
    rows = read_manifest(tmp_path / "list.csv", out).items
    assert [item.output for item in rows] == [f"{out}/in/a.jpg", f"{out}/in/c.png"]
    still = read_still(folder / "a.HEIC")
    write_still(out.with_suffix(".any"), still.image, still, comment="{}", encoding=Encoding())
    with Image.open(out.with_suffix(".any")) as image:
        assert image.format == "JPEG"


def test_an_image_and_its_heic_do_not_get_one_result(tmp_path):
    (tmp_path / "a.heic").write_bytes(heic([SCENE]))
    pictures.save(tmp_path / "a.jpg", SCENE)
    items = find_items(tmp_path, tmp_path / "out")
    assert items[0].error is None
    assert f"{tmp_path}/out/a.jpg is already the output of" in (items[1].error or "")


def test_an_heic_that_is_something_else_is_refused(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    with pytest.raises(SourceError, match="damaged"):
        read_still(tmp_path / "a.heic")
