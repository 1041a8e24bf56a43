"""XMP: what is no longer true is removed, and the recipe and the source type are added."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ip2p_batch.media.images import xmp

SPACES = {
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "Item": "http://ns.google.com/photos/1.0/container/item/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "dc": "http://purl.org/dc/elements/1.1/",
}
DECLARED = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in SPACES.items())


def packet(attributes="", children="", encoding="utf-8"):
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="uuid:7" {DECLARED} {attributes}>{children}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    ).encode(encoding)


def clean(data, *, converted=False):
    return xmp.clean(data, (48, 32), converted=converted)


def test_orientation_size_and_colour_space_are_set_as_attributes_and_elements():
    result = clean(
        packet(
            'tiff:Orientation="6" exif:ColorSpace="65535" dc:source="a&#10;b"',
            "<exif:PixelXDimension>9</exif:PixelXDimension><tiff:ImageLength>8</tiff:ImageLength>",
        )
    )
    text = result.packet.decode()
    assert 'tiff:Orientation="1"' in text and 'exif:ColorSpace="1"' in text
    assert "<exif:PixelXDimension>48<" in text and "<tiff:ImageLength>32<" in text
    assert 'dc:source="a&#10;b"' in text, "line breaks in attributes stay"
    assert clean(result.packet).packet == result.packet


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-16-le", "utf-32-be"])
def test_every_encoding_of_xmp_is_read(encoding):
    assert 'dc:source="ü"' in clean(packet('dc:source="ü"', encoding=encoding)).packet.decode()


def test_the_name_of_the_old_profile_goes_with_a_conversion():
    data = packet('photoshop:ICCProfile="Adobe RGB (1998)"')
    assert b"Adobe RGB" in clean(data).packet
    assert b"Adobe RGB" not in clean(data, converted=True).packet


def test_thumbnails_are_removed():
    data = packet(children="<xmp:Thumbnails><rdf:Alt>old</rdf:Alt></xmp:Thumbnails>")
    assert b"Thumbnails" not in clean(data).packet


def test_a_gain_map_is_reported_and_no_longer_announced():
    item = '<rdf:li rdf:parseType="Resource"><Item:Semantic>GainMap</Item:Semantic></rdf:li>'
    directory = f"<Container:Directory><rdf:Seq>{item}</rdf:Seq></Container:Directory>"
    for data in (packet('hdrgm:Version="1.0"'), packet(children=directory)):
        result = clean(data)
        assert result.gain_map and not result.motion
        assert b"hdrgm" not in result.packet and b"GainMap" not in result.packet


@pytest.mark.parametrize("name", ["MotionPhoto", "MicroVideo"])
def test_a_motion_photo_is_reported_and_no_longer_announced(name):
    result = clean(packet(f'GCamera:{name}="1" GCamera:{name}Version="1"'))
    assert result.motion and name.encode() not in result.packet
    assert not clean(packet(f'GCamera:{name}="0"')).motion


@pytest.mark.parametrize(
    "data",
    [
        b"<x:xmpmeta", b"not XML", b"<a/>", b"\xff\xfe\x00",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    ],
)  # fmt: skip
def test_a_damaged_packet_is_left_out_with_a_warning(data):
    assert clean(data) == xmp.Cleaned(None, warnings=(xmp.DAMAGED,))
    assert clean(None) == clean(b"\0\n") == xmp.Cleaned(None)


@pytest.mark.parametrize(
    "source",
    [
        None,
        packet(),
        packet('Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/x/digitalCapture"'),
    ],
)
def test_the_source_type_is_that_of_an_image_edited_with_ai(source):
    text = xmp.finished(source, mark_ai=True, recipe=None).decode()
    assert text.count("<Iptc4xmpExt:DigitalSourceType ") == 1 and "digitalCapture" not in text
    assert f'<Iptc4xmpExt:DigitalSourceType xmlns:Iptc4xmpExt="{SPACES["Iptc4xmpExt"]}">' in text
    assert xmp.AI_EDITED in text and text.count("rdf:about") == (1 if source is None else 2)
    unmarked = xmp.finished(source, mark_ai=False, recipe=None)
    assert unmarked is None or b"newscodes" not in unmarked


@given(st.text(max_size=40), st.booleans())
@settings(deadline=None)
def test_any_recipe_is_read_back(recipe, mark):
    result = xmp.finished(packet(), mark_ai=mark, recipe=recipe)
    escaped = xmp._ILLEGAL.sub(lambda match: f"\\u{ord(match[0]):04x}", recipe)
    assert xmp.recipe_of(result) == escaped
    again = xmp.finished(result, mark_ai=mark, recipe="second")
    assert xmp.recipe_of(again) == "second" and again.count(b"ip2p:recipe") == 2


def test_positions_are_removed_at_any_depth():
    place = (
        '<Iptc4xmpExt:LocationCreated><rdf:Bag><rdf:li exif:GPSLatitude="48,6N"/></rdf:Bag>'
        "</Iptc4xmpExt:LocationCreated>"
    )
    data = packet('exif:GPSLongitude="11,5E" photoshop:City="Munich"', place)
    result = xmp.finished(data, mark_ai=False, recipe=None, position=False)
    assert b"GPS" not in result and b"Munich" in result
    assert b"GPSLatitude" in xmp.finished(data, mark_ai=False, recipe=None)


def test_a_packet_of_deeply_nested_elements_is_damaged():
    assert clean(packet(children="<dc:a>" * 5000 + "</dc:a>" * 5000)).warnings == (xmp.DAMAGED,)


@given(data=st.binary(max_size=12), at=st.integers(0, 1400))
@settings(deadline=None)
def test_any_damage_gives_a_packet_or_a_warning(data, at):
    place = '<Container:Directory><rdf:Seq rdf:a="GainMap"/></Container:Directory>'
    source = bytearray(packet('tiff:Orientation="6" hdrgm:Version="1.0"', place))
    source[at : at + len(data)] = data
    cleaned = clean(bytes(source))
    assert (cleaned.packet is None) == (cleaned.warnings == (xmp.DAMAGED,))
    for position in (True, False):
        assert xmp.finished(cleaned.packet, mark_ai=True, recipe="r", position=position)
