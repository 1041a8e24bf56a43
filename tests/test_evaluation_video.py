"""Scores of real video files: copies, flicker, seams, excerpts, and CLIP similarities."""

import json

import av
import cv2
import msgspec
import numpy as np
import pytest

from ip2p_batch.errors import ModelError, SourceError
from ip2p_batch.evaluation import directional_similarity, temporal_consistency, text_similarity
from ip2p_batch.evaluation.clip import compute_clip_scores
from ip2p_batch.evaluation.full_size import full_size_score, mean_score
from ip2p_batch.evaluation.plot import draw_plot
from ip2p_batch.evaluation.video import ScoreRequest, sample_frames, score_video
from ip2p_batch.threads import CpuPool


def texture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 2)
    return np.clip(128 + 250 * noise, 0, 255).astype(np.uint8)


def write(path, images):
    """Encode losslessly, so that only intended differences remain."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = images[0].shape[1], images[0].shape[0], "bgr0"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def near(score, expected):
    """Equal but for the order of sums, which depends on where an array begins in memory."""
    return msgspec.to_builtins(score) == pytest.approx(msgspec.to_builtins(expected))


@pytest.fixture(scope="module")
def clip():
    wide = texture(96, 200)
    return [wide[:, n : n + 160].copy() for n in range(12)]


def test_a_copy_adds_no_flicker(tmp_path, clip):
    source = write(tmp_path / "a.mkv", clip)
    score, frame_scores = score_video(ScoreRequest(source=source, output=source, cuts=()))
    assert (score.frames, score.width, score.height) == (12, 160, 96)
    assert score.excess == 0 and score.source_ssim == pytest.approx(1)
    assert len(frame_scores.pairs) == 11 and len(frame_scores.source_ssim) == 12


def test_sharpness_is_measured_at_full_size_whatever_the_compared_size(tmp_path, clip):
    source = write(tmp_path / "a.mkv", clip)
    soft = write(tmp_path / "b.mkv", [cv2.GaussianBlur(image, (0, 0), 3) for image in clip])
    for size in (80, 512):
        request = ScoreRequest(source=source, output=soft, size=size, cuts=())
        score, frame_scores = score_video(request, cpu_pool=CpuPool(2))
        assert (score.source_width, score.source_height) == (160, 96)
        expected = [full_size_score(image, cv2.GaussianBlur(image, (0, 0), 3)) for image in clip]
        assert all(map(near, frame_scores.full_size, expected))
        assert near(score.full_size, mean_score(expected))
    assert score.full_size.sharpness < 0.5
    copy, _ = score_video(ScoreRequest(source=source, output=source, cuts=()))
    assert copy.full_size.sharpness == pytest.approx(1) and copy.full_size.edge_f1 == 1


def test_an_output_of_another_size_is_compared_at_the_sources_full_size(tmp_path, clip):
    source = write(tmp_path / "a.mkv", clip)
    small = [cv2.resize(i, (80, 48), interpolation=cv2.INTER_AREA) for i in clip]
    score, _ = score_video(
        ScoreRequest(source=source, output=write(tmp_path / "b.mkv", small), cuts=())
    )
    assert (score.source_width, score.source_height) == (160, 96)
    expected = [full_size_score(*pair) for pair in zip(clip, small, strict=True)]
    assert near(score.full_size, mean_score(expected))


def test_flicker_raises_the_score_and_a_seam_shows_at_its_frame(tmp_path, clip):
    source = write(tmp_path / "a.mkv", clip)
    bright = [np.clip(i + 20.0 * (n >= 6), 0, 255).astype(np.uint8) for n, i in enumerate(clip)]
    output = write(tmp_path / "b.mkv", bright)
    score, frame_scores = score_video(
        ScoreRequest(source=source, output=output, seams=(6,), cuts=())
    )
    assert score.excess > 0 and score.seam_ratio > 10
    assert np.argmax([pair.output for pair in frame_scores.pairs]) == 5
    cut, _ = score_video(ScoreRequest(source=source, output=output, seams=(6,), cuts=(6,)))
    assert cut.seam_ratio is None and cut.excess < 0.05 * score.excess


def test_an_excerpt_is_compared_from_its_first_frame(tmp_path, clip):
    source = write(tmp_path / "a.mkv", clip)
    output = write(tmp_path / "b.mkv", clip[4:10])
    with pytest.raises(SourceError, match="6 frames") as caught:
        score_video(ScoreRequest(source=source, output=output))
    assert "--first" in caught.value.hint
    score, _ = score_video(ScoreRequest(source=source, output=output, first=4, cuts=()))
    assert score.source_ssim == pytest.approx(1) and score.frames == 6


def test_an_excerpt_may_begin_with_the_first_frame(tmp_path, clip):
    source, output = write(tmp_path / "a.mkv", clip), write(tmp_path / "b.mkv", clip[:6])
    score, _ = score_video(ScoreRequest(source=source, output=output, first=0, cuts=()))
    assert score.frames == 6
    with pytest.raises(SourceError, match="12 frames"):
        score_video(ScoreRequest(source=output, output=source, first=0))


def test_a_video_of_one_frame_is_refused(tmp_path, clip):
    source = write(tmp_path / "a.mkv", clip[:1])
    with pytest.raises(SourceError, match="only one frame"):
        score_video(ScoreRequest(source=source, output=source))


def test_large_videos_are_compared_at_the_requested_size(tmp_path, clip):
    source = write(tmp_path / "a.mkv", clip)
    score, _ = score_video(ScoreRequest(source=source, output=source, size=80, cuts=()))
    assert (score.width, score.height) == (80, 48)
    sources, outputs = sample_frames(ScoreRequest(source=source, output=source, size=80), 5)
    assert len(sources) == len(outputs) == 5 and sources[0].shape == (48, 80, 3)


def test_the_plot_is_written_as_an_image(tmp_path, clip):
    source = write(tmp_path / "a.mkv", clip)
    score, frame_scores = score_video(
        ScoreRequest(source=source, output=source, seams=(6,), cuts=(4,))
    )
    draw_plot(score, frame_scores, tmp_path / "plot.png", "a")
    assert cv2.imread(str(tmp_path / "plot.png")).shape[1] > 600


# -- CLIP ---------------------------------------------------------------------------------


def test_similarities_follow_from_their_formulas():
    same = np.array([[1.0, 0.0], [2.0, 0.0]])
    turned = np.array([[0.0, 1.0], [0.0, 3.0]])
    assert temporal_consistency(same) == pytest.approx(1)
    assert temporal_consistency(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(0)
    assert text_similarity(same, np.array([1.0, 1.0])) == pytest.approx(2**-0.5)
    along = directional_similarity(same, turned, same[0], turned[0])
    against = directional_similarity(same, turned, turned[0], same[0])
    assert (along, against) == (pytest.approx(1), pytest.approx(-1))  # type: ignore[comparison-overlap]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP model with random weights, in transformers' layout."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    from .tiny_pipelines import tokenizer

    folder, words = tmp_path_factory.mktemp("clip"), tokenizer()
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    config = CLIPConfig(
        text_config={
            **small, "num_attention_heads": 2, "vocab_size": len(words),
            "max_position_embeddings": words.model_max_length,
            "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id,
        },
        vision_config={**small, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(folder)
    return folder


def test_a_clip_model_in_a_folder_computes_what_the_captions_allow(clip, clip_folder):
    negative = [255 - image for image in clip]
    plain = compute_clip_scores(clip, negative, model=str(clip_folder))
    assert plain.frames == 12 and 0 < plain.temporal_consistency <= 1 + 1e-6
    assert plain.text_similarity is None and plain.directional_similarity is None
    captions = {"source_caption": "a texture", "caption": "a negative"}
    with_captions = compute_clip_scores(clip, negative, model=str(clip_folder), **captions)
    assert -1 <= with_captions.text_similarity <= 1
    assert -1 <= with_captions.directional_similarity <= 1


def test_a_missing_clip_model_is_a_model_error(clip, tmp_path):
    with pytest.raises(ModelError, match="CLIP model"):
        compute_clip_scores(clip, clip, model=str(tmp_path))


# -- the command ----------------------------------------------------------------------------


def test_the_command_prints_text_or_json_and_writes_the_plot(tmp_path, clip, capsys):
    from ip2p_batch.cli.app import app

    source = write(tmp_path / "a.mkv", clip)
    plot = tmp_path / "p.png"
    assert app(["score", str(source), str(source), "--plot", str(plot)], standalone_mode=False) == 0
    printed = capsys.readouterr().out
    assert "sharpness at 160x96  1.000" in printed and "edge F1 at 160x96    1.000" in printed
    assert "warp error" in printed and "12 frames at 160x96" in printed and plot.is_file()
    assert app(["score", str(source), str(source), "--json"], standalone_mode=False) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["full_size"]["sharpness"] == pytest.approx(1)
    assert facts["excess"] == 0 and len(facts["pairs"]) == 11 and facts["clip"] is None
