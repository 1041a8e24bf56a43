"""A small SDXL InstructPix2Pix pipeline with random weights, built here: no download."""

import warnings
from functools import lru_cache

import torch
from diffusers import (
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from ip2p_batch.editing.pix2pix import Pix2PixEditor

from .tiny_pipelines import autoencoder, make_louder, text_config, tokenizer

#: Width of the pooled output of the second text encoder.
PROJECTION = 24
#: Values for one image's size, each as an embedding of this width.
TIME_WIDTH = 8


def unet():
    """Like SDXL's: no attention outside, deeper transformers inside, linear projections."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        cross_attention_dim=16 + 32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=PROJECTION + 6 * TIME_WIDTH,
    )


def scheduler(*, cosxl=False):
    if cosxl:
        return EDMEulerScheduler(
            sigma_min=0.002,
            sigma_max=120.0,
            sigma_data=1.0,
            sigma_schedule="exponential",
            prediction_type="v_prediction",
        )
    return EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def pipeline_xl(*, cosxl=False, zeros=True):
    """All parts of the stock pipeline; its VAE halves the sides once.

    Args:
        cosxl: as CosXL-Edit: scaled image conditions and continuous noise levels.
        zeros: whether an empty negative prompt is zeros.
    """
    torch.manual_seed(0)
    noise_model = unet()
    vae = autoencoder(scaling_factor=0.13025)
    first = CLIPTextModel(text_config(16, layers=3))
    second = CLIPTextModelWithProjection(
        text_config(32, layers=3, projection_dim=PROJECTION, hidden_act="gelu")
    )
    make_louder(noise_model, vae)
    with torch.no_grad():
        noise_model.add_embedding.linear_2.weight *= 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = StableDiffusionXLInstructPix2PixPipeline(
            vae=vae.eval(),
            text_encoder=first.eval(),
            text_encoder_2=second.eval(),
            tokenizer=tokenizer(),
            tokenizer_2=tokenizer(),
            unet=noise_model.eval(),
            scheduler=scheduler(cosxl=cosxl),
            force_zeros_for_empty_prompt=zeros,
            add_watermarker=False,
            is_cosxl_edit=cosxl,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@lru_cache
def editor_xl(cosxl=False, zeros=True):
    """One editor for many tests; those that change it build their own."""
    return Pix2PixEditor(pipeline_xl(cosxl=cosxl, zeros=zeros), device="cpu", dtype=torch.float32)
