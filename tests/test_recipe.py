"""A recipe's fields: ranges, files, fingerprints; and the defaults that a model brings."""

import hashlib
import json
import math
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.jobs.codec import decode, encode
from ip2p_batch.models import catalog
from ip2p_batch.recipe import FIELDS, SCHEDULERS, Recipe
from ip2p_batch.recipe_parts import Control, Lora

text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=40)
names = text.filter(len)
controls = st.builds(
    Control,
    kind=names,
    model=st.none() | names,
    scale=st.floats(0, 10),
    end=st.floats(0, 1),
    branches=st.sampled_from(["all", "text"]),
    hints=st.none() | names,
)
loras = st.builds(Lora, model=names, weight=st.floats(-10, 10), file=st.none() | names)
recipes = st.builds(
    Recipe,
    instruction=text,
    negative_prompt=text,
    revision=st.none() | text,
    scheduler=st.sampled_from(SCHEDULERS),
    num_inference_steps=st.integers(1, 50),
    guidance_scale=st.floats(1, 100),
    image_guidance_scale=st.floats(1, 100),
    guidance_interval=st.tuples(st.floats(0, 0.5), st.floats(0.5, 1)),
    seed=st.integers(0, 2**63 - 1),
    size=st.just("auto") | st.integers(64, 4096),
    chunk_frames=st.integers(2, 10000),
    carryover=st.floats(0, 0.99),
    scenes=st.booleans(),
    control=st.lists(controls, max_size=2).map(tuple),
    lora=st.lists(loras, max_size=2).map(tuple),
    mask=st.none() | names,
)


@given(value=recipes)
def test_a_recipe_is_the_same_after_json_and_toml(value, tmp_path_factory):
    assert decode(encode(value), Recipe) == value
    path = tmp_path_factory.mktemp("r") / "recipe.toml"
    path.write_text(value.to_toml(), encoding="utf-8")
    assert Recipe.read_toml(path) == value
    assert Recipe.read_toml(path).fingerprint() == value.fingerprint()


@given(recipes, st.integers(0, 1000))
def test_any_changed_field_changes_the_fingerprint(value, seed):
    other = Recipe.from_dict({"instruction": value.instruction, "seed": seed})
    assert (other == value) == (other.fingerprint() == value.fingerprint())


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("num_inference_steps", 0),
        ("guidance_scale", 0.5),
        ("guidance_scale", math.nan),
        ("image_guidance_scale", math.inf),
        ("seed", -1),
        ("chunk_frames", 1),
        ("carryover", 1.0),
        ("batch_size", -1),
    ],
)
def test_a_value_out_of_range_is_an_error_with_field_value_range_and_option(field, bad):
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict({"instruction": "x", field: bad})
    assert caught.value.message.startswith(f"{field} is {bad}; it must be ")
    assert f" {FIELDS[field].values}." in caught.value.message
    assert "--" + field.replace("_", "-") in caught.value.hint
    with pytest.raises(RecipeError):
        Recipe(**{"instruction": "x", field: bad})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"instruction": 3}, "instruction is 3; it must be a text."),
        ({"seed": 1.5}, "seed is 1.5; it must be a whole number from 0 to 2^63 - 1."),
        ({"scenes": 1}, "scenes is 1; it must be one of: true, false."),
        ({"size": 12}, "size is 12; it must be auto or a whole number from 64 to 4096."),
        ({"size": 4097}, "size is 4097; it must be auto or a whole number from 64 to 4096."),
        ({"size": "large"}, "size is 'large'; it must be auto or a whole number from 64 to 4096."),
        (
            {"scheduler": "magic"},
            "must be one of: euler-ancestral, euler, ddim,",
        ),
        ({"guidance_interval": [0, 2]}, "it must be 2 numbers, each 0 to 1."),
        ({"guidance_interval": [0.8, 0.1]}, "must not be greater than the second"),
        ({"scheduler": "lcm", "num_inference_steps": 51}, "the scheduler lcm takes at most 50."),
        ({"compile": "on", "deepcache_interval": 3}, "does not work with compile = on"),
        ({"instruction": "a\x00b"}, "NUL"),
        ({"instruction": "a\udcffb"}, "instruction is not UTF-8"),
        ({"model": "a\udcffb"}, "model is not UTF-8"),
        ({"model": ""}, "model is empty."),
        ({"control": "canny"}, "control is 'canny'; it must be a list of KIND[:MODEL][@SCALE]"),
        ({"control": ["canny@20"]}, "'canny@20' is not KIND[:MODEL][@SCALE]"),
        ({"control": ["canny,x=1"]}, "'x=1' sets none of kind, model,"),
        ({"control": [{"kind": "a\x00"}]}, "kind of control contains a NUL character"),
        ({"lora": ["@2"]}, "'@2' is not FILE|FOLDER|HUB[@WEIGHT]"),
        ({"lora": [{"model": "a", "weight": "b"}]}, "Expected `float`"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_that_says_what_is_allowed(values, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        Recipe.from_dict({"instruction": "x", **values})


def test_a_recipe_needs_an_instruction():
    with pytest.raises(RecipeError, match="no instruction"):
        Recipe.from_dict({"seed": 3})


def test_every_field_has_a_description_and_each_number_a_range():
    for field in FIELDS.values():
        assert field.description.endswith("."), field.name
        if isinstance(field.default, int | float):
            assert field.values, field.name


def test_a_whole_number_for_a_fraction_gives_the_same_fingerprint():
    whole = Recipe(instruction="x", guidance_scale=7, guidance_interval=[0, 1])  # type: ignore[arg-type]
    assert whole == Recipe(instruction="x", guidance_scale=7.0)
    assert whole.fingerprint() == Recipe(instruction="x", guidance_scale=7.0).fingerprint()
    assert whole.fingerprint() == decode(encode(whole), Recipe).fingerprint()


def test_the_fingerprint_is_that_of_canonical_json():
    value = Recipe(instruction="x", seed=7)
    text = json.dumps(msgspec.to_builtins(value), sort_keys=True, separators=(",", ":"))
    assert value.fingerprint() == hashlib.sha256(text.encode()).hexdigest()


def test_an_unknown_field_lists_the_known_ones(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text('instruction = "x"\nsteps = 3\n')
    with pytest.raises(RecipeError, match="steps") as caught:
        Recipe.read_toml_values(path)
    assert "num_inference_steps" in caught.value.hint


@pytest.mark.parametrize("content", [b"\xff\xfe", b"instruction = "])
def test_a_recipe_file_that_is_not_toml_is_named(tmp_path: Path, content):
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe\.toml"):
        Recipe.read_toml_values(path)


def test_the_bundled_model_has_its_own_defaults():
    assert catalog.defaults("tiny")["num_inference_steps"] == 10
    assert catalog.defaults("timbrooks/instruct-pix2pix") == {}


def test_the_defaults_of_a_model_may_set_only_some_fields(tmp_path: Path):
    (tmp_path / catalog.DEFAULTS_FILE).write_text('{"seed": 3}')
    with pytest.raises(ModelError, match="may set only"):
        catalog.defaults(str(tmp_path))


def test_equal_recipes_have_equal_fingerprints_whatever_numbers_they_were_made_of():
    whole = Recipe(instruction="x", guidance_scale=7, guidance_interval=(0, 1))
    assert whole == Recipe(instruction="x", guidance_scale=7.0, guidance_interval=(0.0, 1.0))
    assert (
        whole.fingerprint()
        == Recipe(instruction="x", guidance_scale=7.0, guidance_interval=(0.0, 1.0)).fingerprint()
    )
