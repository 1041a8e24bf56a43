"""Load a checkpoint in one .safetensors file, as other programs save them.

The file holds weights only. Configuration and CLIP's vocabulary come from this package, so that
nothing is downloaded.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..errors import ModelError
from ..models import catalog
from ..models.header import Shapes, read_shapes
from ..models.kinds import ModelKind
from ..models.one_file import FIRST, PREDICTS_V, SIGMAS, ZERO_TERMINAL
from .pipeline_class import pipeline_class

#: CLIP's byte pair merges, one a line; the vocabulary follows from them.
_MERGES = Path(catalog.__file__).parent / "configs" / "clip_merges.txt.gz"
#: Tokens of a text, the two marks at its ends included.
_TOKENS = 77


def load(path: Path, kind: ModelKind, dtype: torch.dtype, config: Path | None = None) -> Any:
    """Load a checkpoint as diffusers' InstructPix2Pix pipeline of its family.

    Args:
        kind: see :func:`ip2p_batch.models.layout.kind_at`.
        config: folder of configuration files in diffusers' layout, with a tokenizer where its
            vocabulary is not CLIP's; None: those of this package.

    Raises:
        ModelError: the noise levels in the file are no range.
    """
    import diffusers

    shapes = read_shapes(path)
    config = config or catalog.CONFIGS[kind.family]
    shared = {"config": str(config), "torch_dtype": dtype, "local_files_only": True}
    unet = diffusers.UNet2DConditionModel.from_single_file(
        str(path), subfolder="unet", in_channels=shapes[FIRST][1], **shared
    )
    parts = {"unet": unet, "scheduler": _scheduler(path, shapes, kind, config)}
    if kind.family == "sd":
        parts["feature_extractor"] = None
        names = {"tokenizer": "<|endoftext|>"}
    else:
        names = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}
    for name, padding in names.items():
        if not (config / name).is_dir():
            parts[name] = clip_tokenizer(padding)
    pipeline, options = pipeline_class(kind)
    return pipeline.from_single_file(str(path), **parts, **options, **shared).to(dtype)


def clip_tokenizer(padding: str) -> Any:
    """CLIP's tokenizer (Radford et al., 2021, arXiv 2103.00020), as transformers' class.

    Args:
        padding: the token after the end of a text.
    """
    from transformers import CLIPTokenizer

    with gzip.open(_MERGES, "rt", encoding="utf-8") as file:
        merges = file.read().splitlines()
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(_vocabulary(merges))},
        merges=[tuple(merge.split(" ")) for merge in merges],
        model_max_length=_TOKENS,
        pad_token=padding,
    )


def _vocabulary(merges: Sequence[str]) -> list[str]:
    """All tokens in order: bytes, bytes that end a word, merged pairs, marks of start and end.

    Bytes that are not printable in Latin-1 are shown as the characters from U+0100 on, and follow
    the printable ones.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    letters = [chr(code) for code in (*printable, *range(0x100, 0x100 + others))]
    pairs = [merge.replace(" ", "") for merge in merges]
    words = [letter + "</w>" for letter in letters]
    return [*letters, *words, *pairs, "<|startoftext|>", "<|endoftext|>"]


def _scheduler(path: Path, shapes: Shapes, kind: ModelKind, config: Path) -> Any:
    """The scheduler with the noise levels that the file names."""
    import diffusers

    if kind.family != "cosxl":
        names = diffusers.EulerDiscreteScheduler.load_config(str(config), subfolder="scheduler")
        scheduler = getattr(diffusers, names["_class_name"])
        changes = {
            **({"prediction_type": "v_prediction"} if PREDICTS_V in shapes else {}),
            **({"rescale_betas_zero_snr": True} if ZERO_TERMINAL in shapes else {}),
        }
        return scheduler.from_config({**names, **changes})
    sigmas = {"sigma_max": 120.0, "sigma_min": 0.002}  # of CosXL, whose files may name others
    with safe_open(path, framework="pt") as file:
        for option, name in SIGMAS.items():
            if name in shapes and shapes[name] in ((), (1,)):
                # Stored as float32: 0.002 reads 0.0020000000949949026.
                sigmas[option] = float(f"{float(file.get_tensor(name)):.6g}")
    if not 0 < sigmas["sigma_min"] < sigmas["sigma_max"] < float("inf"):
        raise ModelError(
            f"{path} names noise levels from {sigmas['sigma_min']} to {sigmas['sigma_max']}.",
            hint="Check where the file comes from.",
        )
    return diffusers.EDMEulerScheduler(
        **sigmas, sigma_data=1.0, sigma_schedule="exponential", prediction_type="v_prediction"
    )
