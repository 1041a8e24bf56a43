"""Scores of edited images at full size: single images, folders and manifests."""

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from ip2p_batch.errors import SourceError
from ip2p_batch.evaluation.full_size import full_size_score, mean_score
from ip2p_batch.evaluation.images import score_images

from .pictures import save


def texture(width=160, height=120, seed=0):
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    return np.clip(128 + 200 * cv2.GaussianBlur(noise, (0, 0), 1.2), 0, 255).astype(np.uint8)


def enlarged(image, factor=4):
    """Scale down and up again, as an edit at a small size does."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def near(score, expected):
    """Equal but for the order of sums, which depends on where an array begins in memory."""
    return msgspec.to_builtins(score) == pytest.approx(msgspec.to_builtins(expected))


def test_a_copy_gets_the_best_scores_and_an_enlarged_one_lower_ones():
    image = texture()
    copy, soft = full_size_score(image, image), full_size_score(image, enlarged(image))
    assert copy.edge_f1 == 1
    assert copy.sharpness == pytest.approx(1) and copy.ssim == pytest.approx(1)
    assert soft.sharpness < 0.5 and soft.edge_f1 < 0.85 and soft.ssim < 0.7
    assert soft.source_gradient_energy == pytest.approx(copy.gradient_energy)


def test_an_output_of_another_size_is_compared_at_the_sources_size():
    image = texture()
    small = cv2.resize(image, (40, 30), interpolation=cv2.INTER_AREA)
    score = full_size_score(image, small)
    assert near(score, full_size_score(image, enlarged(image)))
    assert full_size_score(small, image).sharpness == pytest.approx(1, abs=0.05)


def test_a_source_of_one_colour_has_no_sharpness_and_a_tiny_one_is_compared():
    flat = np.full((20, 30, 3), 90, np.uint8)
    assert full_size_score(flat, flat).sharpness is None
    assert mean_score([full_size_score(flat, flat)]).sharpness is None
    tiny = texture(3, 1)
    assert full_size_score(tiny, tiny).ssim == pytest.approx(1)


def test_means_are_those_of_the_images_and_sharpness_the_ratio_of_mean_energies():
    image, flat = texture(), np.full((120, 160, 3), 90, np.uint8)
    scores = [full_size_score(image, enlarged(image)), full_size_score(flat, flat)]
    mean = mean_score(scores)
    assert mean.edge_f1 == (scores[0].edge_f1 + 1) / 2
    assert mean.sharpness == pytest.approx(scores[0].sharpness)


@pytest.fixture
def folders(tmp_path):
    for number, name in enumerate(("a.png", "sub/b.png", "c.jpg")):
        save(tmp_path / "in" / name, texture(seed=number))
    save(tmp_path / "out" / "a.png", texture())
    save(tmp_path / "out" / "sub" / "b.png", enlarged(texture(seed=1)))
    save(tmp_path / "out" / "c.png", texture(seed=2))  # another format
    return tmp_path


def test_a_folder_is_compared_image_by_image(folders):
    seen = []
    score = score_images(folders / "in", folders / "out", lambda *done: seen.append(done))
    assert [image.name for image in score.images] == ["a.png", "c.jpg", "sub/b.png"]
    assert [(i.width, i.height) for i in score.images] == [(160, 120)] * 3
    assert score.images[0].scores.edge_f1 == 1 and score.images[2].scores.edge_f1 < 0.8
    assert near(score.mean, mean_score([image.scores for image in score.images]))
    assert score.left_out == () and seen == [(1, 3), (2, 3), (3, 3)]


def test_images_that_cannot_be_compared_are_named(folders):
    (folders / "out" / "c.png").unlink()
    (folders / "out" / "a.png").write_bytes(b"no image")
    (folders / "in" / "d.psd").write_bytes(b"x")
    score = score_images(folders / "in", folders / "out")
    assert [image.name for image in score.images] == ["sub/b.png"]
    unreadable, missing, unsupported = score.left_out
    assert "a.png: " in unreadable and "c.jpg: it has no output" in missing
    assert unsupported == "d.psd: Photoshop images are not supported"


def test_another_images_output_is_not_taken_for_the_missing_one(tmp_path):
    save(tmp_path / "in" / "a.png", texture())
    save(tmp_path / "in" / "a.jpg", texture(seed=1))
    save(tmp_path / "out" / "a.png", texture())
    score = score_images(tmp_path / "in", tmp_path / "out")
    assert [image.name for image in score.images] == ["a.png"] and len(score.left_out) == 1


def test_a_folder_without_any_output_is_refused(folders):
    with pytest.raises(SourceError, match=r"No image of .* a\.png: it has no output") as caught:
        score_images(folders / "in", folders / "none")
    assert "same names" in caught.value.hint


def test_a_single_image_and_a_manifest_are_compared(folders):
    image = folders / "in" / "a.png"
    assert len(score_images(image, folders / "out" / "a.png").images) == 1
    assert score_images(image, folders / "out").images[0].name == "a.png"
    table = folders / "in" / "list.csv"
    table.write_text("path,output\na.png,sub/b.png\n")
    score = score_images(table, folders / "out")
    assert score.images[0].name == "a.png" and score.mean.edge_f1 < 0.8


# -- the command ----------------------------------------------------------------------------


def run(capsys, *arguments):
    from ip2p_batch.cli.app import app

    code = app(["score", *map(str, arguments)], standalone_mode=False)
    return code, capsys.readouterr()


def test_the_command_prints_means_and_each_image(folders, capsys):
    code, printed = run(capsys, folders / "in", folders / "out", "-q")
    lines = printed.out.splitlines()
    assert code == 0 and lines[0].startswith("3 images")
    assert any(line.startswith("edge F1 at full size") for line in lines)
    assert any(line.split()[:2] == ["sub/b.png", "160x120"] for line in lines)
    assert max(map(len, lines)) <= 80


def test_the_command_reports_images_left_out_by_text_and_exit_code(folders, capsys):
    Path(folders / "out" / "c.png").unlink()
    code, printed = run(capsys, folders / "in", folders / "out", "-q")
    assert code == 1 and "c.jpg: it has no output" in printed.out
    code, printed = run(capsys, folders / "in", folders / "out", "--json")
    facts = json.loads(printed.out)
    assert code == 1 and [image["name"] for image in facts["images"]] == ["a.png", "sub/b.png"]
    assert set(facts["mean"]) == set(facts["images"][0]["scores"])


@pytest.mark.parametrize("option", ["--plot", "--job", "--first", "--clip"])
def test_options_of_videos_are_refused_for_images(folders, capsys, option):
    code, printed = run(capsys, folders / "in", folders / "out", option, "1")
    assert code == 2 and f"{option}: only for a video" in printed.err
