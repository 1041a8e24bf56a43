"""The kind of a model is read from its files; others are refused by name, before planning."""

import json
import pickle
import shutil
import struct

import pytest

from ip2p_batch.errors import ModelError, RecipeError
from ip2p_batch.models import catalog
from ip2p_batch.models.catalog import check_supported
from ip2p_batch.models.control_nets import model_configs
from ip2p_batch.models.header import HEADER_LIMIT, read_shapes
from ip2p_batch.models.kinds import ModelKind, OtherKind
from ip2p_batch.models.layout import check_trains, kind_at, weights_files, weights_variant
from ip2p_batch.planning.memory import memory
from ip2p_batch.planning.prepare import prepare_job
from ip2p_batch.planning.recipes import recipe_for
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.recipe import Recipe

from .checkpoints import save_header

FIRST = "model.diffusion_model.input_blocks.0.0.weight"
VAE = {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3)}
SD1 = VAE | {
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (49408, 768),
    "model.diffusion_model.out.2.weight": (4, 320, 3, 3),
}
SD2 = VAE | {"cond_stage_model.model.token_embedding.weight": (49408, 1024)}
REFINER = VAE | {"conditioner.embedders.0.model.token_embedding.weight": (49408, 1280)}
SDXL = REFINER | {"conditioner.embedders.1.model.token_embedding.weight": (49408, 1280)}
COSXL = SDXL | {"edm_vpred.sigma_max": ()}


TEXTS = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"


def takes(channels):
    return {FIRST: (320, channels, 3, 3)}


@pytest.mark.parametrize(
    ("shapes", "width", "texts", "fits"),
    [
        (SD1, 320, 768, True), (SDXL, 320, 2048, True), (COSXL, 320, 2048, True),
        (SD1, 320, 1024, False), (SDXL, 320, 768, False), (SD1, 160, 768, False),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_width_is_refused(tmp_path, shapes, width, texts, fits):
    own = {FIRST: (width, 8, 3, 3), TEXTS: (640, texts)}
    path = str(save_header(tmp_path / "m.safetensors", shapes | own))
    if fits:
        check_supported(path)
    else:
        with pytest.raises(ModelError, match="has another architecture") as caught:
            check_supported(path)
        assert "diffusers folder" in caught.value.hint


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(catalog.BUNDLED["tiny"], tmp_path / "model")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# -- one file -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "kind"),
    [
        (SD1 | takes(8), ModelKind("sd")),
        (SD1 | takes(4), ModelKind("sd", edits=False)),
        (SDXL | takes(8), ModelKind("sdxl")),
        (SDXL | takes(4), ModelKind("sdxl", edits=False)),
        (COSXL | takes(8), ModelKind("cosxl")),
    ],
)
def test_the_kind_of_a_checkpoint_follows_from_its_header(tmp_path, shapes, kind):
    assert kind_at(save_header(tmp_path / "m.safetensors", shapes)) == kind


@pytest.mark.parametrize(
    ("shapes", "what"),
    [
        (SD1 | takes(4), "a text-to-image model"),
        (SDXL | takes(4), "a text-to-image model"),
        (SD1 | takes(9), "an inpainting model"),
        (SDXL | takes(9), "an inpainting model"),
        (SD1 | takes(5), "a depth-to-image model"),
        (SD1 | takes(7), "a model whose UNet takes 7 channels"),
        (SD2 | takes(8), "a Stable Diffusion 2 model in one file"),
        (REFINER | takes(4), "the refiner of Stable Diffusion XL"),
        (takes(8), "a UNet without text encoder and VAE"),
        (VAE | takes(8), "a UNet without text encoder and VAE"),
        ({"conv_in.weight": (1,), "down_blocks.0.x": (1,)}, "a UNet without"),
        (VAE, "a VAE"),
        ({"encoder.conv_in.weight": (128, 3, 3, 3)}, "a VAE"),
        ({"text_model.embeddings.token_embedding.weight": (49408, 768)}, "a text encoder"),
        ({"lora_unet_down_blocks_0.lora_down.weight": (4, 320)}, "a LoRA"),
        ({"unet.down_blocks.0.attn1.to_q.lora_A.weight": (4, 320)}, "a LoRA"),
        ({"unet.mid_block.attn1.processor.to_q_lora.down.weight": (4, 320)}, "a LoRA"),
        ({"lora_te_text_model_encoder.hada_w1_a": (4, 320)}, "a LoRA"),
        (SD1 | takes(4) | {"control_model.zero_convs.0.0.weight": (1,)}, "a ControlNet"),
        ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}, "a ControlNet"),
        ({"body.0.in_conv.weight": (1,)}, "a T2I-Adapter"),
        ({"adapter.body.0.resnets.0.block1.weight": (1,)}, "a T2I-Adapter"),
        ({"model.diffusion_model.joint_blocks.0.x": (1,)}, "a Stable Diffusion 3 model"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": (1,)}, "a FLUX model"),
        ({"single_stream_modulation.lin.weight": (1,)}, "a FLUX.2 model"),
        ({"txt_norm.weight": (1,)}, "a Qwen model"),
        ({"model.diffusion_model.head.modulation": (1,)}, "a Wan video model"),
        ({"transformer_blocks.0.attn.add_q_proj.weight": (1,)}, "a transformer model"),
        ({"emb_params": (1, 768)}, "a textual inversion embedding"),
        ({"anything": (1,)}, "a file of tensors of an unknown kind"),
        ({}, "a file of tensors of an unknown kind"),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_kind_is_named_in_one_line(tmp_path, shapes, what):
    path = save_header(tmp_path / "m.safetensors", shapes)
    with pytest.raises(ModelError) as caught:
        check_supported(str(path))
    assert caught.value.message.startswith(f"{path} is {what}")
    assert "\n" not in caught.value.message and caught.value.hint


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".CKPT"])
def test_a_pickle_is_refused_with_the_reason_and_never_read(tmp_path, suffix):
    path = tmp_path / f"instruct{suffix}"
    path.write_bytes(pickle.dumps({"state_dict": {}}))
    with pytest.raises(ModelError, match="pickles, which can run any code") as caught:
        check_supported(str(path))
    assert "docs/control.md" in caught.value.hint


