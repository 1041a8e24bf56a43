"""JPEG: segments, and results compressed like their source."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.media.images import jpeg, photoshop
from ip2p_batch.media.images.reader import read_still
from ip2p_batch.media.images.writer import write_still

from .pictures import save
from .transfer_images import photo


def rewrite(tmp_path, path, **encoding):
    still = read_still(path)
    out = tmp_path / "out.jpg"
    write_still(out, still.image, still, comment="{}", encoding=Encoding(**encoding))
    return still, out


def facts(path):
    with Image.open(path) as image:
        tables = [list(table) for table in image.quantization.values()]  # type: ignore[attr-defined]
        return tables, JpegImagePlugin.get_sampling(image), bool(image.info.get("progressive"))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [76, 90, 98, 100])
def test_a_result_is_compressed_like_its_source(tmp_path, quality, subsampling):
    path = save(tmp_path / "in.jpg", photo(120, 160), quality=quality, subsampling=subsampling)
    still, out = rewrite(tmp_path, path)
    assert facts(out) == facts(path)
    assert still.metadata.style.quality == quality
    assert out.stat().st_size == pytest.approx(path.stat().st_size + 700, rel=0.2)


def test_tables_of_no_quality_and_progressive_scans_are_kept(tmp_path):
    tables = [[3 + n // 16 for n in range(64)], [5] * 64]
    path = save(tmp_path / "in.jpg", photo(64, 64), qtables=tables, progressive=True)
    _, out = rewrite(tmp_path, path)
    assert facts(out) == facts(path) and facts(out)[0] == tables and facts(out)[2]


def test_a_strongly_compressed_source_gets_quality_75(tmp_path):
    path = save(tmp_path / "in.jpg", photo(64, 64), quality=20)
    _, out = rewrite(tmp_path, path)
    assert facts(out)[0] == facts(save(tmp_path / "75.jpg", photo(64, 64), quality=75))[0]


def test_the_quality_option_overrides_the_source(tmp_path):
    path = save(tmp_path / "in.jpg", photo(64, 64), quality=80, subsampling="4:2:0")
    _, out = rewrite(tmp_path, path, quality=95)
    assert facts(out)[:2] == (facts(save(tmp_path / "95.jpg", photo(64, 64), quality=95))[0], 0)


def test_grey_turned_and_foreign_sources(tmp_path):
    grey = save(tmp_path / "grey.jpg", Image.fromarray(photo(64, 64)).convert("L"), quality=90)
    _, out = rewrite(tmp_path, grey)
    assert facts(out)[0] == facts(save(tmp_path / "90.jpg", photo(64, 64), quality=90))[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(tmp_path / "turned.jpg", photo(64, 64), exif=exif, subsampling="4:2:2")
    assert facts(rewrite(tmp_path, turned)[1])[1] == 0, "4:4:0 is not written, so chroma is kept"
    _, out = rewrite(tmp_path, save(tmp_path / "in.png", photo(64, 64)))
    assert facts(out)[1] == 0


def test_comments_and_resources_are_kept(tmp_path):
    iptc = photoshop.Resource(b"8BIM", 0x0404, b"\0\0", b"\x1c\x02\x05\0\5Title" * 9000)
    thumbnail = photoshop.Resource(b"8BIM", 0x040C, b"\0\0", b"small")
    block = photoshop.serialize([thumbnail, iptc])
    extra = jpeg.extra_segments(block, (b"first", "zweites ä".encode("latin-1")))
    still, out = rewrite(tmp_path, save(tmp_path / "in.jpg", extra=extra))
    with out.open("rb") as file:
        found = jpeg.read_segments(file)
    assert found.comments == (b"first", "zweites ä".encode("latin-1"))
    assert photoshop.parse(found.resources) == [iptc] and not still.warnings


def test_segments_of_other_programs_are_named(tmp_path):
    extra = b"".join(
        jpeg._segment(marker, data)
        for marker, data in ((0xE1, b"FLIR\0\1data"), (0xEB, b"JP\0\1jumb"), (0xE2, b"ICC\x01"))
    )
    still, _ = rewrite(tmp_path, save(tmp_path / "in.jpg", extra=extra))
    assert still.warnings == ["data of other programs was left out: FLIR, content credentials, ICC"]


@pytest.mark.parametrize("name", ["gain map", "motion photo"])
def test_gain_maps_and_motion_photos_are_named_without_xmp(tmp_path, name):
    extra = jpeg._segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0") if name == "gain map" else b""
    path = save(tmp_path / "in.jpg", extra=extra)
    if name == "motion photo":
        path.write_bytes(path.read_bytes() + b"MotionPhoto_Data....ftypmp42....SEFT")
    still, _ = rewrite(tmp_path, path)
    assert len(still.warnings) == 1 and name in still.warnings[0]


def test_a_second_image_that_is_a_gain_map_is_named(tmp_path):
    first, second = (Image.fromarray(photo(32, 32)) for _ in range(2))
    first.save(tmp_path / "in.jpg", "MPO", save_all=True, append_images=[second])
    data = (tmp_path / "in.jpg").read_bytes()
    (tmp_path / "in.jpg").write_bytes(data + b"urn:com:apple:photos:2020:aux:hdrgainmap")
    still, _ = rewrite(tmp_path, tmp_path / "in.jpg")
    assert any("HDR gain map" in line for line in still.warnings)


@given(st.binary(max_size=200), st.booleans())
def test_segments_of_any_bytes_are_read(data, start):
    jpeg.read_segments(io.BytesIO(b"\xff\xd8" * start + data))
    jpeg.has_motion_video(io.BytesIO(data))


@pytest.mark.parametrize("quality", range(12, 101, 4))
def test_libjpegs_qualities_are_estimated(quality):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        style = jpeg.style(image, turned=False)
    assert style is not None and abs(style.quality - quality) <= (4 if quality < 25 else 0)
    assert style.tables[1] == jpeg.scaled_chrominance(quality)
