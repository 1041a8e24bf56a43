"""The inference config of a job: measured once, cached, shared by its workers."""

import threading

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.editing import pix2pix, tuning_cache
from ip2p_batch.editing.autotune import Autotuner
from ip2p_batch.editing.compiling import CompiledUNet
from ip2p_batch.editing.device_memory import is_out_of_memory
from ip2p_batch.editing.editor import EMPTY_CONTEXT, IdentityEditor
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.jobs.plan import BatchHistogram
from ip2p_batch.jobs.records import InferenceConfig
from ip2p_batch.recipe import Recipe
from ip2p_batch.scheduler import follow_job
from ip2p_batch.scheduler.local_executor import LocalExecutor
from ip2p_batch.storage.locks import Lock, lock_file

from .jobs import image_job
from .tiny_pipelines import frames, pipeline, recipe


def device_with(memory, fixed=1.0, each=0.1):
    """A device on which a call takes ``fixed`` seconds and ``each`` a frame, and room for some."""

    def seconds_of(size):
        if size > memory:
            raise torch.OutOfMemoryError
        return fixed + each * size

    return seconds_of


@given(st.integers(1, 100))
def test_what_fits_into_memory_is_tried(memory):
    latency = tuning_cache.measure_latency(device_with(memory), is_out_of_memory)
    assert list(latency) == [size for size in tuning_cache.SIZES if size <= memory]


@given(
    st.dictionaries(st.integers(1, 200), st.integers(1, 50), min_size=1),
    st.floats(0, 2),
    st.floats(0.01, 1),
)
def test_no_batch_takes_a_job_less_time_than_the_best_one(batch_histogram, fixed, each):
    latency = {size: fixed + each * size for size in tuning_cache.SIZES}

    def seconds(size):
        return (
            sum(count * -(-group // size) for group, count in batch_histogram.items())
            * latency[size]
        )

    best = seconds(tuning_cache.best_batch(latency, batch_histogram))
    assert best <= min(map(seconds, latency)) * (1 + tuning_cache._WORTH * 1.5)


def test_a_batch_size_that_needs_much_padding_is_not_chosen():
    latency = {size: 0.1 + 0.05 * size for size in tuning_cache.SIZES}
    assert tuning_cache.best_batch(latency, {28: 100}) in (
        24,
        32,
    )  # saves calls
    latency = {size: 0.02 + 0.05 * size for size in tuning_cache.SIZES}
    assert tuning_cache.best_batch(latency, {28: 100}) == 4
    assert tuning_cache.best_batch(latency, {3: 2}) == 1
    # Groups of frames with anchors have at most 32, and the rest is a group of its own.
    latency = {size: 0.1 + 0.02 * size for size in (8, 16, 24, 32)}
    assert tuning_cache.best_batch(latency, {100: 60}) == 24
    assert tuning_cache.best_batch(latency, {100: 60}, 32) == 16


def test_two_processes_do_not_measure_at_the_same_time(tmp_path):
    cache = tuning_cache.TuningCache(tmp_path / "inference-config.json")
    with cache.measuring(), (tmp_path / "inference-config.lock").open("w") as other:
        assert lock_file(other.fileno()) is Lock.HELD
    with (tmp_path / "inference-config.lock").open("w") as other:
        assert lock_file(other.fileno()) is Lock.OURS


def test_a_larger_batch_without_gain_is_not_chosen():
    tried = []

    def seconds_of(size):
        tried.append(size)
        return 0.001 + 0.1 * size  # nearly all of it is arithmetic

    latency = tuning_cache.measure_latency(seconds_of, is_out_of_memory)
    assert tuning_cache.best_batch(latency, {16: 5}) == 1
    assert tried == [1, 2, 4]


def test_other_errors_of_a_trial_are_raised():
    def broken(size):
        raise RuntimeError("misaligned address")

    with pytest.raises(RuntimeError, match="misaligned"):
        tuning_cache.measure_latency(broken, is_out_of_memory)


def test_compiling_has_to_pay_several_times_over():
    found = tuning_cache.Compiled(seconds=100, before=0.2, after=0.15)
    assert not found.pays(2000)
    assert found.pays(8001)
    assert not tuning_cache.Compiled(seconds=1, before=0.2, after=0.21).pays(1e9)
    assert not tuning_cache.may_pay(1000, 0.2)
    assert tuning_cache.may_pay(1e6, 0.2)


def test_the_next_process_knows_the_measurements(tmp_path):
    path, found = tmp_path / "deep" / "inference-config.json", tuning_cache.Compiled(1.0, 0.2, 0.1)
    first = tuning_cache.TuningCache(path)
    first.keep_latency("a", {1: 0.5, 8: 1.5})
    first.keep_compiled("a", found)
    second = tuning_cache.TuningCache(path)
    assert (second.latency("a"), second.compiled("a")) == ({1: 0.5, 8: 1.5}, found)
    assert (second.latency("b"), second.compiled("b")) == (None, None)
    assert [p.name for p in path.parent.iterdir()] == ["inference-config.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"latency a": "x", "compile a": {"no": 1}}',
        '{"latency a": {}}',
        '{"latency a": {"x": 1}}',
        '{"latency a": {"1": null}}',
        '{"latency a": {"0": 1}}',
    ],
)
def test_a_damaged_cache_is_ignored(tmp_path, text):
    path = tmp_path / "inference-config.json"
    path.write_text(text)
    found = tuning_cache.TuningCache(path)
    assert (found.latency("a"), found.compiled("a")) == (None, None)


def test_a_cache_that_cannot_be_written_is_ignored(tmp_path):
    (tmp_path / "file").write_text("a file, no folder")
    cache = tuning_cache.TuningCache(tmp_path / "file" / "inference-config.json")
    cache.keep_latency("a", {8: 1.0})
    with cache.measuring():
        assert cache.latency("a") is None
    assert (tmp_path / "file").read_text() == "a file, no folder"


def tuner(owner, cache, **values):
    return Autotuner(
        owner.pipe.unet,
        owner.vae(tiny=False),
        recipe(**values),
        (32, 32),
        compute_profile=owner.compute_profile,
        device="cpu",
        cache=cache,
    )


def test_batch_sizes_are_measured_once_with_the_real_model(tmp_path):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    cache = tuning_cache.TuningCache(tmp_path / "inference-config.json")
    found = tuner(owner, cache).latency_by_batch()
    assert {1, 2, 4} <= set(found) <= set(tuning_cache.SIZES)

    def used_up(*_, **__):
        raise AssertionError("tried again")

    owner.pipe.unet.forward = used_up
    assert tuner(owner, cache).latency_by_batch() == found


def test_a_batch_that_runs_out_of_memory_is_not_chosen():
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    forward = owner.pipe.unet.forward

    def small(sample, *rest, **more):
        if sample.shape[0] > 3 * 2:
            raise torch.OutOfMemoryError
        return forward(sample, *rest, **more)

    owner.pipe.unet.forward = small
    assert list(tuner(owner, tuning_cache.TuningCache(None)).latency_by_batch()) == [1, 2]


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


def test_on_a_gpu_batch_sizes_depend_on_the_plan(monkeypatch):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    owner.torch_device = "meta"  # no such device here: this tests only the choice
    owner.compute_profile = None
    monkeypatch.setattr(Autotuner, "__init__", lambda self, *_, **__: None)
    monkeypatch.setattr(
        Autotuner, "latency_by_batch", lambda self: {1: 0.4, 4: 0.5, 8: 0.9, 16: 1.75}
    )
    monkeypatch.setattr(Autotuner, "worth_compiling", lambda *_: False)
    found = owner.autotune(recipe(), (32, 32), BatchHistogram({28: 9}, {3: 2}))
    assert (found.batch_size, found.border_batch) == (4, 4)
    found = owner.autotune(recipe(), (32, 32), BatchHistogram({16: 9}, {1: 5}))
    assert (found.batch_size, found.border_batch) == (16, 1)


class Compiling(CompiledUNet):
    """A compiler with a given measurement."""

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
    cache = tuning_cache.TuningCache(tmp_path / "inference-config.json")
    compiler = Compiling(found)
    assert tuner(owner, cache).worth_compiling(compiler, 1, 1e7) is worth
    assert cache.compiled(tuner(owner, cache)._key + ", 1 frames") == found


def test_deepcache_and_compiling_exclude_each_other():
    with pytest.raises(RecipeError, match="deepcache_interval"):
        Recipe(instruction="x", deepcache_interval=2, compile="on")
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)
    assert not owner.autotune(
        recipe(deepcache_interval=2), (32, 32), BatchHistogram({10**9: 1}, {})
    ).compiled