def test_another_file_is_no_model(tmp_path):
    path = tmp_path / "model.txt"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="is a file, not a model"):
        check_supported(str(path))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", struct.pack("<Q", 5), struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 9) + b'{"a":{}}\n', struct.pack("<Q", 40) + b'{"a":{"shape":[-1]}}' * 2,
        struct.pack("<Q", 1 << 60), b"PK\x03\x04" + bytes(40), b"\x80\x02}q\x00." + bytes(9),
        struct.pack("<Q", 2) + b"\xff\xff", struct.pack("<Q", 60000) + b"[" * 60000,
    ],
)  # fmt: skip
def test_a_damaged_file_is_an_error_of_one_line(tmp_path, data):
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError, match="is not a safetensors file") as caught:
        read_shapes(path)
    assert "\n" not in caught.value.message


def test_a_header_above_the_limit_is_not_read(tmp_path):
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", HEADER_LIMIT + 1) + b"{")
        file.truncate(HEADER_LIMIT * 2)  # a hole: takes no space
    with pytest.raises(ModelError, match=f"at most {HEADER_LIMIT} are read"):
        read_shapes(path)


# -- folders --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}),
        ("unet/config.json", {"addition_embed_type": "text_time"}),
    ],
)
def test_a_folder_with_two_text_encoders_or_their_condition_is_sdxl(folder, file, values):
    change(folder / file, **values)
    assert kind_at(folder) == ModelKind("sdxl")
    check_supported(str(folder))
    with pytest.raises(ModelError, match="XL model; only models based on Stable Diffusion 1 and 2"):
        check_trains(str(folder), folder)


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("model_index.json", {"is_cosxl_edit": True}),
        ("scheduler/scheduler_config.json", {"sigma_data": 1.0}),
        ("scheduler/scheduler_config.json", {"timestep_type": "continuous"}),
    ],
)
def test_continuous_noise_levels_make_sdxl_cosxl(folder, file, values):
    change(folder / "unet/config.json", addition_embed_type="text_time")
    change(folder / file, **values)
    assert kind_at(folder) == ModelKind("cosxl")


