"""Presets of models: the general ones, and those of a model folder."""

import json

import pytest

from ip2p_batch.errors import ModelError
from ip2p_batch.models import catalog, presets
from ip2p_batch.recipe import Recipe


def folder_with(tmp_path, content):
    (tmp_path / presets.PRESETS_FILE).write_text(
        content if isinstance(content, str) else json.dumps(content)
    )
    return str(tmp_path)


@pytest.mark.parametrize("model", ["tiny", "timbrooks/instruct-pix2pix"])
def test_every_preset_makes_a_recipe_and_faster_ones_run_fewer_unet_calls(model):
    made = [
        Recipe(instruction="x", model=model, **{**catalog.defaults(model), **fields})
        for fields in (presets.values(name, model) for name in presets.PRESETS)
    ]
    fast, balanced, quality = (r.num_inference_steps + 2 * len(r.guided_steps()) for r in made)
    assert fast < balanced < quality


def test_a_model_folder_replaces_single_presets(tmp_path):
    model = folder_with(tmp_path, {"fast": {"num_inference_steps": 3}})
    assert presets.values("fast", model) == {"num_inference_steps": 3}
    assert presets.values("quality", model) == presets.values("quality", "owner/name")


def test_a_lora_in_the_model_folder_is_named_by_its_path_and_one_on_the_hub_by_its_id(tmp_path):
    (tmp_path / "lcm.safetensors").touch()
    loras = [{"model": "lcm.safetensors", "weight": 0.5}, {"model": "owner/lcm"}]
    model = folder_with(tmp_path, {"fast": {"lora": loras}})
    expected = [{"model": f"{tmp_path}/lcm.safetensors", "weight": 0.5}, {"model": "owner/lcm"}]
    assert presets.values("fast", model)["lora"] == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "a presets file has an object of fast, balanced, quality"),
        ({"slow": {}}, "a presets file has an object of fast, balanced, quality"),
        ({"fast": {"seed": 3}}, "the preset fast may set only deepcache_interval, detail,"),
        ({"fast": {"lora": ["a"]}}, "lora of the preset fast is not a list of objects"),
    ],
)
def test_a_damaged_presets_file_is_named(tmp_path, content, message):
    with pytest.raises(ModelError, match=message) as error:
        presets.values("fast", folder_with(tmp_path, content))
    assert presets.PRESETS_FILE in str(error.value)
