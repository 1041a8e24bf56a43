"""Tokenizer, text encoder, UNet and scheduler of the bundled model."""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import torch
from diffusers import EulerAncestralDiscreteScheduler, UNet2DConditionModel
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from ip2p_batch.storage.atomic import write_error
from ip2p_batch.training.instructions import PHRASES, sample_instruction

from .wording import vary_wording

START, END = "<|startoftext|>", "<|endoftext|>"
#: Common words that the phrases lack, so that they are not split into letters.
WORDS = """
add replace remove change put give turn make show style look like photo picture image video frame
scene red green blue yellow orange purple pink white black grey gold silver brown man woman boy
girl person face hair eyes hat coat dress shoes dog cat horse bird fish cow sheep lion tiger bear
wolf dragon car bus train boat ship plane bicycle house tower castle bridge church tree forest
flower grass garden field sky cloud sun moon star sea ocean river lake beach island mountain hill
desert snow ice rain storm wind fire smoke lightning city street road night day morning evening
spring summer autumn winter old young new happy sad angry bright dark light warm cold wet dry big
small tall wooden stone metal glass plastic paper golden robot cyborg zombie knight king queen
astronaut superhero statue painting drawing sketch poster anime manga comic clay lego origami
medieval futuristic vintage modern ancient japanese chinese egyptian roman cyberpunk steampunk
impressionist cubist van gogh monet picasso wearing holding sitting standing with without into
background foreground left right behind under over between everything more less very slightly
"""


class TextArchitecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of tokenizer and text encoder.

    Attributes:
        vocabulary: maximum number of tokenizer entries.
        tokens: tokens per text, including start and end.
        width, layers, heads: sizes of the transformer.
    """

    vocabulary: int = 1536
    tokens: int = 24
    width: int = 128
    layers: int = 2
    heads: int = 4


class UNetArchitecture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of the UNet, in diffusers' names.

    Attributes:
        block_out_channels: channels at each resolution, the finest first.
        layers_per_block: residual blocks at each resolution.
        down_block_types, up_block_types: block types of SD 1.5, in order of use.
        attention_head_dim: number of heads at each resolution. For SD 1.5, diffusers uses this
            name for the number (https://github.com/huggingface/diffusers/issues/2011).
        norm_num_groups: groups of the group norms.
    """

    block_out_channels: tuple[int, ...] = (48, 80, 128, 192)
    layers_per_block: tuple[int, ...] = (1, 1, 1, 1)
    down_block_types: tuple[str, ...] = (
        "DownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
    )
    up_block_types: tuple[str, ...] = (
        "UpBlock2D",
        "CrossAttnUpBlock2D",
        "UpBlock2D",
        "UpBlock2D",
    )
    attention_head_dim: tuple[int, ...] = (1, 1, 2, 4)
    norm_num_groups: int = 16


def build_unet(architecture: UNetArchitecture, latent_channels: int, text_width: int) -> Any:
    """Return an untrained UNet for 64x64 latents, of images with 256x256 pixels.

    In addition to cross-attention to the text tokens, a pooled text embedding is added to the
    timestep embedding, because most instructions describe the whole image.
    """
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        block_out_channels=architecture.block_out_channels,
        layers_per_block=list(architecture.layers_per_block),
        down_block_types=architecture.down_block_types,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=architecture.up_block_types,
        cross_attention_dim=text_width,
        attention_head_dim=architecture.attention_head_dim,
        norm_num_groups=architecture.norm_num_groups,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )
    return unet.to(memory_format=torch.channels_last)


def build_text_encoder(architecture: TextArchitecture, tokenizer: Any) -> Any:
    """Return an untrained ``CLIPTextModel`` for ``tokenizer``."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=architecture.width,
            intermediate_size=4 * architecture.width,
            projection_dim=architecture.width,
            num_hidden_layers=architecture.layers,
            num_attention_heads=architecture.heads,
            max_position_embeddings=architecture.tokens,
            hidden_act="quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_scheduler() -> Any:
    """Return a scheduler with SD 1.5's betas, v-prediction, and "trailing" timestep spacing.

    "Trailing" timesteps start at full noise: Lin et al., "Common Diffusion Noise Schedules and
    Sample Steps are Flawed",
    WACV 2024.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers passes a tensor to numpy in a deprecated way
        return EulerAncestralDiscreteScheduler(
            num_train_timesteps=1000,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            timestep_spacing="trailing",
        )


def corpus(per_edit: int = 1000) -> Iterable[str]:
    """Yield texts to train the tokenizer on: instructions and common words."""
    rng = random.Random(0)  # noqa: S311 - not used for security
    for edit in PHRASES:
        for _ in range(per_edit):
            yield vary_wording(sample_instruction(edit, rng), rng)
    for _ in range(per_edit):
        yield " ".join(rng.sample(WORDS.split(), 8))


def keep_tokenizer(architecture: TextArchitecture, folder: Path) -> Any:
    """Load the tokenizer from ``folder``, or train it and save it there.

    The training breaks ties between equally frequent merges in an order that differs from process
    to process, so a resumed build must not train it again.

    Raises:
        OutputError: ``folder`` cannot be written.
    """
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}")
        try:
            build_tokenizer(architecture).save_pretrained(partial)
            partial.rename(folder)
        except OSError as error:
            raise write_error(folder, error) from error
    return CLIPTokenizer.from_pretrained(folder)


def build_tokenizer(architecture: TextArchitecture) -> Any:
    """Train a ``CLIPTokenizer``: byte-level byte-pair encoding, which has tokens for any text."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=architecture.vocabulary - len(letters) - 2,
            initial_alphabet=letters,
            end_of_word_suffix="</w>",
            min_frequency=2,
            show_progress=False,
        ),
    )
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    entries = [*letters, *(f"{letter}</w>" for letter in letters)]
    entries += dict.fromkeys(a + b for a, b in merges if a + b not in set(entries))
    vocabulary = {entry: number for number, entry in enumerate([*entries, START, END])}
    with tempfile.TemporaryDirectory() as folder:
        # CLIPTokenizer reads files. Saved from that class, the tokenizer loads everywhere.
        (Path(folder) / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        (Path(folder) / "merges.txt").write_text(
            "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8"
        )
        return CLIPTokenizer.from_pretrained(folder, model_max_length=architecture.tokens)