def test_bundled_models_are_of_the_first_family():
    assert kind_at(catalog.BUNDLED["tiny"]) == ModelKind("sd")


@pytest.mark.parametrize(
    ("index", "unet", "what"),
    [
        ({}, {"in_channels": 4}, "a text-to-image model"),
        ({}, {"in_channels": 9}, "an inpainting model"),
        ({"controlnet": ["diffusers", "ControlNetModel"]}, {"in_channels": 4}, "a ControlNet"),
        (
            {"text_encoder": [None, None], "text_encoder_2": ["transformers", "X"]},
            {"in_channels": 4},
            "the refiner",
        ),
    ],
)
def test_a_folder_of_another_kind_is_named_in_one_line(folder, index, unet, what):
    latent = json.loads((folder / "vae/config.json").read_text())["latent_channels"]
    scaled = {k: v if latent == 4 else {4: latent, 9: 2 * latent + 1}[v] for k, v in unet.items()}
    change(folder / "unet/config.json", **scaled)
    change(folder / "model_index.json", **index)
    with pytest.raises(ModelError) as caught:
        check_supported(str(folder))
    assert caught.value.message.startswith(f"{folder} is {what}")


@pytest.mark.parametrize(
    "name", ["FluxKontextPipeline", "QwenImageEditPipeline", "StableDiffusion3Pipeline"]
)
def test_a_folder_of_a_transformer_model_is_named_by_its_pipeline(tmp_path, name):
    index = {"_class_name": name, "transformer": ["diffusers", "Any"], "vae": ["diffusers", "Any"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=rf"is a model of another kind \({name}\)"):
        check_supported(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ControlNetModel", "a ControlNet"), ("T2IAdapter", "a T2I-Adapter"),
        ("AutoencoderKL", "a VAE"), ("UNet2DConditionModel", "a UNet"),
    ],
)  # fmt: skip
def test_a_folder_of_a_part_is_named(tmp_path, name, what):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(ModelError, match=f"is {what}"):
        check_supported(str(tmp_path))


def test_a_folder_of_a_lora_is_named(tmp_path):
    (tmp_path / "pytorch_lora_weights.safetensors").touch()
    with pytest.raises(ModelError, match="is a LoRA") as caught:
        check_supported(str(tmp_path))
    assert "--lora" in caught.value.hint


@pytest.mark.parametrize("text", ["[", "{}", "[]", ""])
def test_a_damaged_index_is_left_to_the_loader(folder, text):
    (folder / "model_index.json").write_text(text)
    assert not isinstance(kind_at(folder), OtherKind)
    check_supported(str(folder))


@pytest.mark.parametrize("model", ["tiny", "owner/name", "identity", "identity:slow=0.05"])
def test_bundled_models_and_hub_ids_pass(model):
    check_supported(model)


@pytest.mark.parametrize("model", ["", "./no", "../no", "~/no", "a/b/c", "no such model"])
def test_what_is_neither_local_nor_a_hub_id_is_refused(model):
    with pytest.raises(ModelError, match="There is no model"):
        check_supported(model)


def test_planning_refuses_the_model_before_it_reads_the_source(tmp_path):
    model = save_header(tmp_path / "m.safetensors", SD1 | takes(9))
    request = EditRequest(
        source=tmp_path / "missing.mp4", recipe=Recipe(instruction="x", model=str(model))
    )
    with pytest.raises(ModelError, match="inpainting model"):
        prepare_job(request)


