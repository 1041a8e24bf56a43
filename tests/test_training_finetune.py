"""Fine-tuning on pairs: it trains, resumes, and its model edits."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ip2p_batch.editing.loading import load_editor
from ip2p_batch.editing.lora import files
from ip2p_batch.errors import ModelError, RecipeError, SourceError
from ip2p_batch.frame import Frame
from ip2p_batch.models.catalog import defaults, edit_sizes
from ip2p_batch.recipe import Recipe
from ip2p_batch.recipe_parts import Lora
from ip2p_batch.training.base_model import load_base_model, prepare_unet
from ip2p_batch.training.config import TrainingConfig
from ip2p_batch.training.dataset import DatasetConfig, make_dataset
from ip2p_batch.training.finetune import (
    LORA_BELOW_PAIRS,
    LORA_FILE,
    LORA_RANK,
    FineTuneConfig,
    fine_tune,
)
from ip2p_batch.training.finetune_task import crop_pair
from ip2p_batch.training.pairs import Pair, read_pairs

from .pictures import save, scene
from .tiny_pipelines import pipeline

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """48 pairs made by reference edits from images in many colors."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(12):
        image = np.roll(scene(80, 64), (5 * number, 7 * number), (0, 1))
        save(folder / f"photos/{number}.png", np.roll(image, number, 2))
    make_dataset(folder / "photos", folder / "pairs", DatasetConfig(size=80, per_photo=4))
    return read_pairs(folder / "pairs").good


