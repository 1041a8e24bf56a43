"""Draw noise from seeds, on the CPU in float32, with one generator per frame.

One generator for a whole batch would make a frame's noise depend on its slot. With one generator
per frame and one seed per shot, all frames of a shot share their starting noise and every
ancestral noise, as the two images of an InstructPix2Pix training pair do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def generator(seed: int) -> torch.Generator:
    """A CPU generator at the beginning of ``seed``'s sequence."""
    return torch.Generator("cpu").manual_seed(seed)


def start(generators: list[torch.Generator], shape: tuple[int, int, int]) -> torch.Tensor:
    """Unit noise for each frame, shape ``(frames, *shape)``, float32 on the CPU.

    The first draw of each generator, as in diffusers' ``prepare_latents``.
    """
    return torch.cat([torch.randn((1, *shape), generator=g) for g in generators])


def unit(seed: int, shape: Sequence[int]) -> torch.Tensor:
    """The starting noise of one frame, shape ``(channels, height, width)``."""
    return torch.randn((1, *shape), generator=generator(seed))[0]


def skip(generators: list[torch.Generator], shape: tuple[int, int, int], steps: int) -> None:
    """Skip the starting noise and ``steps`` ancestral draws.

    A frame that starts at step ``steps`` then draws the same noise as one that ran all steps.
    """
    for g in generators:
        for _ in range(steps + 1):
            torch.randn((1, *shape), generator=g)
