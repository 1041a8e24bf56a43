"""Parsing of options, and the merge of options, recipe file and model defaults into a recipe."""

import inspect
import json

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.cli.media_options import CODECS, FORMATS, OutputOptions
from ip2p_batch.cli.param_types import choice, devices, number_or, seconds
from ip2p_batch.cli.recipe_options import RecipeOptions, recipe_from
from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.jobs.coding import Encoding
from ip2p_batch.planning.recipes import recipe_for
from ip2p_batch.recipe import FIELDS, Recipe


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12.0), ("12.5", 12.5), (".5", 0.5), ("90", 90.0), ("1:30", 90.0), ("0:00.04", 0.04),
        ("01:02:03.250", 3723.25), ("100:00:00", 360000.0), (" 7 ", 7.0), ("90:00", 5400.0),
    ],
)  # fmt: skip
def test_a_time_may_be_seconds_or_have_colons(text, value):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["", "abc", "-3", "1:60", "1:60:00", "1:2:3:4", "1:", "nan", "inf", "1e5", "٣", "9" * 400],
)
def test_a_text_that_is_not_a_time_is_an_error(text):
    with pytest.raises(typer.BadParameter):
        seconds(text)


@given(st.integers(0, 99 * 3600 * 1000))
def test_a_time_written_in_hours_reads_back_to_the_millisecond(milliseconds):
    rest, thousandths = divmod(milliseconds, 1000)
    minutes, secs = divmod(rest, 60)
    text = f"{minutes // 60:02d}:{minutes % 60:02d}:{secs:02d}.{thousandths:03d}"
    assert round(seconds(text) * 1000) == milliseconds


def test_every_field_of_a_recipe_has_its_option():
    options = set(inspect.signature(RecipeOptions).parameters)
    assert options - {"recipe", "preset"} == set(FIELDS) - {"instruction"}


def test_without_options_the_recipe_has_its_own_defaults():
    assert recipe_from("make it snow", RecipeOptions()) == Recipe(instruction="make it snow")


def test_a_model_folder_sets_its_own_defaults():
    recipe = recipe_from("make it snow", RecipeOptions(model="tiny"))
    assert (recipe.num_inference_steps, recipe.guidance_scale, recipe.size) == (10, 2.0, "auto")
    assert recipe.image_guidance_scale == 1.2
    assert recipe.model == "tiny"


def test_the_recipe_file_wins_over_the_model_and_an_option_over_both(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text('model = "tiny"\nnum_inference_steps = 7\nseed = 3\ninstruction = "old"\n')
    recipe = recipe_from(None, RecipeOptions(recipe=file, seed=4, scenes=False))
    assert recipe.instruction == "old"
    assert (recipe.num_inference_steps, recipe.seed, recipe.scenes) == (7, 4, False)
    assert recipe.guidance_scale == 2.0, "the model's default"
    assert recipe_from("new", RecipeOptions(recipe=file)).instruction == "new"


def test_a_preset_wins_over_the_recipe_file_and_an_option_over_the_preset(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text('model = "tiny"\npreset = "quality"\nnum_inference_steps = 7\n')
    assert recipe_from("x", RecipeOptions(recipe=file)).num_inference_steps == 7
    fast = recipe_from("x", RecipeOptions(recipe=file, preset="fast", guidance_scale=3.0))
    assert fast == recipe_for("tiny", "x", preset="fast", guidance_scale=3.0)
    assert fast.num_inference_steps < 7


def test_a_zero_given_as_an_option_counts_as_given(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text("carryover = 0.5\nbatch_size = 4\nnegative_prompt = 'blur'\n")
    recipe = recipe_from(
        "x", RecipeOptions(recipe=file, carryover=0.0, batch_size=0, negative_prompt="")
    )
    assert (recipe.carryover, recipe.batch_size, recipe.negative_prompt) == (0.0, 0, "")


def test_a_job_folders_recipe_makes_the_same_recipe_again(tmp_path):
    recipe = recipe_from("make it snow", RecipeOptions(model="tiny", seed=9, revision="main"))
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    assert recipe_from(None, RecipeOptions(recipe=tmp_path / "recipe.toml")) == recipe


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("num_inference_steps = 0", "num_inference_steps is 0"),
        ("steps = 5", "'steps'"),
        ("seed = 'abc'", "seed"),
        ("model = 5", "model"),
        ("model = [1]", "model"),
        ("not toml", "TOML"),
    ],
)
def test_a_bad_recipe_file_is_one_clear_error(tmp_path, text, named):
    file = tmp_path / "recipe.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=named):
        recipe_from("x", RecipeOptions(recipe=file))


def test_a_recipe_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match="nowhere"):
        recipe_from("x", RecipeOptions(recipe=tmp_path / "nowhere.toml"))


def test_a_model_folder_with_a_damaged_defaults_file_is_named(tmp_path):
    (tmp_path / "ip2p_defaults.json").write_text(json.dumps({"colour": 1}))
    with pytest.raises(ModelError, match=r"ip2p_defaults\.json"):
        recipe_from("x", RecipeOptions(model=str(tmp_path)))


def test_a_choice_ignores_case_knows_aliases_and_completes():
    option = choice(FORMATS, {"jpg": "jpeg"})
    assert option["parser"](" JPG ") == "jpeg"
    assert option["autocompletion"]() == list(FORMATS)
    with pytest.raises(typer.BadParameter, match="png"):
        option["parser"]("gif")


def test_choices_are_those_of_the_encoding():
    for codec in CODECS:
        assert OutputOptions(codec=codec).encoding() == Encoding(codec=codec)  # type: ignore[arg-type]
    for name in FORMATS:
        assert OutputOptions(format=name, quality=7).encoding() == Encoding(format=name, quality=7)  # type: ignore[arg-type]


def test_a_number_or_a_word_is_parsed_in_any_case_and_completes():
    option = number_or(["auto"])
    assert [option["parser"](text) for text in ("512", " AUTO ", "-3")] == [512, "auto", -3]
    assert option["autocompletion"]() == ["auto"]
    for text in ("", "5_1", "1e3", "12.5", "big", "٣٢٠", "9" * 5000):
        with pytest.raises(typer.BadParameter, match="is not auto or a whole number"):
            option["parser"](text)


def test_devices_are_auto_cpu_or_numbers():
    assert [devices(t) for t in ("auto", "CPU", "0, 1", "cuda:2")] == [
        "auto", "cpu", "0,1", "cuda:2",
    ]  # fmt: skip
    for text in ("", "gpu", "0,", "-1", "cpu,0"):
        with pytest.raises(typer.BadParameter):
            devices(text)
