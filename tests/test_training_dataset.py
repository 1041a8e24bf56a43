"""Datasets from photos: complete, reproducible, and independent per photo."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ip2p_batch.cli.app import app
from ip2p_batch.errors import OutputError, RecipeError, SourceError
from ip2p_batch.training.dataset import DatasetConfig, make_dataset
from ip2p_batch.training.pairs import read_pairs
from ip2p_batch.training.reference_edits import REFERENCE_EDITS

from .pictures import save, scene

SMALL = DatasetConfig(size=64, per_photo=3)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    save(folder / "a.png", scene(96, 64))
    save(folder / "a.jpg", scene(64, 96))
    save(folder / "deep" / "b.png", scene(80, 80))
    return folder


def table(folder):
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]


def test_every_photo_gets_pairs_and_the_dataset_can_be_read(photos, tmp_path):
    result = make_dataset(photos, tmp_path / "pairs", SMALL)
    assert (result.pairs, result.photos, result.bad) == (9, 3, ())
    pairs = read_pairs(tmp_path / "pairs")
    assert len(pairs.good) == 9 and not pairs.bad
    for row in table(tmp_path / "pairs"):
        source, edited = (
            np.asarray(Image.open(tmp_path / "pairs" / row[key])) for key in ("input", "edited")
        )
        assert max(source.shape) == 64
        assert np.array_equal(edited, REFERENCE_EDITS[row["made_by"]["reference_edit"]](source))


def test_the_same_seed_gives_the_same_pairs_and_a_new_photo_does_not_change_the_others(
    photos, tmp_path
):
    make_dataset(photos, tmp_path / "one", SMALL)
    save(photos / "0-first.png", scene(64, 64))
    make_dataset(photos, tmp_path / "two", SMALL)
    one, two = table(tmp_path / "one"), table(tmp_path / "two")
    assert one == [row for row in two if row["photo"] != "0-first.png"]
    make_dataset(photos, tmp_path / "three", DatasetConfig(size=64, per_photo=3, seed=1))
    assert two != table(tmp_path / "three")


def test_only_chosen_edits_are_drawn_and_each_once_per_photo(photos, tmp_path):
    make_dataset(
        photos, tmp_path / "p", DatasetConfig(size=64, per_photo=9, edits=("night", "winter"))
    )
    edits = [row["made_by"]["reference_edit"] for row in table(tmp_path / "p")]
    assert sorted(edits) == ["night"] * 3 + ["winter"] * 3


def test_bad_photos_are_listed_and_the_others_are_used(photos, tmp_path):
    (photos / "text.jpg").write_text("no picture")
    result = make_dataset(photos, tmp_path / "p", SMALL)
    assert result.pairs == 9
    assert [row.location for row in result.bad] == ["text.jpg"]
    assert result.bad[0].reason == "text, not an image"


def test_links_out_of_the_folder_of_photos_are_followed_on_request(photos, tmp_path):
    outside = save(tmp_path / "blobs" / "1f2e.png", scene(64, 64))
    (photos / "linked.png").symlink_to(outside)
    result = make_dataset(photos, tmp_path / "one", SMALL)
    assert result.photos == 3 and "--follow-links" in result.bad[0].reason
    arguments = ["dataset", str(photos), "-o", str(tmp_path / "two"), "--size", "64"]
    done = CliRunner().invoke(app, [*arguments, "--per-photo", "1", "--follow-links"])
    assert done.exit_code == 0, done.output
    assert len(table(tmp_path / "two")) == 4


def test_an_existing_dataset_and_an_empty_folder_are_refused(photos, tmp_path):
    make_dataset(photos, tmp_path / "p", SMALL)
    with pytest.raises(OutputError, match="already contains a dataset"):
        make_dataset(photos, tmp_path / "p", SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no readable photo"):
        make_dataset(tmp_path / "empty", tmp_path / "q", SMALL)
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edits": ("magic",)}, "unknown edit 'magic'"),
        ({"size": 8}, "--size"),
        ({"per_photo": 0}, "--per-photo is 0; it must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        DatasetConfig(**options)


def test_the_command_makes_a_dataset_checks_it_and_draws_a_sheet(photos, tmp_path):
    def run(*arguments):
        return CliRunner().invoke(app, ["dataset", *map(str, arguments)])

    pairs, sheet = tmp_path / "pairs", tmp_path / "sheet.png"
    done = run(photos, "-o", pairs, "--size", 64, "--per-photo", 2, "--sheet", sheet)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("6 pairs, ") and str(sheet) in done.stdout
    with Image.open(sheet) as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
    (pairs / "edited").joinpath(next(p.name for p in (pairs / "edited").iterdir())).unlink()
    checked = run(pairs, "--json")
    facts = json.loads(checked.stdout)
    assert checked.exit_code == 1
    assert facts["pairs"] == 5 and len(facts["bad"]) == 1
    assert run(tmp_path / "nowhere").exit_code == 3
    assert run(photos, "-o", tmp_path / "x", "--edits", "magic").exit_code == 2
