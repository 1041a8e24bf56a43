"""Write a model of Stable Diffusion 1.5's size with random weights, to time GPUs offline.

    python -m benchmarks.random_model FOLDER [--dtype float16]

The components are those of timbrooks/instruct-pix2pix: SD 1.5's UNet with eight input channels, its
autoencoder, the text encoder of CLIP ViT-L/14; and a TAESD as ``tiny_vae``. The time does not
depend on the weights. The tokenizer is the bundled model's, because CLIP's would be a download.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ip2p_batch.models import catalog

from ._common import new_parser
from .unet import SD15

TOKENS = 77


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", default="float16", choices=("float16", "float32"))
    arguments = parser.parse_args()
    build(arguments.folder, getattr(torch, arguments.dtype))


def build(folder: Path, dtype: torch.dtype) -> None:
    from diffusers import (
        AutoencoderKL,
        AutoencoderTiny,
        EulerAncestralDiscreteScheduler,
        StableDiffusionInstructPix2PixPipeline,
        UNet2DConditionModel,
    )
    from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(catalog.BUNDLED["tiny"] / "tokenizer")
    tokenizer.model_max_length = TOKENS
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=512,
        scaling_factor=0.18215,
    )
    pipe = StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**SD15),
        scheduler=EulerAncestralDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.to(dtype).save_pretrained(folder)
    AutoencoderTiny().to(dtype).save_pretrained(folder / catalog.TINY_VAE_FOLDER)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
