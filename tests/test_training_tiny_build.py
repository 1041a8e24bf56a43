"""Building the bundled model: every stage runs once, and the result loads and edits."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from ip2p_batch.editing.loading import load_editor
from ip2p_batch.errors import RecipeError, SourceError
from ip2p_batch.frame import Frame
from ip2p_batch.models.catalog import BUNDLED, defaults, edit_sizes
from ip2p_batch.models.edit_sizes import EditSizes
from ip2p_batch.recipe import Recipe
from ip2p_batch.training.checkpoints import FOLDER
from ip2p_batch.training.instructions import HELD_OUT, normalize
from ip2p_batch.training.reference_edits import REFERENCE_EDITS
from training.tiny import components
from training.tiny.autoencoder import reconstruction_psnr
from training.tiny.build import build_model, center_squares, list_images, load_config
from training.tiny.crops import EDITS, CropConfig, make_crops

from .pictures import save, scene

ROOT = Path(__file__).parents[1]
TOML = ROOT / "training/tiny.toml"


def small_config(**values):
    """The real configuration with small sizes: two stages, 16 steps in total."""
    config = load_config(TOML)
    change = msgspec.structs.replace

    def training(stage, steps, batch_size):
        return change(
            stage.training, steps=steps, batch_size=batch_size, checkpoint_every=4,
            mixed_precision="no", warmup_steps=2,
        )  # fmt: skip

    stages = tuple(
        change(stage, side=side, training=training(stage, 4, 2))
        for stage, side in zip(config.stages, (8, 16), strict=True)
    )
    architecture = change(
        config.autoencoder.architecture,
        channels=16, latent_channels=4, encoder_blocks=(0, 1, 1), decoder_blocks=(1, 1, 0),
    )  # fmt: skip
    return change(
        config,
        crops=change(config.crops, size=64, per_photo=2, edits_per_crop=3),
        autoencoder=change(
            config.autoencoder, side=32, architecture=architecture,
            training=training(config.autoencoder, 8, 2),
        ),
        text=change(config.text, width=32, heads=2, layers=1),
        unet=change(config.unet, block_out_channels=(16, 16, 32, 32)),
        stages=stages,
        **values,
    )  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        save(folder / f"{number}.png", np.roll(scene(120, 90), 11 * number, (0, 1)))
    return folder


@pytest.fixture(scope="module")
def built(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    build_model(small_config(), photos, photos, folder / "work", folder / "model")
    return folder


def state(folder):
    from safetensors.torch import load_file

    return {
        f"{path.parent.name}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def test_the_built_model_loads_and_edits(built):
    model = built / "model"
    assert defaults(str(model))["guidance_scale"] == 2.0
    assert edit_sizes(str(model)) == EditSizes.unmeasured(small_config().crops.size)
    editor = load_editor(str(model), device="cpu", dtype="float32")
    session = editor.session(Recipe(instruction="make it snow", model=str(model), size=64))
    image = session.edit([Frame(0, 0, scene(64, 48))])[0].image
    assert image.shape == (48, 64, 3) and image.std() > 0


def test_the_weights_are_float16_safetensors(built):
    tensors = state(built / "model")
    files = (built / "model").rglob("*.safetensors")
    assert all(path.stat().st_mode & 0o044 for path in files)
    assert tensors and {t.dtype for t in tensors.values() if t.is_floating_point()} == {
        torch.float16
    }


def test_finished_stages_do_not_run_again(built, photos):
    stages = []
    before = state(built / "model")
    shutil.rmtree(built / "model")
    build_model(
        small_config(), photos, photos, built / "work", built / "model",
        progress=lambda stage, *_: stages.append(stage),
    )  # fmt: skip
    assert stages == []
    after = state(built / "model")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("stage", ["crops", "autoencoder", "latents", "denoiser-1", "denoiser-2"])
def test_a_resumed_build_ends_with_the_same_weights(built, photos, tmp_path, stage):
    class Stopped(Exception):
        pass

    def stop(name, done, total, comment):
        if name == stage and done >= total // 2:
            raise Stopped

    with pytest.raises(Stopped):
        build_model(small_config(), photos, photos, tmp_path / "w", tmp_path / "m", progress=stop)
    assert not (tmp_path / "m").exists()
    build_model(small_config(), photos, photos, tmp_path / "w", tmp_path / "m")
    one, other = state(built / "model"), state(tmp_path / "m")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_checkpoints_of_another_configuration_are_refused(photos, tmp_path):
    def stop(name, done, total, comment):
        if name == "autoencoder" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_model(small_config(), photos, photos, tmp_path / "w", tmp_path / "m", progress=stop)
    assert list((tmp_path / "w/autoencoder" / FOLDER).iterdir())
    other = small_config()
    stage = other.autoencoder
    training = msgspec.structs.replace(stage.training, learning_rate=0.5)
    other = msgspec.structs.replace(
        other, autoencoder=msgspec.structs.replace(stage, training=training)
    )
    with pytest.raises(RecipeError, match="learning_rate"):
        build_model(other, photos, photos, tmp_path / "w", tmp_path / "m")


def test_crops_depend_on_their_photo_only_and_contain_the_reference_edits(photos, tmp_path):
    config = CropConfig(size=64, per_photo=2, edits_per_crop=3)
    every = make_crops(list_images(photos), tmp_path / "all", config)
    one = make_crops(list_images(photos)[1:2], tmp_path / "one", config)
    assert np.array_equal(one.sources, every.sources[2:4])
    for crop in range(len(every)):
        assert len(set(every.edits[crop])) == 3 and 0 not in every.edits[crop]
        for place, number in enumerate(every.edits[crop]):
            expected = REFERENCE_EDITS[EDITS[number]](every.sources[crop])
            assert np.array_equal(expected, every.edited[crop, place])


def test_a_perfect_reconstruction_has_a_very_high_psnr():
    class Same:
        def encode(self, x):
            return type("E", (), {"latents": x})

        def decode(self, x):
            return type("D", (), {"sample": x})

    assert reconstruction_psnr(Same(), scene(64, 64)[None]) > 100


def test_squares_are_cut_from_the_center_and_a_folder_without_images_is_refused(photos, tmp_path):
    squares = center_squares(photos, 90)
    assert squares.shape == (3, 90, 90, 3)
    assert np.array_equal(squares[0], scene(120, 90)[:, 15:105])
    with pytest.raises(SourceError):
        list_images(tmp_path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("photos = 3", "not a valid configuration"),
        ("[crops", "not a valid configuration"),
        (TOML.read_text() + "\n[more]\nx = 1\n", "more"),
        (TOML.read_text().replace("side = 128", 'side = "wide"'), "side"),
    ],
)
def test_an_invalid_configuration_file_is_refused(tmp_path, text, match):
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(RecipeError, match=match):
        load_config(tmp_path / "r.toml")
    with pytest.raises(RecipeError, match="No such file"):
        load_config(tmp_path / "missing.toml")


def test_the_tokenizer_has_tokens_for_any_text():
    tokenizer = components.build_tokenizer(components.TextArchitecture())
    unknown = tokenizer.unk_token_id
    for text in ("make it a sketch", "ünïcødé 図 🙂", "xylophone", "don't!", "8-bit"):
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
        assert unknown not in ids[1:-1] and len(ids) > 2
    assert len(tokenizer) <= components.TextArchitecture().vocabulary


def test_a_tokenizer_is_trained_once_per_build(tmp_path):
    folder = tmp_path / "tokenizer"
    few = components.keep_tokenizer(components.TextArchitecture(vocabulary=700), folder)
    again = components.keep_tokenizer(components.TextArchitecture(), folder)
    assert again.get_vocab() == few.get_vocab() and len(again) <= 700
    assert again.model_max_length == few.model_max_length == 24


def test_the_tokenizer_is_not_trained_on_held_out_instructions():
    assert not {normalize(text) for text in components.corpus(200)} & HELD_OUT


def test_the_unet_has_sd_15s_blocks_and_attends_at_two_sizes_or_more():
    config = load_config(TOML)
    unet = components.build_unet(config.unet, 12, config.text.width)
    seen = set()
    for module in unet.modules():
        if type(module).__name__ == "Attention" and module.to_q.in_features == (
            module.to_k.in_features
        ):
            module.register_forward_hook(
                lambda m, inputs, kwargs, out: seen.add(out.shape[1]), with_kwargs=True
            )
    with torch.no_grad():
        unet(torch.zeros(1, 24, 64, 64), 0, torch.zeros(1, 24, 128))
    assert {16 * 16, 32 * 32} <= seen
    blocks = {*config.unet.down_block_types, *config.unet.up_block_types}
    assert blocks <= {"DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"}


NETS = {"control", "adapter"}


def test_the_bundled_model_and_its_control_nets_are_small_enough_for_the_wheel():
    folder = BUNDLED["tiny"]
    files = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    nets = {p: n for p, n in files.items() if p.relative_to(folder).parts[0] in NETS}
    assert {p.relative_to(folder).parts[0] for p in nets} == NETS
    assert sum(nets.values()) <= 15e6
    assert sum(files.values()) - sum(nets.values()) <= 25e6
