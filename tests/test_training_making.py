"""Pairs from photos: whole, reproducible, and each photo on its own."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ip2p_batch.cli.app import app
from ip2p_batch.errors import OutputError, RecipeError, SourceError
from ip2p_batch.training.making import Making, make_pairs
from ip2p_batch.training.pairs import read_pairs
from ip2p_batch.training.teachers import TEACHERS

from .pictures import save, scene

SMALL = Making(size=64, per_photo=3)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    save(folder / "a.png", scene(96, 64))
    save(folder / "a.jpg", scene(64, 96))
    save(folder / "deep" / "b.png", scene(80, 80))
    return folder


def table(folder):
    return [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]


def test_each_photo_gives_its_pairs_and_the_dataset_reads_back(photos, tmp_path):
    made = make_pairs(photos, tmp_path / "pairs", SMALL)
    assert (made.pairs, made.photos, made.bad) == (9, 3, ())
    pairs = read_pairs(tmp_path / "pairs")
    assert len(pairs.good) == 9 and not pairs.bad
    for row in table(tmp_path / "pairs"):
        source, edited = (
            np.asarray(Image.open(tmp_path / "pairs" / row[key])) for key in ("input", "edited")
        )
        assert max(source.shape) == 64
        assert np.array_equal(edited, TEACHERS[row["made_by"]["teacher"]](source))


def test_the_same_seed_draws_the_same_and_a_photo_more_changes_no_other(photos, tmp_path):
    make_pairs(photos, tmp_path / "one", SMALL)
    save(photos / "0-first.png", scene(64, 64))
    make_pairs(photos, tmp_path / "two", SMALL)
    one, two = table(tmp_path / "one"), table(tmp_path / "two")
    assert one == [row for row in two if row["photo"] != "0-first.png"]
    make_pairs(photos, tmp_path / "three", Making(size=64, per_photo=3, seed=1))
    assert two != table(tmp_path / "three")


def test_edits_can_be_chosen_and_are_never_drawn_twice_for_a_photo(photos, tmp_path):
    make_pairs(photos, tmp_path / "p", Making(size=64, per_photo=9, edits=("night", "winter")))
    teachers = [row["made_by"]["teacher"] for row in table(tmp_path / "p")]
    assert sorted(teachers) == ["night"] * 3 + ["winter"] * 3


def test_bad_photos_are_listed_and_the_others_go_on(photos, tmp_path):
    (photos / "text.jpg").write_text("no picture")
    made = make_pairs(photos, tmp_path / "p", SMALL)
    assert made.pairs == 9
    assert [row.where for row in made.bad] == ["text.jpg"]
    assert made.bad[0].why == "text, not a picture"


def test_nothing_is_written_over_and_nothing_comes_of_nothing(photos, tmp_path):
    make_pairs(photos, tmp_path / "p", SMALL)
    with pytest.raises(OutputError, match="holds a dataset already"):
        make_pairs(photos, tmp_path / "p", SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no photo"):
        make_pairs(tmp_path / "empty", tmp_path / "q", SMALL)
    assert not (tmp_path / "q").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edits": ("magic",)}, "no teacher"),
        ({"size": 8}, "--size"),
        ({"per_photo": 0}, "at least"),
    ],
)
def test_what_cannot_be_made_is_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        Making(**options)


def test_the_command_makes_checks_and_draws(photos, tmp_path):
    def say(*arguments):
        return CliRunner().invoke(app, ["dataset", *map(str, arguments)])

    pairs, sheet = tmp_path / "pairs", tmp_path / "sheet.png"
    done = say(photos, "-o", pairs, "--size", 64, "--per-photo", 2, "--sheet", sheet)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("6 pairs, ") and str(sheet) in done.stdout
    with Image.open(sheet) as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
    (pairs / "edited").joinpath(next(p.name for p in (pairs / "edited").iterdir())).unlink()
    checked = say(pairs, "--json")
    facts = json.loads(checked.stdout)
    assert checked.exit_code == 1
    assert facts["pairs"] == 5 and len(facts["bad"]) == 1
    assert say(tmp_path / "nowhere").exit_code == 3
    assert say(photos, "-o", tmp_path / "x", "--edits", "magic").exit_code == 2