def test_all_workers_use_the_first_proposed_config(tmp_path):
    folder = image_job(tmp_path)
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


def test_a_session_gets_the_inference_config_of_the_job(tmp_path):
    """This worker does not measure."""
    seen = []

    class Asking(IdentityEditor):
        def session(self, recipe, context=EMPTY_CONTEXT, **options):
            seen.append(options["inference_config"])
            return super().session(recipe, context, **options)

        def autotune(self, recipe, size, batch_histogram):
            raise AssertionError("the job has an inference config")

    folder = image_job(tmp_path)
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


def test_a_compiler_error_is_one_line(monkeypatch):
    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32)

    class Fails:
        dtype = torch.float32

        def __call__(self, *_, **__):
            raise torch._dynamo.exc.InternalTorchDynamoError("no g++")

    monkeypatch.setattr(owner._compiled, "get", Fails)
    session = owner.session(msgspec.structs.replace(recipe(), compile="on"))
    with pytest.raises(ModelError, match=r"cannot be compiled on this machine.*no g"):
        session.edit(frames(1))


@pytest.mark.parametrize(
    ("units", "parameters", "dtype", "batch"),
    [
        (True, 1 << 30, torch.bfloat16, 4),
        (False, 1 << 30, torch.bfloat16, 1),
        (True, 100, torch.bfloat16, 1),
        (True, 1 << 30, torch.float32, 1),
    ],
)
def test_a_cpu_with_matrix_units_edits_several_frames_at_a_time_with_a_small_model(
    monkeypatch, units, parameters, dtype, batch
):
    monkeypatch.setattr(pix2pix, "has_matrix_units", lambda: units)
    monkeypatch.setattr(pix2pix, "_SMALL_UNET", parameters)
    editor = Pix2PixEditor(pipeline(), device="cpu", dtype=dtype)
    config = editor.autotune(recipe(), (64, 64), BatchHistogram({28: 3}, {2: 1}))
    assert (config.batch_size, config.border_batch) == (batch, min(batch, 2))
    assert editor.autotune(recipe(batch_size=7), (64, 64), BatchHistogram({28: 3}, {})) == (
        InferenceConfig(batch_size=7, border_batch=1, compiled=False)
    )


@given(st.integers(1, 3))
def test_more_frames_in_a_call_take_less_time_each_on_matrix_units(branches):
    latency = tuning_cache.matrix_unit_latency(branches)
    each = [seconds / frames for frames, seconds in latency.items()]
    assert each == sorted(each, reverse=True)
    assert max(latency) * branches <= 12
