"""LoRAs for checkpoints in one file are checked while planning, as those for folders."""

import pytest
import torch
from safetensors.torch import save_file

from ip2p_batch.editing.lora.checkpoint import checkpoint_shapes
from ip2p_batch.editing.lora.modules import folder_shapes
from ip2p_batch.errors import ModelError
from ip2p_batch.planning.loras import check_loras
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Lora

from .checkpoints import save_checkpoint
from .tiny_pipelines import pipeline
from .tiny_xl import pipeline_xl


@pytest.mark.parametrize("build", [pipeline, pipeline_xl])
def test_the_modules_of_a_checkpoint_are_those_of_its_folder(build, tmp_path):
    pipe = build()
    pipe.save_pretrained(tmp_path / "folder")
    found = checkpoint_shapes(save_checkpoint(pipe, tmp_path / "m.safetensors"))
    expected = folder_shapes(tmp_path / "folder")
    assert found.keys() == expected.keys()
    assert found["unet"] == expected["unet"]
    # Only linear layers and convolutions can have a LoRA, not embeddings and the projection.
    for part in expected.keys() - {"unet"}:
        layers = {k: v for k, v in expected[part].items() if k.startswith("encoder.")}
        assert {k: v for k, v in found[part].items() if k.startswith("encoder.")} == layers


def test_a_lora_for_another_base_is_refused_before_anything_is_queued(tmp_path):
    model = save_checkpoint(pipeline(), tmp_path / "m.safetensors")
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"

    def lora(width):
        path = tmp_path / f"{width}.safetensors"
        down, up = torch.zeros(2, width), torch.zeros(width, 2)
        save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, path)
        return Recipe(instruction="x", model=str(model), lora=(Lora(model=str(path)),))

    check_loras(lora(32))
    with pytest.raises(ModelError) as caught:
        check_loras(lora(640))
    assert "\n" not in caught.value.message
