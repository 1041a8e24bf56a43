"""Models of kinds that are not supported are refused by name, before planning."""

import json
import shutil

import pytest

from ip2p_batch.errors import ModelError
from ip2p_batch.models import catalog
from ip2p_batch.models.layout import check_supported, weights_variant
from ip2p_batch.planning.prepare import prepare_job
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.recipe import Recipe


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(catalog.BUNDLED["tiny"], tmp_path / "model")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_checkpoint_in_one_file_is_named_as_such_with_the_way_to_convert_it(tmp_path, suffix):
    path = tmp_path / f"instruct{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="is a checkpoint in one file") as caught:
        check_supported(str(path))
    assert "from_single_file" in caught.value.hint


def test_another_file_is_no_model(tmp_path):
    path = tmp_path / "model.txt"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match="is a file, not a model folder"):
        check_supported(str(path))


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLInstructPix2PixPipeline"}),
        ("model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}),
        ("unet/config.json", {"addition_embed_type": "text_time"}),
    ],
)
def test_a_stable_diffusion_xl_model_is_refused_by_name(folder, file, values):
    change(folder / file, **values)
    with pytest.raises(ModelError, match="is a Stable Diffusion XL model"):
        check_supported(str(folder))


@pytest.mark.parametrize("model", ["tiny", "owner/name", "identity", "identity:slow=0.05"])
def test_bundled_models_and_hub_ids_pass(model):
    check_supported(model)


def test_a_damaged_index_is_left_to_the_loader(folder):
    (folder / "model_index.json").write_text("[")
    check_supported(str(folder))


def test_planning_refuses_the_model_before_it_reads_the_source(tmp_path):
    model = tmp_path / "m.safetensors"
    model.write_bytes(b"x")
    request = EditRequest(
        source=tmp_path / "missing.mp4", recipe=Recipe(instruction="x", model=str(model))
    )
    with pytest.raises(ModelError, match="checkpoint in one file"):
        prepare_job(request)


def test_weights_in_half_precision_only_are_a_variant(folder):
    assert weights_variant(folder) is None
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(weights, weights.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert weights_variant(folder) is None
    weights.unlink()
    assert weights_variant(folder) == "fp16"


@pytest.mark.parametrize("model", ["", "./no", "../no", "~/no", "a/b/c", "no such model"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(model):
    with pytest.raises(ModelError, match="There is no model folder"):
        check_supported(model)
