"""Depth: one scale for a shot, an estimator of the user's own, the same hints in every chunk."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

import ip2p_batch
from ip2p_batch.editing.depth import load_estimator
from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.execution import video_hints
from ip2p_batch.execution.depth import job_estimator
from ip2p_batch.execution.worker_cache import WorkerCache
from ip2p_batch.hints.depth import Scale, depth_hint, sampled, scale_of
from ip2p_batch.hints.kinds import check_kinds
from ip2p_batch.media.images.reader import read_image
from ip2p_batch.recipe_parts import Control
from ip2p_batch.scheduler import EditRequest, create_job

from . import clips, pictures
from .test_execution_hints import recipe, run_chunks


@pytest.fixture(scope="module")
def estimator(tmp_path_factory):
    """A Depth Anything model of random weights."""
    backbone = {
        "model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 4,
        "num_attention_heads": 2, "intermediate_size": 32, "image_size": 56, "patch_size": 14,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
        "reshape_hidden_states": False, "apply_layernorm": True,
    }  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone,
        neck_hidden_sizes=[8, 8, 8, 8],
        reassemble_hidden_size=16,
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    folder = tmp_path_factory.mktemp("models") / "depth"
    torch.manual_seed(0)
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        '{"size": {"height": 56, "width": 56}, "ensure_multiple_of": 14}'
    )
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two shots of different brightness."""

    def image(n, width, height):
        shown = clips.picture(n, width, height)
        return 255 - shown if n >= 8 else shown // 2

    return clips.make(tmp_path_factory.mktemp("clip") / "clip.mp4", 16, image=image)


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_the_sampled_frames_of_a_shot_have_its_ends(start, length):
    frames = sampled(range(start, start + length))
    assert frames[0] == start
    assert frames[-1] == start + length - 1
    assert len(frames) == min(length, len(frames)) <= 8


def test_the_scale_is_that_of_the_shot_and_not_of_the_frame():
    near, far = np.full((4, 4), 5, np.float32), np.full((4, 4), 1, np.float32)
    scale = scale_of([near, far])
    image = np.zeros((8, 8, 3), np.uint8)
    assert np.unique(depth_hint(near, scale, image)).tolist() == [255]
    assert np.unique(depth_hint(far, scale, image)).tolist() == [0]
    assert np.unique(depth_hint(np.full((4, 4), 3, np.float32), Scale(1, 5), image)).tolist() == [
        128
    ]


def test_a_flat_shot_is_black():
    flat = np.full((4, 4), 3, np.float32)
    assert not depth_hint(flat, scale_of([flat]), np.ones((8, 8, 3), np.uint8)).any()


def test_an_estimate_has_about_the_shape_of_its_image(estimator):
    depth = load_estimator(str(estimator))(clips.picture(1, 96, 48))
    assert depth.dtype == np.float32
    assert depth.shape == (28, 56)
    assert np.isfinite(depth).all()


def test_depth_of_a_video_is_the_same_in_every_chunk_and_order(tmp_path, settings, clip, estimator):
    nets = (Control(kind="depth", preprocessor=str(estimator)), Control(kind="canny"))
    plain = run_chunks(tmp_path, settings, clip, nets)
    other = run_chunks(tmp_path, settings, clip, nets, order=-1, chunk_frames=4)
    assert any(hints[0].std() > 10 for hints in plain.seen.values())
    for key in plain.seen.keys() & other.seen.keys():
        assert np.array_equal(plain.seen[key][0], other.seen[key][0])


def test_chunks_of_one_process_find_the_scale_of_each_shot_once(
    tmp_path, settings, clip, estimator, monkeypatch
):
    found = []

    def counted(maps):
        found.append(scale_of(maps))
        return found[-1]

    monkeypatch.setattr(video_hints, "scale_of", counted)
    nets = (Control(kind="depth", preprocessor=str(estimator)),)
    cached = run_chunks(tmp_path, settings, clip, nets, cache=WorkerCache(), chunk_frames=4)
    assert len(found) == 2
    plain = run_chunks(tmp_path, settings, clip, nets, chunk_frames=4)
    assert len(found) > 4
    assert cached.seen.keys() == plain.seen.keys()
    for key, (hint,) in cached.seen.items():
        assert np.array_equal(hint, plain.seen[key][0])


def test_an_image_has_a_scale_of_its_own(tmp_path, estimator):
    path = pictures.save(tmp_path / "a.png", clips.picture(5))
    made = ip2p_batch.make_hints(
        path, "depth", recipe=recipe(()), preprocessor=str(estimator), output=tmp_path / "h.png"
    )
    depth = load_estimator(str(estimator))(clips.picture(5))
    expected = depth_hint(depth, scale_of([depth]), clips.picture(5))
    assert np.array_equal(read_image(made.output), expected)


def test_a_changed_estimator_is_another_job_and_refused_by_a_worker(
    tmp_path, settings, clip, estimator
):
    own = shutil.copytree(estimator, tmp_path / "own")
    control = (Control(kind="depth", preprocessor=str(own)),)
    request = EditRequest(source=clip, output=tmp_path / "out.mp4", recipe=recipe(control))
    job = create_job(request, settings).job()
    assert job_estimator(job, 0, Path) is not None
    weights = own / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="is not the depth estimator that job"):
        job_estimator(job, 0, Path)
    other = ip2p_batch.plan(clip, recipe=recipe(control), output=tmp_path / "out.mp4").job
    assert other.fingerprint() != job.fingerprint()


def test_what_is_no_estimator_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"is no depth estimator: it has no config\.json"):
        check_kinds((Control(kind="depth", preprocessor=str(tmp_path / "empty")),))
    with pytest.raises(ModelError, match="no folder of a depth estimator, and no hub id"):
        check_kinds((Control(kind="depth", preprocessor="missing"),))
    with pytest.raises(RecipeError, match="makes hints of depth only, and not canny"):
        check_kinds((Control(kind="canny", preprocessor="a/b"),))
