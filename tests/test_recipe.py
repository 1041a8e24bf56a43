import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch import recipe
from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.jobs.codec import decode, encode
from ip2p_batch.models import catalog
from ip2p_batch.recipe import Recipe

text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
recipes = st.builds(
    Recipe,
    instruction=text,
    negative_prompt=text,
    revision=st.none() | text,
    scheduler=st.sampled_from(recipe.SCHEDULERS),
    num_inference_steps=st.integers(1, 1000),
    guidance_scale=st.floats(1, 100),
    image_guidance_scale=st.floats(1, 100),
    guidance_interval=st.tuples(st.floats(0, 0.5), st.floats(0.5, 1)),
    seed=st.integers(0, 2**63 - 1),
    size=st.integers(64, 4096),
    chunk_frames=st.integers(2, 10000),
    carryover=st.floats(0, 0.99),
    scenes=st.booleans(),
)


@given(value=recipes)
def test_a_recipe_survives_json_and_toml(value, tmp_path_factory):
    assert decode(encode(value), Recipe) == value
    path = tmp_path_factory.mktemp("r") / "look.toml"
    path.write_text(value.to_toml(), encoding="utf-8")
    assert recipe.make(recipe.load(path)) == value
    assert recipe.make(recipe.load(path)).fingerprint() == value.fingerprint()


@given(recipes, st.integers(0, 1000))
def test_any_changed_field_changes_the_fingerprint(value, seed):
    other = recipe.make({"instruction": value.instruction, "seed": seed})
    assert (other == value) == (other.fingerprint() == value.fingerprint())


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("num_inference_steps", 0),
        ("guidance_scale", 0.5),
        ("guidance_scale", math.nan),
        ("image_guidance_scale", math.inf),
        ("seed", -1),
        ("size", 32),
        ("chunk_frames", 1),
        ("carryover", 1.0),
        ("batch_size", -1),
    ],
)
def test_a_value_out_of_range_names_its_option(field, bad):
    with pytest.raises(RecipeError, match="--" + field.replace("_", "-")):
        recipe.make({"instruction": "x", field: bad})


@pytest.mark.parametrize(
    "values",
    [{"instruction": 3}, {"instruction": "x", "scheduler": "magic"}, {"instruction": "a\x00b"}],
)
def test_a_value_of_the_wrong_kind_is_refused(values):
    with pytest.raises(RecipeError):
        recipe.make(values)


def test_an_unknown_field_lists_the_known_ones(tmp_path: Path):
    path = tmp_path / "look.toml"
    path.write_text('instruction = "x"\nsteps = 3\n')
    with pytest.raises(RecipeError, match="steps") as caught:
        recipe.load(path)
    assert "num_inference_steps" in caught.value.hint


@pytest.mark.parametrize("content", [b"\xff\xfe", b"instruction = "])
def test_a_recipe_file_that_is_not_toml_is_named(tmp_path: Path, content):
    path = tmp_path / "look.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"look\.toml"):
        recipe.load(path)


def test_carried_steps_always_leave_at_least_one_step_to_run():
    for steps in range(1, 60):
        value = Recipe(instruction="x", num_inference_steps=steps, carryover=0.99)
        assert 0 <= value.carried_steps() < steps


def test_the_bundled_model_brings_its_own_defaults():
    assert catalog.defaults("tiny")["num_inference_steps"] == 10
    assert catalog.defaults("timbrooks/instruct-pix2pix") == {}


def test_a_models_defaults_may_set_only_what_a_model_knows(tmp_path: Path):
    (tmp_path / catalog.DEFAULTS_FILE).write_text('{"seed": 3}')
    with pytest.raises(ModelError, match="may set only"):
        catalog.defaults(str(tmp_path))
