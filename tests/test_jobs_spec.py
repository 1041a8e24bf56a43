"""Records and messages round-trip through their encoding."""

import string
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.errors import JobError
from ip2p_batch.jobs.codec import decode, encode, is_json
from ip2p_batch.jobs.coding import Decoding, Encoding
from ip2p_batch.jobs.events import Event
from ip2p_batch.jobs.plan import BorderChunk, ImageChunk, ImageRun, Plan, Shot, VideoChunk
from ip2p_batch.jobs.records import (
    EditMethod,
    Failure,
    Heartbeat,
    ItemResult,
    Receipt,
    Result,
    WorkerInfo,
)
from ip2p_batch.jobs.spec import Job, Source
from ip2p_batch.queue.messages import Message, build_message, read_message
from ip2p_batch.recipe import Detail, Recipe

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
numbers = st.integers(0, 2**40)
seconds = st.floats(0, 1e12)
ids = st.from_regex(r"[0-9]-[0-9]{6}", fullmatch=True, alphabet=string.digits + "-")
workers = st.builds(WorkerInfo, host=text, pid=numbers, device=text, torch=text, model=text)
several = st.lists(numbers, max_size=3).map(tuple)
chunks = st.one_of(
    st.builds(BorderChunk, id=ids, wave=numbers, frames=several, anchors=several),
    st.builds(
        VideoChunk, id=ids, wave=numbers, start=numbers, stop=numbers, shot=numbers,
        borders=several, anchors=several, reach=st.tuples(numbers, numbers),
    ),
    st.builds(
        ImageChunk, id=ids, wave=numbers, start=numbers, stop=numbers, excluded=several,
    ),
)  # fmt: skip
#: Tables of edit sizes, as the model folder's file may have them.
tables = st.lists(
    st.tuples(st.integers(1, 9000), st.integers(64, 4096)),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row[0],
).map(lambda rows: tuple(zip(*map(sorted, zip(*rows, strict=True)), strict=True)))
values = st.one_of(
    chunks,
    st.builds(
        Plan, shots=st.lists(st.builds(Shot, start=numbers, stop=numbers), max_size=3).map(tuple),
        chunks=st.lists(chunks, max_size=3).map(tuple), size=st.tuples(numbers, numbers),
        one_size=st.booleans(),
        warnings=st.lists(text, max_size=2).map(tuple),
    ),
    st.builds(
        Job, id=text, source=st.builds(Source, path=text, stamp=text, items=numbers),
        recipe=st.builds(Recipe, instruction=text, seed=numbers), output=text,
        size_table=tables,
        decoding=st.builds(Decoding, stream=st.none() | numbers),
        encoding=st.builds(Encoding, crf=st.none() | numbers), overwrite=st.booleans(),
        reference_digest=text,
    ),
    st.builds(
        Receipt, chunk=ids, fingerprint=text, frames=numbers, digest=text,
        seconds=st.dictionaries(text, seconds, max_size=3), worker=workers, finished=seconds,
        items=st.lists(
            st.builds(ItemResult, index=numbers, error=text, warning=text), max_size=3
        ).map(tuple),
        warnings=st.lists(text, max_size=2).map(tuple),
    ),
    st.builds(Heartbeat, chunk=ids, worker=workers, done=numbers, at=seconds),
    st.builds(
        Failure, chunk=ids, error=text, message=text, hint=text, attempts=numbers,
        worker=st.none() | workers,
    ),
    st.builds(
        Result, output=text, frames=numbers, seconds=seconds, finished=seconds, skipped=numbers,
        failed=st.lists(st.tuples(text, text), max_size=3).map(tuple),
        edit=st.none() | st.builds(
            EditMethod, width=numbers, height=numbers, one_size=st.booleans(), auto=st.booleans(),
            detail=st.sampled_from(get_args(Detail)),
        ),
        warnings=st.lists(text, max_size=2).map(tuple),
    ),
    st.builds(Event, kind=st.just("progress"), job=text, done=numbers, total=numbers, message=text),
)  # fmt: skip


@given(values)
def test_every_record_round_trips_and_has_one_encoding(value):
    data = encode(value)
    again = decode(data, type(value))
    assert again == value
    assert encode(again) == data