# -- what follows from the kind -------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "size", "scheduler", "scale", "vae"),
    [
        (SD1, 512, "euler-ancestral", 7.5, "madebyollin/taesd"),
        (SDXL, 768, "euler-ancestral", 3.0, "madebyollin/taesdxl"),
        (COSXL, 1024, "euler", 5.0, "madebyollin/taesdxl"),
    ],
)
def test_sizes_scales_and_previews_follow_from_the_kind(
    tmp_path, shapes, size, scheduler, scale, vae
):
    path = str(save_header(tmp_path / "m.safetensors", shapes | takes(8)))
    recipe = recipe_for(path, "x")
    assert catalog.edit_sizes(path).training_size == size
    assert (recipe.scheduler, recipe.guidance_scale) == (scheduler, scale)
    assert catalog.tiny_vae(path) == (vae, None)


def test_a_model_of_the_hub_that_is_known_has_its_sizes():
    assert catalog.edit_sizes("diffusers/sdxl-instructpix2pix-768").training_size == 768
    assert catalog.edit_sizes("owner/name").training_size == 512


def test_memory_of_a_checkpoint_is_estimated_from_its_header(tmp_path):
    weights = SD1 | takes(8) | {"model_ema.x": (10**9,)}
    path = save_header(tmp_path / "m.safetensors", weights)
    expected = 128 * 3 * 9 + 49408 * 768 + 4 * 320 * 9 + 320 * 8 * 9
    for gpu, each in ((True, 2), (False, 4)):
        recipe = Recipe(instruction="x", model=str(path), dtype="float16" if gpu else "float32")
        assert memory(recipe, 512, 512, gpu=gpu).weights == expected * each


def test_the_vae_of_sdxl_takes_the_memory_of_float32(tmp_path):
    def frame(shapes):
        path = save_header(tmp_path / "m.safetensors", shapes | takes(8))
        recipe = Recipe(instruction="x", model=str(path), dtype="float16")
        return memory(recipe, 1024, 1024, gpu=True).frame

    assert frame(SDXL) == 2 * frame(SD1)


# -- half precision -------------------------------------------------------------------------


def test_weights_in_half_precision_only_are_a_variant(folder):
    assert weights_variant(folder) is None
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    half = weights.with_name("diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(weights, half)
    assert weights_variant(folder) is None
    assert weights in weights_files(folder) and half not in weights_files(folder)
    weights.unlink()
    assert weights_variant(folder) == "fp16"
    assert [path.parent.name for path in weights_files(folder)] == ["unet", "vae", "text_encoder"]


@pytest.mark.parametrize(
    "name",
    ["model.fp16-00001-of-00002.safetensors", "model-00001-of-00002.fp16.safetensors"],
)
def test_shards_in_half_precision_are_recognised(folder, name):
    second = folder / "text_encoder_2"
    second.mkdir()
    (second / name).touch()
    assert weights_variant(folder) == "fp16"


def test_control_nets_are_compared_with_the_configuration_of_a_checkpoint(tmp_path):
    path = save_header(tmp_path / "m.safetensors", SDXL | takes(8))
    configs = model_configs(str(path))
    assert configs is not None
    assert configs[0]["cross_attention_dim"] == 2048 and configs[1]["latent_channels"] == 4


@pytest.mark.parametrize("name", ["euler-ancestral", "ddim", "lcm"])
def test_planning_refuses_a_scheduler_that_a_models_noise_levels_do_not_fit(tmp_path, name):
    texts = {TEXTS: (640, 2048)}
    model = save_header(tmp_path / "m.safetensors", COSXL | takes(8) | texts)
    recipe = Recipe(instruction="x", model=str(model), scheduler=name)
    with pytest.raises(RecipeError, match=f"--scheduler {name} is not for this model"):
        prepare_job(EditRequest(source=tmp_path / "missing.mp4", recipe=recipe))
