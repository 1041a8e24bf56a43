"""Encode and decode images with the model's VAE and with a tiny VAE."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from typer.testing import CliRunner

from ip2p_batch.cli.app import app
from ip2p_batch.editing.loading import load_tiny_vae
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.editing.vae import VaeCodec
from ip2p_batch.errors import ModelError
from ip2p_batch.models import catalog

from .tiny_pipelines import frames, pipeline, recipe


def taesd(channels=4, blocks=2):
    """TAESD's architecture, smaller, with random weights."""
    torch.manual_seed(5)
    widths, depths = (8,) * blocks, (1,) * blocks
    return AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=depths,
        num_decoder_blocks=depths,
    ).eval()


@torch.inference_mode()
def test_latents_of_a_tiny_vae_are_in_the_models_scale():
    """Its encoder returns scaled latents; the image condition is unscaled."""
    vae, clip = taesd(), frames(2)
    ours = VaeCodec(vae, "cpu", 0.18215, scaled=True)
    pixels = np.stack([f.image for f in clip]).astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
    theirs = vae.encode(torch.from_numpy(pixels)).latents
    assert torch.allclose(ours.encode([f.image for f in clip]) * 0.18215, theirs, atol=1e-5)


@torch.inference_mode()
def test_a_tiny_vae_decodes_scaled_latents():
    vae = taesd()
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    found, bad = VaeCodec(vae, "cpu", 0.18215, scaled=True).decode(latents)
    expected = (vae.decode(latents).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1) * 255
    assert bad == []
    assert np.abs(np.stack(found) - expected.numpy()).max() < 0.51


def test_the_tiny_vae_is_loaded_once_and_edits():
    loads = []

    def load():
        loads.append(1)
        return taesd()

    owner = Pix2PixEditor(pipeline(), device="cpu", dtype=torch.float32, load_tiny_vae=load)
    clip = frames(2)
    plain = owner.session(recipe()).edit(clip)
    assert not loads
    quick = owner.session(recipe(tiny_vae=True)).edit(clip)
    again = owner.session(recipe(tiny_vae=True)).edit(clip[:1])
    assert len(loads) == 1
    assert (again[0].image == quick[0].image).all()
    assert not (plain[0].image == quick[0].image).all()


@pytest.mark.parametrize("wrong", [{"channels": 8}, {"blocks": 3}])
def test_a_tiny_vae_with_other_latents_is_refused(wrong):
    owner = Pix2PixEditor(
        pipeline(), device="cpu", dtype=torch.float32, load_tiny_vae=lambda: taesd(**wrong)
    )
    with pytest.raises(ModelError, match="does not have the latents of this model"):
        owner.session(recipe(tiny_vae=True))


def test_a_model_folder_may_contain_a_tiny_vae(tmp_path):
    taesd().save_pretrained(tmp_path / catalog.TINY_VAE_FOLDER)
    loaded = load_tiny_vae(str(tmp_path))
    assert isinstance(loaded, AutoencoderTiny)
    assert catalog.tiny_vae(str(tmp_path)) == (str(tmp_path), catalog.TINY_VAE_FOLDER)


def test_the_hubs_tiny_vae_has_to_be_an_allowed_model(tmp_path):
    with pytest.raises(ModelError, match="IP2P_ALLOWED_MODELS"):
        catalog.check_tiny_vae(str(tmp_path), ("tiny", "timbrooks/instruct-pix2pix"))
    catalog.check_tiny_vae(str(tmp_path), ("madebyollin/taesd",))
    catalog.check_tiny_vae(str(tmp_path), None)


def test_the_bundled_model_says_that_it_has_no_smaller_one(tmp_path):
    picture = tmp_path / "in.png"
    from PIL import Image

    Image.new("RGB", (64, 64)).save(picture)
    said = CliRunner().invoke(app, ["edit", str(picture), "snow", "--model", "tiny", "--tiny-vae"])
    assert said.exit_code != 0
    assert "no smaller autoencoder" in said.output
    assert not (tmp_path / "in-edited.png").exists()
