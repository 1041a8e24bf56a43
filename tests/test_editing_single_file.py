"""Checkpoints in one file equal the folders that they come from; nothing is downloaded."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ip2p_batch.editing import single_file
from ip2p_batch.editing.compute_profile import digest
from ip2p_batch.editing.loading import load_editor, load_pipeline
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.errors import ModelError
from ip2p_batch.models import catalog, layout
from ip2p_batch.models.kinds import ModelKind

from .checkpoints import save_checkpoint
from .tiny_pipelines import frames, pipeline, recipe
from .tiny_xl import pipeline_xl

#: diffusers passes tensors to numpy in a deprecated way; load_pipeline suppresses that warning.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
FAMILIES = ("sd", "sdxl", "cosxl")
#: As ComfyUI writes CosXL's noise levels.
LEVELS = {
    "edm_vpred.sigma_max": torch.tensor(120.0),
    "edm_vpred.sigma_min": torch.tensor(0.002),
}


def build(family):
    return pipeline() if family == "sd" else pipeline_xl(cosxl=family == "cosxl")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """By family: the pipeline's folder, and its checkpoint in one file."""

    def save(family):
        pipe = build(family)
        folder = tmp_path_factory.mktemp(family)
        pipe.save_pretrained(folder / "folder")
        extra = LEVELS if family == "cosxl" else {}
        path = save_checkpoint(pipe, folder / "model.safetensors", **extra)
        return folder / "folder", path

    return {family: save(family) for family in FAMILIES}


def edited(pipe):
    owner = Pix2PixEditor(pipe, device="cpu", dtype=torch.float32)
    return owner.session(recipe(scheduler="euler")).edit(frames(1))[0].image


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_in_one_file_equals_its_folder(saved, family):
    folder, path = saved[family]
    kind = layout.kind_at(path)
    assert kind == ModelKind(family)
    loaded = single_file.load(path, kind, torch.float32, folder)
    expected = build(family)
    for name, part in expected.components.items():
        if isinstance(part, torch.nn.Module):
            ours, theirs = getattr(loaded, name).state_dict(), part.state_dict()
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert digest(loaded.components) == digest(
        load_pipeline(str(folder), dtype=torch.float32).components
    )
    assert np.array_equal(edited(loaded), edited(expected))


def test_a_text_to_image_checkpoint_loads_as_a_base_for_training(tmp_path):
    plain = pipeline(unet_channels=4)
    plain.save_pretrained(tmp_path / "folder")
    path = save_checkpoint(plain, tmp_path / "plain.safetensors")
    kind = layout.check_trains(str(path), path)
    loaded = single_file.load(path, kind, torch.float32, tmp_path / "folder")
    assert loaded.unet.config.in_channels == 4
    with pytest.raises(ModelError, match="is a text-to-image model"):
        load_pipeline(str(path), dtype=torch.float32)


def test_half_precision_weights_in_one_file_are_loaded_in_the_wanted_precision(tmp_path):
    pipe = pipeline().to(torch.float16)
    pipe.save_pretrained(tmp_path / "folder")
    path = save_checkpoint(pipe, tmp_path / "half.safetensors")
    loaded = single_file.load(path, ModelKind("sd"), torch.float32, tmp_path / "folder")
    for part in (loaded.unet, loaded.vae, loaded.text_encoder):
        assert part.dtype == torch.float32
    assert torch.equal(loaded.unet.conv_in.weight, pipe.unet.conv_in.weight.float())


def test_a_checkpoint_that_does_not_fit_the_configuration_is_an_error_of_one_line(saved):
    path = saved["sd"][1]
    with pytest.raises(ModelError, match=r"model\.safetensors has another architecture"):
        load_editor(str(path), device="cpu")


def test_a_checkpoint_without_some_of_its_tensors_is_an_error_of_one_line(
    saved, tmp_path, monkeypatch
):
    folder, path = saved["sd"]
    shutil.copytree(folder, tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr(catalog, "CONFIGS", {**catalog.CONFIGS, "sd": tmp_path / "config"})
    tensors = load_file(path)
    middle = [name for name in tensors if name.startswith("model.diffusion_model.middle_block")]
    save_file({k: v for k, v in tensors.items() if k not in middle}, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"m\.safetensors cannot be loaded as a ch") as caught:
        load_editor(str(tmp_path / "m.safetensors"), device="cpu")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 0.001])
def test_noise_levels_that_are_no_range_are_refused(saved, tmp_path, value):
    folder, _ = saved["cosxl"]
    levels = LEVELS | {"edm_vpred.sigma_max": torch.tensor(value)}
    path = save_checkpoint(build("cosxl"), tmp_path / "m.safetensors", **levels)
    with pytest.raises(ModelError, match="names noise levels from"):
        single_file.load(path, ModelKind("cosxl"), torch.float32, folder)