def save_pipeline(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline(**options).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_pipeline(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A UNet that takes noisy latents only, like that of Stable Diffusion."""
    return save_pipeline(tmp_path_factory.mktemp("plain"), unet_channels=4)


def config_for(base, steps=6, size=64, validation_pairs=2, lora_rank=0, **values):
    training = TrainingConfig(
        **{"steps": steps, "batch_size": 4, "learning_rate": 2e-3, "warmup_steps": 5,
           "checkpoint_every": 50, "ema_decay": 0.9} | values
    )  # fmt: skip
    return FineTuneConfig(
        base=str(base), size=size, lora_rank=lora_rank, validation_pairs=validation_pairs,
        training=training,
    )  # fmt: skip


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")


def edited(model, instruction="make it night", editor=None):
    editor = editor or load_editor(str(model), device="cpu", dtype="float32")
    session = editor.session(
        Recipe(instruction=instruction, model=str(model), size=64, num_inference_steps=3)
    )
    return session.edit([Frame(0, 0, scene(64, 64))])[0].image


@pytest.mark.slow
def test_a_hundred_steps_lower_the_loss_and_the_model_edits(base, pairs, tmp_path):
    losses = []
    result = fine_tune(
        pairs, config_for(base, steps=100), tmp_path, progress=lambda *now: losses.append(now[2])
    )
    assert np.mean(losses[-20:]) < 0.75 * np.mean(losses[:20])
    assert (result.pairs, result.held_out, result.lora_rank) == (len(pairs) - 2, 2, 0)
    assert not np.array_equal(edited(tmp_path), edited(base))
    assert (tmp_path / "loss.png").exists() and (tmp_path / "curve.csv").exists()
    sheets = sorted(path.name for path in (tmp_path / "validation").iterdir())
    assert sheets == ["step-0000050.png", "step-0000100.png"]
    assert json.loads((tmp_path / "training.json").read_text())["steps"] == 100


@pytest.mark.parametrize("rank", [0, 4])
def test_a_resumed_run_makes_the_same_model(base, pairs, tmp_path, rank):
    config = config_for(base, lora_rank=rank, checkpoint_every=3)
    fine_tune(pairs, config, tmp_path / "whole")
    stopped = fine_tune(pairs, config, tmp_path / "parts", stop_at=4)
    assert stopped.training.step == 4 and not (tmp_path / "parts/model_index.json").exists()
    fine_tune(pairs, config, tmp_path / "parts")
    expected, actual = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


@pytest.fixture(scope="module")
def adapted(base, pairs, tmp_path_factory):
    """The folder of a model trained through adapters."""
    folder = tmp_path_factory.mktemp("adapted")
    assert fine_tune(pairs, config_for(base, lora_rank=4), folder).lora_rank == 4
    return folder


def test_adapters_are_merged_into_the_model(base, adapted):
    before, after = weights(base), weights(adapted)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(".attn" in name for name in changed)
    assert edited(adapted).shape == (64, 64, 3)


def test_the_base_with_the_lora_edits_like_the_merged_model(base, adapted):
    loras = [Lora(model=str(adapted))]  # the folder has one LoRA at its top
    assert files.local_file(loras[0]) == adapted / LORA_FILE
    with_lora = load_editor(str(base), loras=loras, device="cpu", dtype="float32")
    whole = load_editor(str(adapted), device="cpu", dtype="float32")
    one, other = (editor.pipe.unet.state_dict() for editor in (with_lora, whole))
    assert one.keys() == other.keys()
    assert max((one[name] - other[name]).abs().max() for name in one) < 1e-6
    images = [edited(base, editor=with_lora), edited(adapted, editor=whole)]
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    assert not np.array_equal(images[0], edited(base))


def test_diffusers_reads_the_lora(base, adapted):
    pipe = load_base_model(str(base))
    pipe.load_lora_weights(str(adapted / LORA_FILE))
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    one, other = pipe.unet.state_dict(), weights(adapted)
    assert max((one[name] - other[name]).abs().max() for name in other) < 1e-6


@pytest.mark.parametrize("rank", [0, 4])
def test_a_text_to_image_model_learns_to_use_the_source(plain, pairs, tmp_path, rank):
    fine_tune(pairs, config_for(plain, lora_rank=rank), tmp_path)
    first = weights(tmp_path)["conv_in.weight"]
    assert first.shape[1] == 8 and first[:, 4:].abs().sum() > 0
    assert not (tmp_path / LORA_FILE).exists()  # it would lack the input trained with it
    assert edited(tmp_path).shape == (64, 64, 3)


def test_text_encoder_and_autoencoder_are_not_changed(base, pairs, tmp_path):
    fine_tune(pairs, config_for(base), tmp_path)
    for part in ("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        from safetensors.torch import load_file

        one, other = load_file(base / part), load_file(tmp_path / part)
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_gradient_checkpointing_and_bf16_work_together(base, pairs, tmp_path):
    config = config_for(base, steps=3, mixed_precision="bf16", gradient_accumulation_steps=2)
    options = {name: getattr(config, name) for name in config.__struct_fields__}
    config = FineTuneConfig(**options | {"gradient_checkpointing": True})
    result = fine_tune(pairs, config, tmp_path)
    assert np.isfinite(result.training.loss)
    assert edited(tmp_path).shape == (64, 64, 3)


@pytest.mark.gpu
def test_an_fp16_run_with_a_gradient_scaler_resumes_on_a_gpu(base, pairs, tmp_path):
    config = config_for(base, lora_rank=4, mixed_precision="fp16", checkpoint_every=3)
    fine_tune(pairs, config, tmp_path / "parts", stop_at=3)
    fine_tune(pairs, config, tmp_path / "parts")
    assert (tmp_path / "parts/model_index.json").exists()


def test_the_default_rank_depends_on_the_number_of_pairs_and_the_base_model():
    config = FineTuneConfig(base="x")
    assert config.effective_lora_rank(LORA_BELOW_PAIRS - 1, new_input=False) == LORA_RANK
    assert config.effective_lora_rank(LORA_BELOW_PAIRS, new_input=False) == 0
    assert config.effective_lora_rank(10, new_input=True) == 0
    assert FineTuneConfig(base="x", lora_rank=8).effective_lora_rank(10**6, new_input=True) == 8


def test_only_adapters_and_a_widened_convolution_are_trained(plain):
    pipe = load_base_model(str(plain))
    prepare_unet(pipe, 4)
    trained = {n for n, p in pipe.unet.named_parameters() if p.requires_grad}
    assert trained and all("lora" in name or name.startswith("conv_in") for name in trained)
    assert any(name.startswith("conv_in") for name in trained)
    assert not any(p.requires_grad for p in pipe.vae.parameters())


def test_both_images_of_a_pair_are_cropped_alike(tmp_path):
    import random

    image = np.arange(90 * 60 * 3, dtype=np.uint32).reshape(60, 90, 3).astype(np.uint8)
    save(tmp_path / "a.png", image)
    Image.fromarray(255 - image).resize((45, 30)).save(tmp_path / "b.png")
    pair = Pair(input=str(tmp_path / "a.png"), instruction="x", edited=str(tmp_path / "b.png"))
    for seed in range(6):
        source, other = crop_pair(pair, 60, random.Random(seed), flip=True)
        assert source.shape == other.shape == (60, 60, 3)
    save(tmp_path / "b.png", 255 - image)
    for seed in range(6):
        source, other = crop_pair(pair, 60, random.Random(seed), flip=True)
        assert np.array_equal(source, 255 - other)
    middle, _ = crop_pair(pair, 60, None)
    assert np.array_equal(middle, image[:, 15:75])


@pytest.mark.parametrize(
    ("values", "match"),
    [({"size": 100}, "multiple of 32"), ({"size": 32}, "at least 64"), ({"lora_rank": -1}, "rank")],
)
def test_options_out_of_range_are_refused(values, match):
    with pytest.raises(RecipeError, match=match):
        FineTuneConfig(base="x", **values)


def test_a_base_without_a_model_is_refused(tmp_path, pairs):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="empty"):
        fine_tune(pairs, config_for(tmp_path / "empty"), tmp_path / "out")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"broken\.safetensors"):
        load_base_model(str(tmp_path / "broken.safetensors"))


def test_an_image_that_cannot_be_decoded_is_named(base, tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", scene(64, 64))
    pair = Pair(input=str(tmp_path / "a.png"), instruction="x", edited=str(tmp_path / "b.png"))
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:200])
    with pytest.raises(SourceError, match=r"b\.png"):
        fine_tune([pair] * 4, config_for(base), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_processes_train_together_and_write_one_model(base, pairs, tmp_path):
    """On the CPU what several GPUs do: gradients are averaged, the first process writes."""
    table = str(Path(pairs[0].input).parents[1])
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "-m", "ip2p_batch", "train", table, "-o", str(tmp_path / "model"), "--base", str(base),
        "--steps", "3", "--batch-size", "2", "--size", "64", "--lora-rank", "0", "--json",
    ]  # fmt: skip
    env = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["done"] for line in lines if line["kind"] == "training"] == [1, 2, 3]
    assert sum(line["kind"] == "done" for line in lines) == 1
    assert edited(tmp_path / "model").shape == (64, 64, 3)


def test_adapters_without_peft_are_one_line_that_names_the_extra(monkeypatch):
    pipe = load_base_model("tiny")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RecipeError, match="needs the package peft") as caught:
        prepare_unet(pipe, 4)
    assert "ip2p-batch[train]" in caught.value.hint


@pytest.mark.slow
def test_the_bundled_model_learns_a_new_edit(tmp_path):
    """Train on pink light, with twelve photos: the trained model follows the new instruction."""
    rng = np.random.default_rng(3)

    def pink(image):
        light = np.array([1.0, 0.35, 0.7]) * image.mean(axis=2, keepdims=True)
        return np.clip(0.25 * image + 0.75 * light + [60, 0, 40], 0, 255).astype(np.uint8)

    def photo():
        small = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(small).resize((128, 128), Image.Resampling.BICUBIC))

    rows = []
    for number in range(12):
        image = photo()
        save(tmp_path / f"{number}.png", image)
        save(tmp_path / f"{number}.pink.png", pink(image))
        rows.append(f"{number}.png,make it pink,{number}.pink.png\n")
    (tmp_path / "pairs.csv").write_text("input,instruction,edited\n" + "".join(rows))
    config = config_for(
        "tiny", steps=150, lora_rank=0, validation_pairs=0, checkpoint_every=150, ema_decay=0.95,
    )  # fmt: skip
    fine_tune(read_pairs(tmp_path).good, config, tmp_path / "model")
    assert defaults(str(tmp_path / "model")) == defaults("tiny")
    assert edit_sizes(str(tmp_path / "model")) == edit_sizes("tiny")
    image = photo()[:64, :64]
    distances = {}
    for model in ("tiny", str(tmp_path / "model")):
        editor = load_editor(model, device="cpu", dtype="float32")
        recipe = Recipe(**{**defaults(model), "instruction": "make it pink", "model": model})
        output = editor.session(recipe).edit([Frame(0, 0, image)])[0].image
        distances[model] = np.abs(output.astype(int) - pink(image)).mean()
    assert distances[str(tmp_path / "model")] < 0.6 * distances["tiny"]