@given(values, st.floats(0, 1, exclude_max=True))
def test_a_truncated_record_is_not_json_and_does_not_decode(value, share):
    data = encode(value)
    part = data[: int(len(data) * share)]
    assert is_json(data) and not is_json(part)
    with pytest.raises(JobError, match="damaged"):
        decode(part, type(value))


paths = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="/")).filter(
        lambda part: part not in ("", "..")
    ),
    min_size=1,
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))


@given(paths, ids)
def test_a_message_round_trips(path, chunk_id):
    from ip2p_batch.jobs.folder import JobFolder

    sent = build_message(JobFolder(path), chunk_id, "0" * 64)
    assert read_message(sent) == Message(
        job=str(JobFolder(path).path), fingerprint="0" * 64, chunk=chunk_id
    )


def test_an_item_result_counts_only_in_the_chunk_that_has_its_image():
    first = ImageChunk(id="1-000000", wave=1, start=0, stop=3, excluded=(1,))
    again = ImageChunk(id="1-000001", wave=1, start=1, stop=2)
    plan = Plan(chunks=(first, again))
    old, new = (
        Receipt(
            chunk=chunk.id, fingerprint="f", frames=len(numbers), digest="", seconds={},
            worker=WorkerInfo(host="h", pid=1), finished=1.0,
            items=tuple(ItemResult(index=n, error=error) for n in numbers),
        )
        for chunk, numbers, error in ((first, (0, 1, 2), "cut short"), (again, (1,), ""))
    )  # fmt: skip
    assert [item.index for item in plan.valid_items(old)] == [0, 2]
    assert [item.error for item in plan.valid_items(new)] == [""]
    assert decode(encode(plan), Plan) == plan


def test_retried_images_move_to_a_new_chunk_with_an_id_of_its_own():
    chunks = [ImageChunk(id=name, wave=1, start=at, stop=at + 2) for name, at in
              (("1-000000", 0), ("1-000002", 2))]  # fmt: skip
    plan = Plan(chunks=tuple(chunks), warnings=("old",))
    again = plan.with_retried({1: "1-000000", 2: "1-000002"}, [ImageRun(1, 3, (64, 64))], ["new"])
    assert [tuple(c.numbers) for c in again.chunks] == [(0,), (3,), (1, 2)]
    assert [c.id for c in again.chunks] == ["1-000000", "1-000002", "1-000003"]
    assert again.warnings == ("new",) and again.frames == plan.frames == 4
    once_more = again.with_retried({1: "1-000003"}, [ImageRun(1, 2, (64, 64))], [])
    assert [tuple(c.numbers) for c in once_more.chunks] == [(0,), (3,), (2,), (1,)]


def test_a_retried_image_of_another_size_enlarges_the_size_of_the_plan():
    chunk = ImageChunk(id="1-000000", wave=1, start=0, stop=2)
    plan = Plan(chunks=(chunk,), size=(256, 144))
    same = plan.with_retried({}, [ImageRun(2, 3, (256, 144))], [])
    assert (same.size, same.one_size) == ((256, 144), True)
    other = same.with_retried({}, [ImageRun(3, 4, (144, 192))], [])
    assert (other.size, other.one_size) == ((256, 192), False)
    assert not other.with_retried({}, [ImageRun(4, 5, (256, 192))], []).one_size
    first = Plan(chunks=()).with_retried({}, [ImageRun(0, 1, (64, 48))], [])
    assert (first.size, first.one_size) == ((64, 48), True)


@pytest.mark.parametrize(("size", "table"), [("auto", ()), (256, ((720, 192),))])
def test_a_job_has_a_table_of_edit_sizes_exactly_if_its_size_is_auto(size, table):
    source = Source(path="/a", stamp="s", items=1)
    recipe = Recipe(instruction="x", size=size)
    with pytest.raises(ValueError, match="exactly if its size is auto"):
        Job(id="j", source=source, recipe=recipe, output="/b", size_table=table)


@pytest.mark.parametrize(
    ("old", "new"),
    [('"size": 256', '"size": "auto"'), ('"size_table": []', '"size_table": [[720, 9]]')],
)
def test_a_job_whose_table_does_not_fit_its_size_is_damaged(old, new):
    source = Source(path="/a", stamp="s", items=1)
    job = Job(id="j", source=source, recipe=Recipe(instruction="x", size=256), output="/b")
    text = encode(job).decode()
    assert text.count(old) == 1
    with pytest.raises(JobError, match="damaged"):
        decode(text.replace(old, new).encode(), Job)