def test_a_file_says_that_its_model_predicts_v(saved, tmp_path):
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    path = save_checkpoint(build("sdxl"), tmp_path / "m.safetensors", **marks)
    loaded = single_file.load(path, ModelKind("sdxl"), torch.float32, saved["sdxl"][0])
    assert loaded.scheduler.config.prediction_type == "v_prediction"
    assert loaded.scheduler.config.rescale_betas_zero_snr is True


# -- what the package ships -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a photo of a cat", [320, 1125, 539, 320, 2368]),
        ("A  PHOTO of a Cat", [320, 1125, 539, 320, 2368]),
        ("", []),
    ],
)
def test_the_tokenizer_is_that_of_clip(text, ids):
    tokenizer = single_file.clip_tokenizer("<|endoftext|>")
    assert tokenizer(text).input_ids == [49406, *ids, 49407]
    assert len(tokenizer) == 49408 and tokenizer.model_max_length == 77
    assert tokenizer.decode(tokenizer("it's snowing, \u00e9!").input_ids[1:-1]) == (
        "it 's snowing , \u00e9 !"
    )


def test_the_second_tokenizer_of_sdxl_pads_with_exclamation_marks():
    tokenizer = single_file.clip_tokenizer("!")
    padded = tokenizer("a cat", padding="max_length", max_length=6).input_ids
    assert padded == [49406, 320, 2368, 49407, 0, 0]


def parameters(build_part):
    with torch.device("meta"):
        return sum(p.numel() for p in build_part().parameters())


def from_config(part, family, name):
    return part.from_config(part.load_config(catalog.CONFIGS[family] / name))


def text_part(part, family, name):
    path = catalog.CONFIGS[family] / name / "config.json"
    return part(CLIPTextConfig(**json.loads(path.read_text())))


@pytest.mark.parametrize(
    ("family", "unet", "vae"),
    [("sd", 859_532_484, 83_653_863), ("sdxl", 2_567_475_204, 83_653_863)],
)
def test_the_configuration_in_the_package_is_that_of_the_published_models(family, unet, vae):
    """859.5 M parameters for timbrooks/instruct-pix2pix; 2.57 G for SDXL with 8 channels."""
    assert parameters(lambda: from_config(UNet2DConditionModel, family, "unet")) == unet
    assert parameters(lambda: from_config(AutoencoderKL, family, "vae")) == vae
    first = parameters(lambda: text_part(CLIPTextModel, family, "text_encoder"))
    assert first == 123_060_480
    if family == "sdxl":
        second = parameters(
            lambda: text_part(CLIPTextModelWithProjection, "sdxl", "text_encoder_2")
        )
        assert second == 694_659_840


def test_loading_uses_the_configuration_of_the_package(saved, tmp_path, monkeypatch):
    """With a small configuration in its place, the whole way of ``--model FILE`` runs."""
    folder, path = saved["sdxl"]
    shutil.copytree(folder, tmp_path / "config", ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr(catalog, "CONFIGS", {**catalog.CONFIGS, "sdxl": tmp_path / "config"})
    owner = load_editor(str(path), device="cpu", dtype="float32")
    again = load_editor(str(folder), device="cpu", dtype="float32")
    assert owner.compute_profile == again.compute_profile


# -- the hub --------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Puts a folder into the hub's cache on this machine, under an id."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(name, folder):
        cached = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, cached / "snapshots" / "abc")
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("abc")
        return cached / "snapshots" / "abc"

    return put


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hub_id_of_each_family_loads(saved, hub, family):
    hub(f"owner/{family}", saved[family][0])
    loaded = load_pipeline(f"owner/{family}", dtype=torch.float32)
    assert digest(loaded.components) == digest(
        load_pipeline(str(saved[family][0]), dtype=torch.float32).components
    )
    assert getattr(loaded, "is_cosxl_edit", False) is (family == "cosxl")


def test_a_hub_id_with_half_precision_weights_only_loads(saved, hub):
    cached = hub("owner/half", saved["sdxl"][0])
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        (weights,) = (cached / part).glob("*.safetensors")
        weights.rename(weights.with_suffix(".fp16.safetensors"))
    loaded = load_pipeline("owner/half", dtype=torch.float32)
    assert digest(loaded.components) == digest(
        load_pipeline(str(saved["sdxl"][0]), dtype=torch.float32).components
    )


def test_a_hub_id_of_another_kind_is_refused_before_its_weights_are_downloaded(saved, hub):
    cached = hub("owner/other", saved["sd"][0])
    for weights in cached.glob("*/*.safetensors"):
        weights.unlink()
    config = json.loads((cached / "unet/config.json").read_text())
    (cached / "unet/config.json").write_text(json.dumps(config | {"in_channels": 9}))
    with pytest.raises(ModelError, match="owner/other is an inpainting model"):
        load_pipeline("owner/other", dtype=torch.float32)
