"""Messages about workers with different compute profiles."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.jobs.compatibility import differences, mismatch_message, mixed, ranges_text
from ip2p_batch.jobs.plan import BorderChunk, Chunk, ImageChunk, VideoChunk, chunk_id
from ip2p_batch.jobs.records import ComputeProfile, Receipt, Refusal, WorkerInfo

H100 = ComputeProfile(model="a1", torch="2.9", diffusers="0.42", device="H100", dtype="float16")
WORKER = WorkerInfo(host="h", pid=1)


@pytest.mark.parametrize("field", ComputeProfile.__struct_fields__)
def test_a_difference_in_any_field_is_named(field):
    other = msgspec.structs.replace(H100, **{field: 7 if field == "threads" else "other"})
    (text,) = differences(other, H100)
    assert f"{getattr(other, field)} instead of {getattr(H100, field)}" in text
    assert differences(H100, H100) == ()


def receipts(chunks, *numbers, mismatches=("device A100 instead of H100",)):
    return {
        c.id: Receipt(
            chunk=c.id, fingerprint="f", frames=1, digest="d", worker=WORKER, finished=1.0,
            mismatches=mismatches if n in numbers else (),
        )
        for n, c in enumerate(chunks)
    }  # fmt: skip


def test_frames_edited_on_other_hardware_are_listed_in_one_line():
    chunks: list[Chunk] = [BorderChunk(id="1-000000", wave=1, frames=(0, 24, 72)), *(
        VideoChunk(
            id=chunk_id(2, n), wave=2, start=24 * n, stop=24 * n + 24, shot=0,
            reach=(24 * n, 24 * n + 24), borders=(24 * n, 24 * n + 24),
        ) for n in range(4)
    )]  # fmt: skip
    assert mixed(chunks, receipts(chunks)) == []
    assert mixed(chunks, receipts(chunks, 0, 2, 4)) == [
        "Border frames 0, 24, 72 were edited on other hardware: device A100 instead of H100.",
        "Frames 24-47, 72-95 were edited on other hardware: device A100 instead of H100.",
    ]


def test_images_edited_on_other_hardware_are_counted():
    chunks = [
        ImageChunk(id=chunk_id(1, n), wave=1, start=start, stop=stop)
        for n, (start, stop) in enumerate([(0, 16), (16, 17)])
    ]
    both, one = (mixed(chunks, receipts(chunks, *n))[0] for n in ((0, 1), (1,)))
    assert both.startswith("17 images were") and one.startswith("1 image was")


def test_incompatible_workers_of_one_host_share_one_message():
    lines = {
        mismatch_message(
            Refusal(node=f"gpu{n}@h", worker=WorkerInfo(host="h", pid=n), mismatches=("x",))
        )
        for n in range(3)
    }
    assert len(lines) == 1


@given(st.sets(st.integers(0, 60)))
def test_ranges_text_names_exactly_the_given_numbers(numbers):
    text = ranges_text(sorted(numbers))
    named = []
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)


def test_consecutive_numbers_are_one_range():
    assert (
        ranges_text([]) == ""
        and ranges_text([4]) == "4"
        and ranges_text([1, 2, 4, 6, 7]) == "1-2, 4, 6-7"
    )
