import io

from ip2p_batch.media.bmff import boxes, file_boxes, inner_box, movie_box

SHORT = b"\0\0\0\x0afreeab"
WIDE = b"\0\0\0\x01moov" + (21).to_bytes(8, "big") + SHORT[:5]
LAST = b"\0\0\0\0mdat12345"


def test_sizes_of_32_and_64_bits_and_up_to_the_end_are_read():
    data = SHORT + WIDE + LAST
    assert list(boxes(data)) == [(b"free", b"ab"), (b"moov", SHORT[:5]), (b"mdat", b"12345")]
    found = list(file_boxes(io.BytesIO(data)))
    assert [(box.start, box.content, box.stop) for box in found] == [
        (0, 8, 10), (10, 26, 31), (31, 39, 44),
    ]  # fmt: skip
    assert movie_box(io.BytesIO(data)) == SHORT[:5]


def test_an_impossible_size_ends_the_list():
    for size in (b"\0\0\0\x07", b"\0\0\0\x01"):
        data = SHORT + size + b"moov"
        assert list(boxes(data)) == [(b"free", b"ab")]
        assert movie_box(io.BytesIO(data)) == b""


def test_a_box_is_found_by_its_path():
    outer = b"\0\0\0\x12trak" + SHORT
    assert inner_box(outer, b"trak", b"free") == b"ab"
    assert inner_box(outer, b"free") == b""
