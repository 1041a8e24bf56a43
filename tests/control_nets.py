"""Small control nets with random weights for the pipelines of tiny_pipelines.py."""

import numpy as np
import torch
from diffusers import ControlNetModel, T2IAdapter

from ip2p_batch.editing.pix2pix import Pix2PixEditor

from .tiny_pipelines import pipeline

#: The VAE of the tiny pipelines halves the sides once.
EMBEDDING = (8, 16)


def control_net(unet=None, *, seed=5, zero=False, **config):
    """A ControlNet for the tiny pipelines: their UNet's first half with 4 input channels.

    Args:
        zero: keep the zero convolutions of a new net.
        config: other values of its configuration.
    """
    unet = unet or pipeline().unet
    torch.manual_seed(seed)
    names = ("block_out_channels", "down_block_types", "layers_per_block", "cross_attention_dim")
    shape = {name: getattr(unet.config, name) for name in (*names, "norm_num_groups")}
    net = ControlNetModel(
        **{
            **shape,
            "in_channels": 4,
            "attention_head_dim": 4,
            "conditioning_embedding_out_channels": EMBEDDING,
            **config,
        }
    )
    with torch.no_grad():
        for convolution in [
            *net.controlnet_down_blocks,
            net.controlnet_mid_block,
            net.controlnet_cond_embedding.conv_out,
        ]:
            if not zero:
                torch.nn.init.normal_(convolution.weight, std=0.3)
    return net.eval()


def adapter(**config):
    """A T2I-Adapter for the tiny pipelines; features of 16 and 32 channels."""
    torch.manual_seed(config.pop("seed", 6))
    net = T2IAdapter(**{"channels": [16, 32], "num_res_blocks": 1, "downscale_factor": 2, **config})
    return net.eval()


def editor(*nets, pipe=None, dtype=torch.float32):
    """An editor whose nets have the kinds ``0``, ``1``, ..."""
    return Pix2PixEditor(
        pipe or pipeline(),
        device="cpu",
        dtype=dtype,
        load_net=lambda control: nets[int(control.kind)],
        name="tiny-pipeline",
    )


def hinted(frames, count=1, seed=0):
    """The frames, each with ``count`` random hints."""
    rng = np.random.default_rng(seed)
    return [
        frame.__class__(
            frame.index,
            frame.pts,
            frame.image,
            hints=tuple(rng.integers(0, 256, frame.image.shape, np.uint8) for _ in range(count)),
        )
        for frame in frames
    ]
