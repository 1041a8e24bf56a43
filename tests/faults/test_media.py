"""Every bad and odd input of the corpus from source to output, in this process."""

import os

import pytest

from ip2p_batch.media.images.formats import SUFFIXES

from . import odd_folders, odd_stills, odd_videos
from .corpus import Case, Edited, Refused
from .judge import RECIPE, Verdict, judge

CASES = (*odd_videos.CASES, *odd_stills.CASES, *odd_folders.CASES)


def check(case: Case, verdict: Verdict) -> None:
    expected = case.expected
    if isinstance(expected, Refused):
        assert verdict.error == expected.error, verdict
        assert expected.says in verdict.message + verdict.hint, verdict
        assert verdict.message.strip() and verdict.hint.strip(), verdict
        return
    assert isinstance(expected, Edited)
    assert not verdict.error, verdict
    if expected.frames is None:
        assert verdict.frames > 0
    else:
        assert verdict.frames == expected.frames, verdict
    if expected.size is not None:
        assert verdict.sizes == {expected.size}, verdict
    if expected.warns is not None:
        said = " ".join(verdict.warnings)
        assert (expected.warns in said) if expected.warns else not said, verdict
    assert set(verdict.failed) == set(expected.failed), verdict
    for name, why in expected.failed.items():
        assert why in verdict.failed[name], verdict


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_input_comes_out_or_is_refused_as_it_should(case, tmp_path, settings):
    if case.root_can and os.geteuid() == 0:
        pytest.skip("nothing stops root")
    (tmp_path / "in").mkdir()
    source = case.make(tmp_path / "in")
    (tmp_path / "out").mkdir()
    own = source.suffix if source.suffix.lower() in SUFFIXES else ".mkv"
    output = tmp_path / "out" / f"output{case.suffix or own}"
    if case in odd_folders.CASES:
        output = tmp_path / "out" / "tree"
    check(case, judge(source, output, settings, encoding=case.encoding, recipe=RECIPE))
