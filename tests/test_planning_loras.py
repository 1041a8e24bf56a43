"""LoRAs in a job: checked while it is planned, identified by content, used by workers."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from ip2p_batch import api
from ip2p_batch.cli.app import app
from ip2p_batch.editing.loading import load_pipeline
from ip2p_batch.errors import ModelError, OutsideRoots
from ip2p_batch.jobs.registry import list_jobs
from ip2p_batch.jobs.status import read_status
from ip2p_batch.planning.prepare import prepare_job
from ip2p_batch.planning.recipes import recipe_for
from ip2p_batch.planning.request import EditRequest
from ip2p_batch.recipe_parts import Lora
from ip2p_batch.settings import Settings
from ip2p_batch.storage.roots import Roots
from workers.editor_cache import EditorCache, editor_for

from .checkpoints import save_header
from .lora_files import dotted, factors, save


@pytest.fixture(scope="module")
def unet():
    return load_pipeline("tiny", dtype=torch.float32).unet


@pytest.fixture
def look(unet, tmp_path):
    return save(tmp_path / "look.safetensors", dotted(factors(unet, ("to_q",))))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    return path


def recipe(*loras, model="tiny", **values):
    values = {"size": 64, "num_inference_steps": 2} | values
    return recipe_for(model, "make it night", lora=loras, **values)


def planned(photo, *loras, **values):
    return prepare_job(EditRequest(source=photo, recipe=recipe(*loras, **values)))


def test_a_job_names_the_content_of_its_lora(photo, look):
    prepared = planned(photo, Lora(model=str(look), weight=0.5))
    (lora,) = prepared.job.recipe.lora
    assert (lora.model, lora.weight, len(lora.digest)) == (str(look), 0.5, 64)


def test_another_content_or_weight_is_another_job_and_another_image(photo, look, unet):
    def made(*loras):
        prepared = planned(photo, *loras)
        job = prepared.job
        return job.id, job.fingerprint(), job.item_fingerprint(prepared.items[0])

    found = [made(), made(Lora(model=str(look))), made(Lora(model=str(look), weight=0.5))]
    assert made(Lora(model=str(look))) == found[1]
    save(look, dotted(factors(unet, ("to_q",), seed=1)))
    found.append(made(Lora(model=str(look))))
    assert [len(set(values)) for values in zip(*found, strict=True)] == [4, 4, 4]


def test_the_recipe_of_a_job_is_not_run_again_with_another_file(photo, look, unet):
    first = planned(photo, Lora(model=str(look))).job
    assert planned(photo, *first.recipe.lora).job == first
    save(look, dotted(factors(unet, ("to_q",), seed=1)))
    with pytest.raises(ModelError, match="has changed"):
        planned(photo, *first.recipe.lora)


def test_what_does_not_fit_is_one_line_and_nothing_is_queued(photo, look, tmp_path):
    wide = save(
        tmp_path / "xl.safetensors",
        dotted({"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": (
            torch.ones(2, 2048), torch.ones(128, 2))}),
    )  # fmt: skip
    done = CliRunner().invoke(
        app, ["edit", str(photo), "make it night", "-m", "tiny", "--lora", f"{wide}@0.5"]
    )
    assert done.exit_code == 5
    assert "xl.safetensors is for Stable Diffusion XL" in done.stderr
    assert list(list_jobs(Settings.from_env())) == []
    with pytest.raises(ModelError, match="--model identity has no weights for --lora"):
        planned(photo, Lora(model=str(look)), model="identity")


def test_a_lora_is_compared_with_a_model_in_one_file(photo, look, tmp_path):
    rest = "transformer_blocks.0.attn2.to_k"
    model = save_header(
        tmp_path / "sd.safetensors",
        {
            "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
            "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (9, 768),
            "model.diffusion_model.input_blocks.0.0.weight": (320, 8, 3, 3),
            "model.diffusion_model.out.2.weight": (4, 320, 3, 3),
            f"model.diffusion_model.middle_block.1.{rest}.weight": (1280, 768),
        },
    )
    to_k = f"mid_block.attentions.0.{rest}"

    def lora(width):
        pair = (torch.ones(2, width), torch.ones(1280, 2))
        return Lora(model=str(save(tmp_path / f"{width}.safetensors", dotted({to_k: pair}))))

    assert planned(photo, lora(768), model=str(model)).job.recipe.lora
    with pytest.raises(ModelError, match="is for Stable Diffusion XL"):
        planned(photo, lora(2048), model=str(model))


def test_plan_and_status_show_loras(photo, look, tmp_path):
    arguments = [str(photo), "make it night", "-m", "tiny", "--lora", f"{look}@0.5"]
    done = CliRunner().invoke(app, ["plan", *arguments])
    assert done.exit_code == 0, done.output
    assert f"LoRA {look}, weight 0.5, SHA-256 " in done.stdout
    as_json = json.loads(CliRunner().invoke(app, ["plan", *arguments, "--json"]).stdout)
    assert as_json["job"]["recipe"]["lora"][0]["weight"] == 0.5


def test_editing_with_a_lora_changes_the_image_and_weight_0_does_not(photo, look, tmp_path):
    images = {}
    for weight in (None, 0.0, 1.0):
        output = tmp_path / f"{weight}.png"
        loras = () if weight is None else (Lora(model=str(look), weight=weight),)
        used = recipe(*loras, dtype="float32")
        settings = dataclasses.replace(Settings.from_env(), device="cpu")
        result = api.edit(
            photo, output=output, recipe=used, settings=settings,
            editor=editor_for(used, settings),
        )  # fmt: skip
        assert result.frames == 1
        images[weight] = np.asarray(Image.open(output))
    assert np.array_equal(images[None], images[0.0])
    assert not np.array_equal(images[None], images[1.0])
    (folder, *_) = list_jobs(Settings.from_env())
    assert {lora.weight for lora in read_status(folder).loras} <= {0.0, 1.0}


def test_a_worker_with_another_file_fails_the_chunk_at_once(photo, look, unet):
    job = planned(photo, Lora(model=str(look))).job
    settings = Settings.from_env()
    save(look, dotted(factors(unet, ("to_q",), seed=1)))
    with pytest.raises(ModelError, match="has changed") as caught:
        editor_for(job.recipe, settings)
    assert not caught.value.retryable


def test_a_worker_reads_loras_only_where_it_may(photo, look, tmp_path):
    job = planned(photo, Lora(model=str(look))).job
    (tmp_path / "allowed").mkdir()
    settings = Settings.from_env()
    narrow = dataclasses.replace(settings, allowed_roots=Roots([tmp_path / "allowed"]))
    with pytest.raises(OutsideRoots, match=r"look\.safetensors"):
        editor_for(job.recipe, narrow)
    named = dataclasses.replace(settings, allowed_models=("tiny",))
    with pytest.raises(ModelError, match=r"The LoRA .* is not allowed here"):
        editor_for(job.recipe, named)


def test_each_set_of_loras_has_its_own_editor(look, settings):
    editors = EditorCache(settings, has_room=lambda: True)
    plain = editors.get(recipe())
    half = editors.get(recipe(Lora(model=str(look), weight=0.5)))
    assert editors.get(recipe()) is plain is not half
    assert editors.get(recipe(Lora(model=str(look), weight=0.5))) is half
    assert plain.compute_profile.model != half.compute_profile.model
