"""How a job's model is called: found once, remembered, agreed on."""

import threading

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.editing import tuning_cache
from ip2p_batch.editing.autotune import Trials
from ip2p_batch.editing.compiling import CompiledUNet
from ip2p_batch.editing.device_memory import is_out_of_memory
from ip2p_batch.editing.editor import IdentityEditor
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.jobs.plan import BatchHistogram
from ip2p_batch.jobs.records import InferenceConfig
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler import follow_job
from ip2p_batch.scheduler.local_executor import LocalExecutor

from .tiny_pipelines import frames, pipeline, recipe
from .worker_processes import stills_job


def device_with(memory, fixed=1.0, each=0.1):
    """A device on which a call takes ``fixed`` seconds and ``each`` a frame, and room for some."""

    def seconds_of(size):
        if size > memory:
            raise torch.OutOfMemoryError
        return fixed + each * size

    return seconds_of


@given(st.integers(1, 100))
def test_what_fits_into_memory_is_tried(memory):
    pace = tuning_cache.measured_pace(device_with(memory), is_out_of_memory)
    assert list(pace) == [size for size in tuning_cache.SIZES if size <= memory]


@given(
    st.dictionaries(st.integers(1, 200), st.integers(1, 50), min_size=1),
    st.floats(0, 2),
    st.floats(0.01, 1),
)
def test_no_batch_takes_a_job_less_time_than_the_best_one(batch_histogram, fixed, each):
    pace = {size: fixed + each * size for size in tuning_cache.SIZES}

    def seconds(size):
        return (
            sum(count * -(-group // size) for group, count in batch_histogram.items()) * pace[size]
        )

    best = seconds(tuning_cache.best_batch(pace, batch_histogram))
    assert best <= min(map(seconds, pace)) * (1 + tuning_cache._WORTH * 1.5)


def test_a_batch_is_not_taken_that_a_jobs_chunks_would_have_to_be_filled_up_for():
    pace = {size: 0.1 + 0.05 * size for size in tuning_cache.SIZES}
    assert tuning_cache.best_batch(pace, {28: 100}) in (24, 32)  # a call's fixed cost is worth it
    pace = {size: 0.02 + 0.05 * size for size in tuning_cache.SIZES}
    assert tuning_cache.best_batch(pace, {28: 100}) == 4
    assert tuning_cache.best_batch(pace, {3: 2}) == 1
    # Frames that look at anchors go through the steps 32 at a time, the rest for itself.
    pace = {size: 0.1 + 0.02 * size for size in (8, 16, 24, 32)}
    assert tuning_cache.best_batch(pace, {100: 60}) == 24
    assert tuning_cache.best_batch(pace, {100: 60}, 32) == 16


@pytest.mark.timeout(60)
def test_two_processes_do_not_measure_at_the_same_time(tmp_path):
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with tuning_cache.Remembered(tmp_path / "inference-config.json").measuring():
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with tuning_cache.Remembered(tmp_path / "inference-config.json").measuring():
        inside.set()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_larger_batch_that_gains_nothing_is_not_taken():
    tried = []

    def seconds_of(size):
        tried.append(size)
        return 0.001 + 0.1 * size  # nearly all of it is arithmetic

    pace = tuning_cache.measured_pace(seconds_of, is_out_of_memory)
    assert tuning_cache.best_batch(pace, {16: 5}) == 1
    assert tried == [1, 2, 4]


def test_other_errors_of_a_trial_are_raised():
    def broken(size):
        raise RuntimeError("misaligned address")

    with pytest.raises(RuntimeError, match="misaligned"):
        tuning_cache.measured_pace(broken, is_out_of_memory)


def test_compiling_has_to_pay_several_times_over():
    found = tuning_cache.Compiled(seconds=100, before=0.2, after=0.15)
    assert not found.pays(2000)
    assert found.pays(8001)
    assert not tuning_cache.Compiled(seconds=1, before=0.2, after=0.21).pays(1e9)
    assert not tuning_cache.may_pay(1000, 0.2)
    assert tuning_cache.may_pay(1e6, 0.2)


def test_what_was_measured_is_known_to_the_next_process(tmp_path):
    path, found = tmp_path / "deep" / "inference-config.json", tuning_cache.Compiled(1.0, 0.2, 0.1)
    first = tuning_cache.Remembered(path)
    first.keep_pace("a", {1: 0.5, 8: 1.5})
    first.keep_compiled("a", found)
    second = tuning_cache.Remembered(path)
    assert (second.pace("a"), second.compiled("a")) == ({1: 0.5, 8: 1.5}, found)
    assert (second.pace("b"), second.compiled("b")) == (None, None)
    assert [p.name for p in path.parent.iterdir()] == ["inference-config.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"pace a": "x", "compile a": {"no": 1}}',
        '{"pace a": {}}',
        '{"pace a": {"x": 1}}',
        '{"pace a": {"1": null}}',
        '{"pace a": {"0": 1}}',
    ],
)
def test_a_damaged_memory_is_as_good_as_none(tmp_path, text):
    path = tmp_path / "inference-config.json"
    path.write_text(text)
    found = tuning_cache.Remembered(path)
    assert (found.pace("a"), found.compiled("a")) == (None, None)


def test_a_memory_that_cannot_be_written_is_none(tmp_path):
    (tmp_path / "file").write_text("")
    tuning_cache.Remembered(tmp_path / "file" / "inference-config.json").keep_pace("a", {8: 1.0})


def trials(owner, remembered, **values):
    return Trials(
        owner.pipe.unet,
        owner.autoencoder(fast=False),
        recipe(**values),
        (32, 32),
        compute_profile=owner.compute_profile,
        device="cpu",
        remembered=remembered,
    )


def test_batches_are_tried_on_the_real_parts_once(tmp_path):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    remembered = tuning_cache.Remembered(tmp_path / "inference-config.json")
    found = trials(owner, remembered).pace()
    assert {1, 2, 4} <= set(found) <= set(tuning_cache.SIZES)

    def used_up(*_, **__):
        raise AssertionError("tried again")

    owner.pipe.unet.forward = used_up
    assert trials(owner, remembered).pace() == found


def test_a_batch_for_which_memory_runs_out_is_not_taken():
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    forward = owner.pipe.unet.forward

    def small(sample, *rest, **more):
        if sample.shape[0] > 3 * 2:
            raise torch.OutOfMemoryError
        return forward(sample, *rest, **more)

    owner.pipe.unet.forward = small
    assert list(trials(owner, tuning_cache.Remembered(None)).pace()) == [1, 2]


def test_a_short_job_is_not_compiled_and_nothing_is_tried():
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    few = BatchHistogram({24: 4}, {5: 1})
    assert owner.autotune(recipe(), (32, 32), few) == InferenceConfig(
        batch_size=1, border_batch=1, compiled=False
    )
    assert owner.autotune(recipe(batch_size=8), (32, 32), few).border_batch == 5
    # One shape where it is compiled.
    own = recipe(batch_size=8, compile="on")
    assert owner.autotune(own, (32, 32), few) == InferenceConfig(
        batch_size=8, border_batch=8, compiled=True
    )


def test_on_a_gpu_batches_are_chosen_for_what_the_plan_brings(monkeypatch):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    owner.torch_device = "meta"  # none that exists here: only the choice is looked at
    owner.compute_profile = None
    monkeypatch.setattr(Trials, "__init__", lambda self, *_, **__: None)
    monkeypatch.setattr(Trials, "pace", lambda self: {1: 0.4, 4: 0.5, 8: 0.9, 16: 1.75})
    monkeypatch.setattr(Trials, "worth_compiling", lambda *_: False)
    found = owner.autotune(recipe(), (32, 32), BatchHistogram({28: 9}, {3: 2}))
    assert (found.batch_size, found.border_batch) == (4, 4)
    found = owner.autotune(recipe(), (32, 32), BatchHistogram({16: 9}, {1: 5}))
    assert (found.batch_size, found.border_batch) == (16, 1)


class Compiling(CompiledUNet):
    """A compiler that says how well it does."""

    def __init__(self, found):
        super().__init__(None, None)
        self.found = found

    def measure(self, call, wait):
        if self.found is None:
            raise ModelError("no compiler")
        return self.found


@pytest.mark.parametrize(
    ("found", "worth"),
    [
        (tuning_cache.Compiled(60, 0.2, 0.15), True),
        (tuning_cache.Compiled(60, 0.2, 0.2), False),
        (None, False),
    ],
)
def test_a_long_job_is_compiled_where_that_was_measured_to_pay(tmp_path, found, worth):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    remembered = tuning_cache.Remembered(tmp_path / "inference-config.json")
    compiler = Compiling(found)
    assert trials(owner, remembered).worth_compiling(compiler, 1, 1e7) is worth
    assert remembered.compiled(trials(owner, remembered)._key + ", 1 frames") == found


def test_reuse_and_compiling_exclude_one_another():
    with pytest.raises(RecipeError, match="--deepcache-interval"):
        Recipe(instruction="x", deepcache_interval=2, compile="on")
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    assert not owner.autotune(
        recipe(deepcache_interval=2), (32, 32), BatchHistogram({10**9: 1}, {})
    ).compiled


def test_all_workers_keep_to_what_the_first_proposed(tmp_path):
    folder = stills_job(tmp_path)
    assert folder.inference_config() is None
    said = []
    threads = [
        threading.Thread(
            target=lambda n=n: said.append(
                folder.propose_inference_config(InferenceConfig(batch_size=n))
            )
        )
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({t.batch_size for t in said}) == 1
    assert (
        folder.propose_inference_config(InferenceConfig(batch_size=99))
        == said[0]
        == folder.inference_config()
    )
    assert not list(folder.path.glob("tuning-*"))


def test_a_session_is_made_as_agreed(tmp_path):
    """Whatever this worker would have chosen by itself."""
    seen = []

    class Asking(IdentityEditor):
        def session(self, recipe, **options):
            seen.append(options["inference_config"])
            return super().session(recipe, **options)

        def autotune(self, recipe, size, batch_histogram):
            raise AssertionError("it was agreed on already")

    folder = stills_job(tmp_path)
    agreed = folder.propose_inference_config(InferenceConfig(batch_size=5, compiled=True))
    *_, last = follow_job(folder, LocalExecutor(lambda _: Asking()))
    assert last.kind == "done"
    assert set(seen) == {agreed}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_compiled_unet_edits_as_the_plain_one_does(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32, cache=tmp_path)
    clip = frames(2)
    plain = owner.session(recipe()).edit(clip)
    quick = owner.session(recipe(compile="on")).edit(clip)
    for a, b in zip(plain, quick, strict=True):
        assert abs(a.image.astype(int) - b.image).max() <= 1
    assert any((tmp_path / "compiled").iterdir())  # for the next process


def test_a_compiler_that_fails_is_told_of_in_one_line(monkeypatch):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)

    class Fails:
        dtype = torch.float32

        def __call__(self, *_, **__):
            raise torch._dynamo.exc.InternalTorchDynamoError("no g++")

    monkeypatch.setattr(owner._compiled, "get", Fails)
    session = owner.session(msgspec.structs.replace(recipe(), compile="on"))
    with pytest.raises(ModelError, match=r"cannot be compiled on this machine.*no g"):
        session.edit(frames(1))
