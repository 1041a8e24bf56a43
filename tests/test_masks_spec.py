"""The grammar of ``--mask``."""

import pytest

from ip2p_batch.errors import RecipeError
from ip2p_batch.masks.spec import MaskSpec


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mask.png", MaskSpec("file", "mask.png")),
        ("./luma", MaskSpec("file", "./luma")),
        ("/a/x:y@2.png", MaskSpec("file", "/a/x:y@2.png")),
        ("boxes:a.csv", MaskSpec("boxes", "a.csv")),
        ("track:me@home/m.png", MaskSpec("track", "me@home/m.png")),
        ("track:m.png@12.5", MaskSpec("track", "m.png", seconds=12.5)),
        ("track:m.png@1234.567", MaskSpec("track", "m.png", seconds=1234.567)),
        ("track:m.png@12345678", MaskSpec("track", "m.png", seconds=12345678.0)),
        ("track:m.png@0.00001", MaskSpec("track", "m.png", seconds=0.00001)),
        ("alpha", MaskSpec("alpha")),
        ("luma", MaskSpec("luma", luma=(0.5, 1.0))),
        ("luma:0-.25", MaskSpec("luma", luma=(0.0, 0.25))),
        ("chroma:green", MaskSpec("chroma", color=(0, 255, 0), measured=True)),
        ("chroma:#10a0F0", MaskSpec("chroma", color=(16, 160, 240))),
    ],
)
def test_a_mask_is_parsed(text, expected):
    assert MaskSpec.parse(text) == expected
    if expected.path:
        assert MaskSpec.parse(expected.text) == expected


@pytest.mark.parametrize(
    "text",
    ["", " ", "auto", "auto:0.5", "boxes:", "track:@1", "luma:", "luma:1-0", "luma:0.2", "luma:2-3",
     "luma:.-1",     "chroma:", "chroma:pink", "chroma:#12345", "chroma:#777777"],
)  # fmt: skip
def test_what_is_no_mask_is_refused_in_one_line(text):
    with pytest.raises(RecipeError, match="--mask") as caught:
        MaskSpec.parse(text)
    assert "\n" not in caught.value.message and caught.value.hint
