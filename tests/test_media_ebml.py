import io

import pytest

from ip2p_batch.media.ebml import HEADER, elements, read_header


def test_headers_have_an_id_and_a_size_that_may_be_unknown():
    assert read_header(io.BytesIO(b"\x1a\x45\xdf\xa3\x84rest")) == (HEADER, 4)
    assert read_header(io.BytesIO(b"\xae\x40\x02")) == (0xAE, 2)
    assert read_header(io.BytesIO(b"\xae\x01" + b"\xff" * 7)) == (0xAE, None)


def test_elements_follow_each_other():
    assert list(elements(b"\xe0\x82ab\x54\xcc\x81c")) == [(0xE0, b"ab"), (0x54CC, b"c")]


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\xae"])
def test_what_is_no_element_is_an_error(data):
    with pytest.raises(ValueError, match="EBML"):
        read_header(io.BytesIO(data))
