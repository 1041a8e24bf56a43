"""A recipe from options, a preset, a recipe file and a model: which of them wins."""

import json

import pytest

import ip2p_batch
from ip2p_batch.errors import RecipeError
from ip2p_batch.models import catalog, presets
from ip2p_batch.planning.recipes import recipe_for, resolve_recipe


@pytest.fixture
def model(tmp_path):
    """A folder with a default of each kind, and with presets."""
    defaults = {"num_inference_steps": 5, "guidance_scale": 3, "scheduler": "ddim"}
    (tmp_path / catalog.DEFAULTS_FILE).write_text(json.dumps(defaults))
    own = {
        "fast": {"num_inference_steps": 2, "scheduler": "lcm", "lora": [{"model": "a/b"}]},
        "quality": {"num_inference_steps": 9},
    }
    (tmp_path / presets.PRESETS_FILE).write_text(json.dumps(own))
    return str(tmp_path)


def test_a_field_wins_over_the_preset_and_the_preset_over_the_models_defaults(model):
    recipe = recipe_for(model, "x", preset="fast", scheduler="euler")
    assert (recipe.num_inference_steps, recipe.scheduler) == (2, "euler")
    assert recipe.guidance_scale == 3, "the model's default"
    assert [lora.model for lora in recipe.lora] == ["a/b"]
    assert recipe_for(model, "x", preset="fast", lora=()).lora == ()


def test_a_preset_may_be_in_a_recipe_file_below_its_fields(model):
    recipe = resolve_recipe({"model": model, "preset": "fast", "num_inference_steps": 7}, {})
    assert (recipe.num_inference_steps, recipe.scheduler) == (7, "lcm")


def test_a_preset_given_as_an_option_wins_over_the_file_and_its_preset(model):
    file = {"model": model, "preset": "fast", "num_inference_steps": 7}
    recipe = resolve_recipe(file, {"preset": "quality"})
    assert (recipe.num_inference_steps, recipe.scheduler) == (9, "ddim")
    assert recipe.lora == (), "nothing of the file's own preset is left"
    assert resolve_recipe(file, {"preset": None}).num_inference_steps == 7


def test_the_preset_is_that_of_the_model_given_as_an_option(model):
    assert resolve_recipe({"preset": "fast"}, {"model": model}).scheduler == "lcm"


@pytest.mark.parametrize("name", ["slow", 3])
def test_an_unknown_preset_is_named_with_the_known_ones(name):
    with pytest.raises(RecipeError, match="it must be one of: fast, balanced, quality"):
        ip2p_batch.recipe_for("tiny", preset=name)
