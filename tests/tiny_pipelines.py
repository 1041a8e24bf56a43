"""Small InstructPix2Pix pipelines with random weights, built here: no download, a second each."""

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ip2p_batch.editing.editor import ChunkContext, ContextFrame
from ip2p_batch.editing.pix2pix import Pix2PixEditor
from ip2p_batch.frame import Frame
from ip2p_batch.recipe import Recipe

LETTERS = "abcdefghijklmnopqrstuvwxyz',."
#: Tokens of a text, the two marks at its ends included.
TOKENS = 16


def tokenizer():
    """Single letters only, in CLIP's form: ``</w>`` ends a word."""
    words = [*LETTERS, *(c + "</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=[],
        model_max_length=TOKENS,
        pad_token="<|endoftext|>",
    )


def text_config(width, layers, **more):
    """Configuration of a text encoder for :func:`tokenizer`."""
    words = tokenizer()
    return CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        **more,
    )


def autoencoder(**more):
    """A VAE that halves the sides once."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=8,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=32,
        **more,
    )


@torch.no_grad()
def make_louder(unet, vae):
    """Fresh weights answer faintly. Louder ones let every input show in the image."""
    unet.conv_out.weight *= 4
    vae.decoder.conv_out.weight *= 2
    for block in unet.modules():
        if hasattr(block, "to_v"):
            block.to_out[0].weight *= 8


def attending_unet(layers):
    """A UNet with attention in the outermost blocks, as Stable Diffusion has."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=4,
        block_out_channels=(16, 32, 32),
        layers_per_block=layers,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


def pipeline(prediction_type="epsilon", unet_channels=8, seed=0):
    """All parts of the stock pipeline; its VAE halves the sides once."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=unet_channels,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = autoencoder()
    text_encoder = CLIPTextModel(text_config(16, layers=2))
    make_louder(unet, vae)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = StableDiffusionInstructPix2PixPipeline(
            vae=vae.eval(),
            text_encoder=text_encoder.eval(),
            tokenizer=tokenizer(),
            unet=unet.eval(),
            scheduler=EulerAncestralDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                prediction_type=prediction_type,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@lru_cache
def editor(prediction_type="epsilon"):
    """One editor for many tests; those that change it build their own."""
    return Pix2PixEditor(pipeline(prediction_type), device="cpu", dtype=torch.float32)


def recipe(**values):
    return Recipe(
        **dict[str, Any](instruction="make it night", num_inference_steps=4, guidance_scale=3.0)
        | values
    )


def context(*, borders=(), anchors=(), latents=None, reference_image=None):
    """A chunk context of these frames; ``latents`` by frame number."""
    known = latents or {}
    return ChunkContext(
        borders=[ContextFrame(frame, known.get(frame.index)) for frame in borders],
        anchors=[ContextFrame(frame, known.get(frame.index)) for frame in anchors],
        reference_image=reference_image,
    )


def border_latents(session, borders):
    """The latents of border frames, by frame number."""
    files = session.border_latents(borders)
    return {frame.index: data for frame, data in zip(borders, files, strict=True)}


def frames(count, height=32, width=32, first=0, shift=1):
    """A smooth random texture that moves to the right, ``shift`` pixels a frame."""
    rng = np.random.default_rng(7)
    wide = rng.normal(size=(height, width + count * shift + 16, 3))
    for axis in (0, 1):
        for _ in range(3):
            wide = (wide + np.roll(wide, 1, axis) + np.roll(wide, -1, axis)) / 3
    texture = np.clip(128 + 400 * wide, 0, 255).astype(np.uint8)
    result = []
    for i in range(count):
        left = (count - 1 - i) * shift
        picture = np.ascontiguousarray(texture[:, left : left + width])
        result.append(Frame(first + i, 100 * (first + i), picture))
    return result
